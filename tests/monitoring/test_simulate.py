"""A labelled table replayed: loading, the policies, ours on a stream whose drift is known, the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from trimtab.cli.commands import make_app
from trimtab.core.errors import DataError, ProjectError
from trimtab.core.policies import Campaign
from trimtab.monitoring.pace import Prospect, Purse, due
from trimtab.monitoring.simulate.load import load
from trimtab.monitoring.simulate.run import Options, change_points, policies, setting, simulate

ROWS, CHANGE = 6000, 3000
OPTIONS = Options(
    train_rows=600, window=300, model="logistic", policies=("static", "every", "ddm", "trimtab", "trimtab_drift")
)


def flipped(rows: int = ROWS, change: int = CHANGE, seed: int = 0) -> pa.Table:
    """Two numbers and a category; from `change` on the classes have changed places; 5 % noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 2))
    plan = rng.choice(["basic", "plus"], rows)
    yes = x[:, 0] + (plan == "plus") > 0.5
    yes = yes ^ (np.arange(rows) >= change) ^ (rng.random(rows) < 0.05)
    return pa.table({"a": x[:, 0], "b": x[:, 1], "plan": plan, "label": np.where(yes, "yes", "no")})


def written(table: pa.Table, folder: Path) -> Path:
    path = folder / "stream.parquet"
    pq.write_table(table, path)
    return path


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The facts about the flipped stream."""
    return simulate(load(written(flipped(), tmp_path_factory.mktemp("flipped"))).stream, OPTIONS)


def test_ours_answers_the_drift_soon_and_with_few_retrains(found: dict[str, Any]) -> None:
    static, ours, every = (found["policies"][p] for p in ("static", "trimtab", "every"))
    assert static["accuracy"] < 60
    assert ours["accuracy"] > 88
    assert ours["accuracy"] > every["accuracy"]  # which never lets go of the old concept
    assert 1 <= ours["retrains"] <= every["retrains"] / 3
    assert 0 < ours["delay"] <= 600
    assert any("a drift" in note for note in found["notes"]["trimtab"])


def test_every_policys_retrains_are_counted_alike(found: dict[str, Any]) -> None:
    change = found["changes"][0]
    for name in ("every", "ddm", "trimtab"):
        facts = found["policies"][name]
        assert facts["campaigns"] == facts["retrains"]
        after = [at for at in facts["at"] if at >= change]
        assert facts["delay"] == after[0] - change  # whatever it was for
        assert facts["retrains"] - facts["false_campaigns"] in (1, 2)  # the change lies within a window of two at most


def test_with_drifts_alone_it_answers_the_drift_and_follows_it_up(found: dict[str, Any]) -> None:
    static, ours = (found["policies"][p] for p in ("static", "trimtab_drift"))
    assert ours["accuracy"] > static["accuracy"] + 25
    assert (ours["campaigns"], ours["retrains"], ours["false_campaigns"]) == (1, 2, 0)
    assert all(at > CHANGE for at in ours["at"])
    drift, follow_up = found["notes"]["trimtab_drift"]
    assert ": a drift; " in drift
    assert ": follow-up 1; " in follow_up


@pytest.mark.campaign
def test_with_drifts_alone_no_retrain_comes_without_one(tmp_path: Path) -> None:
    policy = tmp_path / "project.yaml"
    for change, opens in ((2000, ""), (6000, "opens: drift, ")):
        policy.write_text(f"campaign: {{{opens}follow_ups: 2, follow_up_windows: 1}}\n")
        base = setting(load(written(flipped(3000, change), tmp_path)).stream, OPTIONS)
        course = policies([str(policy)], base)["project.yaml"]()
        assert set(course.campaigns) <= set(course.alarms)
        assert bool(course.retrains) == bool(course.alarms)
        assert len(course.retrains) <= 3 * len(course.campaigns)
        assert all(at >= course.campaigns[0] for at in course.retrains)
        assert bool(course.campaigns) == (change < 3000)


def test_a_policy_file_says_what_opens(tmp_path: Path) -> None:
    base = setting(load(written(flipped(2000, 2000), tmp_path)).stream, OPTIONS)
    policy = tmp_path / "project.yaml"
    retrains = {}
    for opens in ("drift", "gain"):
        policy.write_text(f"campaign: {{opens: {opens}, least_gain: 0}}\n")
        retrains[opens] = policies([str(policy)], base)["project.yaml"]().retrains
    assert retrains["drift"] == []
    assert retrains["gain"]  # rows have doubled, and with no least gain that is enough


def test_every_retrains_at_each_window_but_the_last(found: dict[str, Any]) -> None:
    assert found["policies"]["every"]["retrains"] == (ROWS - 600) // 300 - 1
    assert found["policies"]["static"] == {**found["policies"]["static"], "retrains": 0, "delay": None}


def test_the_change_is_found_in_hindsight(found: dict[str, Any]) -> None:
    assert [abs(c - CHANGE) < 30 for c in found["changes"]] == [True]
    assert change_points(np.random.default_rng(0).random(5000), 200) == []


def test_a_level_that_is_left_and_comes_back_is_found_in_hindsight() -> None:
    level = np.interp(np.arange(12000), [0, 3000, 6000, 12000], [0.29, 0.29, 0.4, 0.28])
    wrong = np.random.default_rng(0).random(12000) < level
    assert len(change_points(wrong.astype(float), 300)) >= 2
    assert all(change_points(np.random.default_rng(i).random(6000), 300) == [] for i in range(20))


@pytest.mark.campaign
def test_labels_that_come_late_delay_the_answer(tmp_path: Path) -> None:
    late = simulate(
        load(written(flipped(), tmp_path)).stream,
        Options(train_rows=600, window=300, delay=900, model="logistic", policies=("trimtab",)),
    )["policies"]["trimtab"]
    assert late["at"]
    assert all(at - 900 > CHANGE for at in late["at"] if at > CHANGE)
    assert late["delay"] is None or late["delay"] > 900


@pytest.mark.campaign
def test_without_drift_it_serves_no_worse_than_never_retraining(tmp_path: Path) -> None:
    found = simulate(load(written(flipped(change=ROWS), tmp_path)).stream, OPTIONS)["policies"]
    assert found["trimtab"]["accuracy"] >= found["static"]["accuracy"] - 0.5
    assert found["trimtab_drift"]["false_campaigns"] == 0
    assert found["trimtab"]["false_campaigns"] == found["trimtab"]["retrains"]  # each for more data, none for a change


@pytest.mark.campaign
def test_a_number_is_predicted_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(3000, 3))
    slope = np.where(np.arange(3000) < 1500, 2.0, -2.0)
    table = pa.table(
        {"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": slope * x[:, 0] + rng.normal(scale=0.2, size=3000)}
    )
    options = Options(train_rows=400, window=200, model="logistic", policies=("static", "trimtab"))
    found = simulate(load(written(table, tmp_path)).stream, options)
    assert found["task"] == "regression"
    mine, still = (found["policies"][p]["mean_absolute_error"] for p in ("trimtab", "static"))
    assert mine < 0.6 * still


def test_any_table_is_told_apart(tmp_path: Path) -> None:
    n = 300
    rng = np.random.default_rng(2)
    table = pa.table(
        {
            "when": pa.array(np.arange(n)[::-1].astype("datetime64[s]")),
            "name": [f"row {i}" for i in range(n)],
            "empty": pa.nulls(n, pa.float64()),
            "holes": pa.array([None if i % 3 == 0 else float("inf") if i % 7 == 0 else float(i) for i in range(n)]),
            "kind": pa.array([("a", "b", None)[i % 3] for i in range(n)]).dictionary_encode(),
            "flag": rng.random(n) < 0.5,
            "outcome": pa.array([None if i == 5 else i % 3 for i in range(n)]),
        }
    )
    loaded = load(written(table, tmp_path), time="when")
    assert [f.kind for f in loaded.stream.schema.features] == ["number", "category", "number"]
    assert loaded.stream.classes == ("0", "1", "2")
    assert len(loaded.stream) == n - 1
    assert np.all(np.diff(loaded.stream.times) >= 0)
    assert loaded.stream.table["target"][0].as_py() == str((n - 1) % 3)
    assert len(loaded.notes) == 3


@pytest.mark.parametrize(
    ("table", "words", "options"),
    [
        (pa.table({"a": [1.0] * 50, "y": [0, 1] * 25}), "too few labelled rows", {}),
        (pa.table({"a": [1.0] * 200, "y": [1] * 200}), "the same label", {}),
        (pa.table({"a": [1.0] * 200, "y": [0, 1] * 100}), "no label column", {"label": "z"}),
        (pa.table({"a": ["x"] * 200, "y": [0, 1] * 100}), "cannot be read as times", {"time": "a"}),
        (pa.table({"y": [0, 1] * 100}), "too few columns", {}),
        (pa.table({"a": pa.nulls(200), "y": [0, 1] * 100}), "no column is left", {}),
    ],
)
def test_tables_that_cannot_be_replayed_are_told_why(
    table: pa.Table, words: str, options: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=words):
        load(written(table, tmp_path), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (Options(window=5), "too small"),
        (Options(train_rows=5), "too few training rows"),
        (Options(delay=-1), "cannot land"),
        (Options(delay=10**30), "no label would land"),
        (Options(delay=5400, train_rows=600), "less than the 5,400 rows"),
        (Options(cost=float("nan")), "cannot cost that"),
        (Options(cost=float("inf")), "cannot cost that"),
        (Options(train_rows=5900, window=300), "too short"),
        (Options(model="oracle"), "no such model"),
        (Options(policies=("hope",)), "no such policy"),
    ],
)
def test_options_that_do_not_fit_are_told_why(options: Options, words: str, tmp_path: Path) -> None:
    stream = load(written(flipped(), tmp_path)).stream
    with pytest.raises(ProjectError, match=words):
        simulate(stream, options)


def test_defaults_come_from_the_length(tmp_path: Path) -> None:
    stream = load(written(flipped(), tmp_path)).stream
    base = setting(stream, Options())
    assert (base.window, base.train_rows, base.windows.rows) == (150, 200, 150)
    long = setting(stream, Options(window=2000, train_rows=400))
    assert long.windows.rows == 500


def test_the_command_prints_json_and_takes_a_policy_file(tmp_path: Path) -> None:
    path = written(flipped(2000, 1000), tmp_path)
    policy = tmp_path / "eager.yaml"
    policy.write_text("campaign: {windows_per_retrain: 2, least_gain: 0.01}\n")
    asked = ["simulate", str(path), "--model", "logistic", "--window", "200", "--train-rows", "300", "--json"]
    ran = CliRunner().invoke(make_app(), [*asked, "--policy", "static", "--policy", "trimtab", "--policy", str(policy)])
    assert ran.exit_code == 0, ran.output
    facts = json.loads(ran.stdout)
    assert list(facts["policies"]) == ["static", "trimtab", "eager.yaml"]
    assert facts["no_change_predictor"]["accuracy"] == pytest.approx(50, abs=5)
    assert {"accuracy", "retrains", "delay", "false_campaigns"} <= set(facts["policies"]["trimtab"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("campaign: {least_gain: much}", r"campaign\.least_gain: input should be a valid number.*got much"),
        ("campaign: {fanfare: 1}", r"campaign\.fanfare: there is no such field\. See docs/project-file\.md"),
        ("campaign: {windows_per_retrain: .inf}", r"campaign\.windows_per_retrain: not a finite number.*got inf"),
        ("campaign: hello", "campaign: no block: expected keys with values, got hello"),
        ("windows: {harm: .nan}", r"windows\.harm: not a finite number"),
    ],
)
def test_a_wrong_policy_file_is_told_where(text: str, words: str, tmp_path: Path) -> None:
    stream = load(written(flipped(), tmp_path)).stream
    policy = tmp_path / "wrong.yaml"
    policy.write_text(text + "\n")
    with pytest.raises(ProjectError, match=words):
        simulate(stream, Options(policies=(str(policy),), model="logistic"))


@pytest.mark.parametrize("opens", ["drift", "gain"])
def test_a_paused_campaign_block_never_retrains(opens: str, tmp_path: Path) -> None:
    policy = tmp_path / "paused.yaml"
    policy.write_text(f"campaign: {{opens: {opens}, paused: true}}\n")
    base = setting(load(written(flipped(2400, 1200), tmp_path)).stream, OPTIONS)
    course = policies([str(policy)], base)["paused.yaml"]()
    assert course.alarms
    assert (course.retrains, course.campaigns) == ([], [])


def test_after_a_lost_retrain_gains_wait_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.monitoring.simulate.ours.no_worse", lambda *_: False)
    base = setting(load(written(flipped(2400, 1200), tmp_path)).stream, OPTIONS)
    policy = tmp_path / "waiting.yaml"
    at = {}
    for windows in (0, 2):
        policy.write_text(f"campaign: {{opens: gain, cooldown_windows: {windows}, windows_per_retrain: 1}}\n")
        at[windows] = policies([str(policy)], base)["waiting.yaml"]().retrains
    assert at[0][:2] == [at[0][0], at[0][0] + 300]
    assert at[2][:2] == [at[0][0], at[0][0] + 600]
    assert len(at[2]) < len(at[0])


def test_keys_that_a_replay_does_not_heed_are_named(tmp_path: Path) -> None:
    path = written(flipped(1500, 1500), tmp_path)
    policy, plain = tmp_path / "strict.yaml", tmp_path / "plain.yaml"
    policy.write_text(
        "campaign: {opens: gain, approval: true, run_hours: 1, follow_ups: 1, debounce_windows: 2, paused: true}\n"
        "windows: {label_horizon_hours: 1}\nrollout: {margin: 0.02, strategy: replace}\n"
    )
    plain.write_text("campaign: {min_labelled: 40, debounce_windows: 2}\n")
    asked = ["simulate", str(path), "--model", "logistic", "--policy", str(policy), "--policy", str(plain)]
    ran = CliRunner().invoke(make_app(), [*asked, "--json"])
    keys = [
        "windows.label_horizon_hours", "campaign.run_hours", "campaign.approval", "campaign.debounce_windows",
        "rollout.strategy",
    ]  # fmt: skip
    facts = json.loads(ran.stdout)
    assert facts["not_replayed"] == {"strict.yaml": keys}
    assert facts["notes"]["strict.yaml"] == [f"not replayed: {', '.join(keys)}"]
    shown = " ".join(CliRunner().invoke(make_app(), asked).stdout.split())
    assert f"strict.yaml: a replay does not heed {', '.join(keys)}." in shown


@pytest.mark.parametrize("rows", [100, 130])
def test_defaults_suit_the_shortest_tables(rows: int, tmp_path: Path) -> None:
    stream = load(written(flipped(rows, rows), tmp_path)).stream
    assert (setting(stream, Options()).train_rows, setting(stream, Options()).window) == (30, 30)
    found = simulate(stream, Options())["policies"]
    assert all(0 <= facts["accuracy"] <= 100 for facts in found.values())


def test_a_purse_keeps_one_retrain_for_a_drift() -> None:
    policy = Campaign()
    worth = Prospect(mean=0.03, z=4.0, rows=900, champion_rows=800, drift=False, follow_up=False, windows=9)
    drift = Prospect(mean=0.03, z=4.0, rows=900, champion_rows=800, drift=True, follow_up=False, windows=0)
    purse = Purse(2.0)
    assert due(purse, worth, 300, policy)
    purse.spend()
    assert not due(purse, worth, 300, policy)
    assert due(purse, drift, 300, policy)
    purse.spend()
    assert not due(purse, drift, 300, policy)
    purse.earn(policy.windows_per_retrain, policy)
    assert due(purse, drift, 300, policy)
