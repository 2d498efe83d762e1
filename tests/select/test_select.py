"""One winner, tested once, held to its gates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.stages import Line
from tests.tables import MIXED, mixed

from trimtab.core.blocks import Gates
from trimtab.core.errors import ModelError
from trimtab.core.metrics import accuracy
from trimtab.core.prepared import Prepared
from trimtab.core.trained import Predictions, Scorer, TrainedModel, folder_digest
from trimtab.select.rank import Entrant, rank


@pytest.fixture(scope="module")
def line(tmp_path_factory: Any) -> Any:
    line = Line(tmp_path_factory.mktemp("select"), mixed(), MIXED)
    line.prepare()
    line.baseline()
    candidates: dict[str, dict[str, Any]] = {"linear": {}, "mlp": {"epochs": 1}}
    for name, params in candidates.items():
        line.train(name, **params)
        line.evaluate(name)
    return line


def test_the_better_candidate_wins_and_is_tested_on_the_sealed_rows(line: Any) -> None:
    result = line.select("mlp", "linear")
    assert result.winner == "linear"
    assert result.tested_on == "test"
    assert result.rows == 48
    data = Prepared.load(line.root / "prepared")
    prediction = Scorer(line.root / "linear", data.preprocessing).predict(data.take(data.test_rows))
    assert result.metrics["accuracy"]["value"] == pytest.approx(accuracy(data.truth[data.test_rows], prediction))
    assert np.sum(result.confusion) == 48
    assert folder_digest(line.root / "winner") == folder_digest(line.root / "linear")
    written = json.loads((line.root / "selection.json").read_bytes())
    assert written["winner"] == "linear"
    assert written["metrics"] == result.metrics
    assert written["threshold"] is None
    assert [c["name"] for c in written["candidates"]] == ["mlp", "linear"]


def test_the_gates_are_held_against_the_sealed_test(line: Any) -> None:
    passed = line.select(gates=Gates(at_least={"accuracy": 0.6}, at_most={"log_loss": 1.0}))
    assert passed.passed
    assert passed.gates == {
        "accuracy at least 0.6": True, "log_loss at most 1": True, "better than the baseline": True,
    }  # fmt: skip
    failed = line.select(gates=Gates(at_least={"accuracy": 0.999}))
    assert not failed.passed
    assert failed.gates["accuracy at least 0.999"] is False


def test_no_gate_passes() -> None:
    from trimtab.select.stage import _gates

    assert _gates(Gates(beats_baseline=False), {}, False) == {}


def test_what_does_not_beat_the_baseline_does_not_pass(tmp_path: Path) -> None:
    table = mixed(120)
    rng = np.random.default_rng(0)
    names = np.where(rng.random(120) < 0.9, "no", "yes").tolist()  # nothing to learn
    noise = Line(tmp_path, table.set_column(5, "churn", [names]), MIXED)
    noise.prepare()
    noise.baseline()
    noise.train("linear", epochs=3)
    noise.evaluate()
    result = noise.select()
    assert result.gates == {"better than the baseline": False}
    assert not result.passed


def entrant(name: Any, parameters: Any, truth: Any, p: Any) -> Any:
    from trimtab.core.metrics import figures

    found = {n: f.facts() for n, f in figures("classification", truth, p).items()}
    model = TrainedModel(
        name=name, kind="linear", task="classification", classes=("a", "b"), shape=(1,), outputs=2,
        parameters=parameters, figures=found,
    )  # fmt: skip
    rows = np.arange(len(truth))
    return Entrant(model, Predictions(rows, rows, truth, p))


def test_of_two_as_good_the_simpler_wins() -> Any:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 300)

    def wrong(first: Any, last: Any) -> Any:
        guess = truth.copy()
        guess[first:last] = 1 - guess[first:last]
        return np.eye(2)[guess] * 0.8 + 0.1

    large, small = entrant("large", 9999, truth, wrong(0, 25)), entrant("small", 10, truth, wrong(15, 42))
    winner, why = rank([large, small], "accuracy")
    assert winner is small
    assert "is as good as large, and has the fewest weights" in why


def test_a_clearly_better_one_wins_whatever_its_size() -> Any:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 300)

    def at(share: Any) -> Any:
        return np.eye(2)[np.where(rng.random(300) < share, truth, 1 - truth)] * 0.8 + 0.1

    winner, why = rank([entrant("small", 10, truth, at(0.7)), entrant("large", 9999, truth, at(0.95))], "accuracy")
    assert winner.model.name == "large"
    assert "large has the best accuracy" in why


def test_as_many_right_but_less_sure_of_it_is_no_tie() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 300)
    sharp = np.eye(2)[truth] * 0.9 + 0.05
    blunt = np.eye(2)[truth] * 0.2 + 0.4
    winner, why = rank([entrant("blunt", 10, truth, blunt), entrant("sharp", 99, truth, sharp)], "accuracy")
    assert winner.model.name == "sharp"
    assert "is as good as blunt, and the best of them by log_loss" in why


def test_rows_to_judge_on_are_the_test(tmp_path: Path) -> None:
    judged = Line(tmp_path, mixed(150), MIXED, judge=mixed(40, seed=2))
    judged.prepare()
    judged.baseline()
    judged.train("linear", epochs=5)
    evaluation = judged.evaluate()
    result = judged.select()
    assert result.tested_on == "judge"
    assert result.rows == 40
    assert result.metrics == evaluation.judge_metrics


def test_the_same_input_gives_the_same_bytes(line: Any) -> None:
    line.select("mlp", "linear")
    first = (line.root / "selection.json").read_bytes()
    line.select("mlp", "linear")
    assert (line.root / "selection.json").read_bytes() == first


def test_a_candidate_without_evaluation_is_named(line: Any) -> None:
    from trimtab.select.stage import SelectConfig, select

    config = SelectConfig(task="classification", metric="accuracy")
    folders = (line.root / "prepared", line.root / "baseline")
    out = (line.root / "w", line.root / "s.json")
    with pytest.raises(ModelError, match="candidate 'linear' has no evaluation"):
        select(config, *folders, [line.root / "linear"], [line.root / "mlp-evaluation"], *out)
    with pytest.raises(ModelError, match="nothing to select from"):
        select(config, *folders, [], [], *out)
    with pytest.raises(ModelError, match=r"no readable evaluation\.json"):
        select(config, *folders, [line.root / "linear"], [line.root / "nowhere"], *out)
