"""Figures with intervals, and champion against challenger on the same rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.stages import Line
from tests.tables import MIXED, NUMBERS, mixed, numbers

from trimtab.core.errors import ModelError
from trimtab.core.prepared import Prepared
from trimtab.core.store import Store
from trimtab.core.trained import Scorer
from trimtab.evaluate.judge import Champion, compare_labels, compare_values, labels


@pytest.fixture(scope="module")
def champion(tmp_path_factory: Any) -> Any:
    """A bundle of a linear model on other rows."""
    line = Line(tmp_path_factory.mktemp("champion"), mixed(120, seed=7), MIXED)
    line.whole("linear", epochs=3)
    return line.root / "bundle"


@pytest.fixture(scope="module")
def challenger(tmp_path_factory: Any) -> Any:
    line = Line(tmp_path_factory.mktemp("challenger"), mixed(), MIXED, judge=mixed(50, seed=1), against="v1-00000000")
    line.prepare()
    line.train("linear")
    return line


def test_figures_have_intervals_confusion_and_roc(challenger: Any) -> None:
    result = challenger.evaluate()
    assert result.rows == 240
    for figure in result.metrics.values():
        assert figure["low"] <= figure["value"] <= figure["high"]
    assert np.sum(result.confusion) == 240
    assert len(result.roc["fpr"]) == len(result.roc["tpr"]) == len(result.roc["threshold"])
    assert 0 <= result.calibration_error < 0.2
    written = json.loads((challenger.root / "linear-evaluation" / "evaluation.json").read_bytes())
    assert written["metrics"] == result.metrics
    assert written["classes"] == ["no", "yes"]


def test_champion_and_challenger_are_counted_on_the_same_rows(challenger: Any, champion: Any) -> None:
    result = challenger.evaluate(champion=champion)
    judge = result.judge
    assert judge["against"] == "v1-00000000"
    assert judge["n"] == 50 == sum(judge[k] for k in ("both_right", "challenger_only", "champion_only", "both_wrong"))
    # Counted again, by hand.
    data = Prepared.load(challenger.root / "prepared")
    truth = np.array(challenger.judge.column("churn").to_pylist(), dtype=object)
    ours = labels(
        Scorer(challenger.root / "linear", data.preprocessing).predict(MIXED.encode_table(challenger.judge)),
        ("no", "yes"),
    )
    theirs = Champion(champion).answers(challenger.judge)
    assert judge["both_right"] + judge["challenger_only"] == int(np.sum(ours == truth))
    assert judge["both_right"] + judge["champion_only"] == int(np.sum(theirs == truth))
    assert result.judge_metrics["accuracy"]["value"] == pytest.approx(float(np.mean(ours == truth)))


def test_without_a_champion_the_rows_are_scored_alone(challenger: Any) -> None:
    result = challenger.evaluate()
    assert result.judge is None
    assert 0.5 < result.judge_metrics["accuracy"]["value"] <= 1


def test_without_rows_to_judge_on_there_is_nothing_to_compare(tmp_path: Path, champion: Any) -> None:
    line = Line(tmp_path, mixed(60), MIXED)
    line.prepare()
    line.train("linear", epochs=1)
    result = line.evaluate(champion=champion)
    assert result.judge is None
    assert result.judge_metrics is None


def test_the_champion_comes_verified_from_the_store(
    challenger: Any, champion: Any, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from trimtab.core import settings, signing
    from trimtab.core.bundle import publish_bundle
    from trimtab.core.errors import SignatureError

    key = signing.ensure_keypair(settings.load())
    version = publish_bundle(store, "model", champion, key, metrics={}, threshold=None, lineage={}, project={})
    line = Line(tmp_path, challenger.table, MIXED, judge=challenger.judge, against=version)
    for name in ("prepared", "linear"):
        (tmp_path / name).symlink_to(challenger.root / name)
    result = line.evaluate(store=store)
    assert result.judge == {**challenger.evaluate(champion=champion).judge, "against": version}
    store.put(f"models/model/versions/{version}/model.onnx", b"something else")
    with pytest.raises(SignatureError, match=r"model\.onnx"):
        line.evaluate(store=store)


def test_a_binary_champion_answers_by_its_threshold() -> None:
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    assert labels(p, ("no", "yes")).tolist() == ["no", "no", "yes"]
    assert labels(p, ("no", "yes"), 0.3).tolist() == ["no", "yes", "yes"]


def test_the_counts_and_the_differences() -> None:
    truth, ours, theirs = (np.array(list(t), dtype=object) for t in ("aabb", "abbb", "abab"))
    assert compare_labels(truth, ours, theirs) == {
        "n": 4, "both_right": 2, "challenger_only": 1, "champion_only": 0, "both_wrong": 1,
    }  # fmt: skip
    found = compare_values(np.zeros(3), np.array([1.0, -1.0, 0.0]), np.array([2.0, 2.0, 3.0]))
    assert found["challenger_loss"] == pytest.approx(2 / 3)
    assert found["champion_loss"] == pytest.approx(7 / 3)
    assert found["mean_difference"] == pytest.approx(-5 / 3)
    assert found["std_difference"] == pytest.approx(np.std([-1, -1, -3], ddof=1))


def test_numbers_are_compared_by_their_absolute_errors(tmp_path: Path) -> None:
    old = Line(tmp_path / "old", numbers(80, seed=3), NUMBERS)
    old.whole("linear", epochs=1)
    line = Line(tmp_path / "new", numbers(), NUMBERS, judge=numbers(40, seed=5), against="v1-00000000")
    line.prepare()
    line.train("linear")
    result = line.evaluate(champion=old.root / "bundle")
    assert result.judge["challenger_loss"] < result.judge["champion_loss"]
    assert result.judge["mean_difference"] < 0
    assert result.judge_metrics["mae"]["value"] == pytest.approx(result.judge["challenger_loss"], abs=1e-5)
    assert result.roc == {}


def test_a_class_that_is_new_in_the_rows_counts_as_wrong_for_both(
    challenger: Any, champion: Any, tmp_path: Path
) -> None:
    names = challenger.judge.column("churn").to_pylist()
    judge = challenger.judge.set_column(5, "churn", pa.array(["maybe"] * 10 + names[10:]))
    line = Line(tmp_path, challenger.table, MIXED, judge=judge)
    for name in ("prepared", "linear"):
        (tmp_path / name).symlink_to(challenger.root / name)
    assert line.evaluate(champion=champion).judge["both_wrong"] >= 10


def test_a_feature_that_today_s_data_dropped_is_missing_for_the_champion(challenger: Any, champion: Any) -> None:
    full = Champion(champion).answers(challenger.judge)
    without = Champion(champion).answers(challenger.judge.drop(["town"]))
    assert len(without) == len(full)


def test_the_same_input_gives_the_same_bytes(challenger: Any, champion: Any) -> None:
    path = challenger.root / "linear-evaluation" / "evaluation.json"
    challenger.evaluate(champion=champion)
    first = path.read_bytes()
    challenger.evaluate(champion=champion)
    assert path.read_bytes() == first


def test_a_model_without_predictions_is_refused(challenger: Any, tmp_path: Path) -> None:
    import shutil

    line = Line(tmp_path, challenger.table, MIXED)
    (tmp_path / "prepared").symlink_to(challenger.root / "prepared")
    shutil.copytree(challenger.root / "linear", tmp_path / "linear")
    (tmp_path / "linear" / "predictions.parquet").unlink()
    with pytest.raises(ModelError, match=r"holds no predictions\.parquet.*train writes"):
        line.evaluate()
    with pytest.raises(ModelError, match=r"no readable model\.json"):
        Scorer(tmp_path, Prepared.load(tmp_path / "prepared").preprocessing)
