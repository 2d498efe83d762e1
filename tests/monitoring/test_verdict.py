"""One verdict from three layers: what each may say, and how often it is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from tests.monitoring.simulated import Version, decisions

from trimtab.core.policies import Windows
from trimtab.core.schema import Field, Schema, Target
from trimtab.monitoring.cause import Cause
from trimtab.monitoring.losses import of
from trimtab.monitoring.performance import Yardstick, expected
from trimtab.monitoring.verdict import decide


def version(seed: int = 0, reference_rows: int = 2000, policy: Windows | None = None) -> Version:
    return Version(np.random.default_rng(seed), reference_rows, policy)


def test_without_drift_it_says_none_nearly_always() -> None:
    said = [d for run in decisions(0, 10, 20, 100, 500) for d in run]
    assert sum(d.verdict == "drift" for d in said) == 0
    assert sum(d.verdict != "none" for d in said) <= 8  # 1 % of 200 is 2; alarms come in runs


@pytest.mark.campaign
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(("n", "m"), [(69, 276), (100, 1000), (300, 300), (300, 5000)])
def test_false_alarms_over_many_windows(n: int, m: int) -> None:
    runs = list(decisions(n + m, 150, 20, n, m))
    said = [d for run in runs for d in run]
    assert sum(d.verdict == "drift" for d in said) <= 3000 / 1000
    assert sum(d.verdict != "none" for d in said) <= 0.015 * len(said)


def test_answers_that_change_while_inputs_do_not_are_concept_drift() -> None:
    watched = version()
    for _ in range(6):
        assert watched.window(200).verdict != "drift"
    told = [watched.window(200, flip=0.12) for _ in range(3)]
    last = told[-1]
    assert last.verdict == "drift"
    assert last.layers["realised"] == "drift"
    assert last.cause is Cause.concept
    assert last.since is not None
    changed = 6 * 200 * 1_000_000
    assert last.since.lower <= changed <= last.since.upper
    rate = last.cost_per_day / 86_400  # one row a second: errors a row
    assert rate == pytest.approx(0.1, abs=0.05)
    assert "concept drift" in last.words
    assert "Accuracy is" in last.words


def test_inputs_that_move_to_where_the_model_is_unsure_are_covariate_shift() -> None:
    watched = version(1)
    for _ in range(4):
        watched.window(200)
    told = [watched.window(300, shift=1.6) for _ in range(2)]
    assert told[-1].verdict == "drift"
    assert told[-1].cause is Cause.covariate
    assert told[-1].layers["expected"] == "watch"
    assert {m.name for m in told[-1].moved} >= {"a"}


def test_inputs_that_move_without_harm_are_no_more_than_watch() -> None:
    watched = version(2)
    for _ in range(3):
        watched.window(300)
    told = [watched.window(300, shift=-1.5) for _ in range(5)]
    assert [d.verdict for d in told] == ["watch"] * 5
    assert all(d.cost_per_day == 0 for d in told)
    assert "Nothing shows that it hurts." in told[-1].words


def test_without_labels_strong_estimated_harm_is_drift_when_it_lasts() -> None:
    watched = version(3)
    watched.window(300, labelled=0)
    first = watched.window(300, labelled=0, shift=1.6)
    second = watched.window(300, labelled=0, shift=1.6)
    assert first.verdict == "watch"
    assert second.verdict == "drift"
    assert second.layers == {"inputs": "watch", "expected": "drift", "realised": "none"}
    assert second.since is not None
    assert "no labels contradict it" in second.words


def test_labels_that_show_no_harm_silence_the_estimate() -> None:
    """An over-cautious model: its doubt grows, its answers stay right."""
    watched = version(4)
    watched.window(300)
    for _ in range(3):
        watched.window(300, shift=1.6)
        last = watched.history[-1]
        assert last.realised is not None
        nothing = 0 * last.realised.total
        right = replace(last.realised, losses=of(np.zeros(300)), total=nothing, squares=nothing, slices={})
        watched.history[-1] = replace(last, realised=right)
    said = decide(watched.history, watched.yardstick, watched.policy)
    assert said.verdict == "watch"
    assert said.layers["realised"] == "none"


def test_harm_below_the_setting_does_not_page() -> None:
    watched = version(5, 20_000, Windows(harm=0.2))
    said = [watched.window(2000, flip=0.1) for _ in range(4)][-1]
    assert said.layers["realised"] != "drift"
    assert decide(watched.history, watched.yardstick, Windows()).verdict == "drift"


def test_few_labels_count_for_little_and_late_ones_are_used() -> None:
    watched = version(6)
    said = [watched.window(300, labelled=0.02, flip=0.5 if i > 2 else 0.0) for i in range(6)][-1]
    assert said.layers["realised"] == "drift"
    quiet = watched.window(300, labelled=0)
    assert quiet.layers["realised"] == "drift"  # what older labels show still stands


@pytest.mark.parametrize("labels", ["none", "one"])
def test_a_window_of_one_row_has_a_verdict(labels: str) -> None:
    said = version(7).window(1, labelled=float(labels == "one"))
    assert said.verdict == "none"
    assert said.words


def test_costs_are_stated_for_the_projects_traffic() -> None:
    watched = version(8)
    for _ in range(3):
        watched.window(300, flip=0.3)
    said = decide(watched.history, watched.yardstick, watched.policy, rows_per_day=1000)
    assert said.cost_per_day == pytest.approx(1000 * said.look.harm)


def test_numbers_are_watched_by_their_errors() -> None:
    rng = np.random.default_rng(9)
    schema = Schema(fields=(Field(name="x", kind="number"),), target=Target(name="y", kind="number", unit="mm"))
    x = rng.normal(size=800)
    reference = pa.table({"x": x, "_value": 10 * x, "y": 10 * x + rng.normal(size=800)})
    yardstick = Yardstick.of(schema, reference)
    assert yardstick.shown(yardstick.realised.mean) == pytest.approx(0.8, abs=0.1)
    now = pa.table(
        {"x": x[:200], "_value": 10 * x[:200], "_truth": [str(v) for v in 10 * x[:200] + 3 * rng.normal(size=200)]}
    )
    loss = yardstick.losses(now)
    assert loss.max() <= yardstick.cap
    assert loss.mean() > 1.5 * yardstick.realised.mean
    estimate = expected(yardstick, of(yardstick.guesses(now)))
    assert estimate.low < 0.8 < estimate.high


def test_an_estimate_covers_what_labels_show() -> None:
    watched = version(10)
    held = 0
    for _ in range(60):
        watched.window(100)
        last = watched.history[-1]
        assert last.realised is not None
        estimate = expected(watched.yardstick, last.expected)
        held += estimate.low - 1e-9 <= 1 - last.realised.losses.mean <= estimate.high + 1e-9
    assert held >= 52
