"""Candidates learn, predict honestly, are calibrated, and come out the same each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.stages import Line
from tests.tables import IMAGES, MIXED, MIXED_VALUE, NUMBERS, images, mixed, numbers

from trimtab.core.blocks import Candidate
from trimtab.core.errors import DataError, ModelError, ProjectError
from trimtab.core.metrics import accuracy
from trimtab.core.prepared import Prepared
from trimtab.core.trained import Predictions, Scorer, TrainedModel
from trimtab.train.stage import TrainConfig


@pytest.fixture(scope="module")
def mixed_line(tmp_path_factory: Any) -> Any:
    line = Line(tmp_path_factory.mktemp("mixed"), mixed(), MIXED)
    line.prepare()
    return line


def score(line: Any, name: Any) -> Any:
    """Accuracy, or R², of the served model on the sealed test."""
    data = Prepared.load(line.root / "prepared")
    prediction = Scorer(line.root / name, data.preprocessing).predict(data.take(data.test_rows))
    truth = data.truth[data.test_rows]
    return accuracy(truth, prediction) if prediction.ndim == 2 else 1 - np.var(truth - prediction) / np.var(truth)


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_a_table_with_holes_and_categories_is_learned(mixed_line: Any, name: Any) -> None:
    result = mixed_line.train(name)
    assert result.figures["accuracy"]["value"] > 0.8
    assert score(mixed_line, name) > 0.75


def test_a_number_is_learned_and_its_errors_are_kept(tmp_path: Path) -> None:
    line = Line(tmp_path, numbers(), NUMBERS)
    line.prepare()
    result = line.train("linear")
    assert result.figures["r2"]["value"] > 0.95
    assert score(line, "linear") > 0.95
    residuals = TrainedModel.load(tmp_path / "linear").residuals
    assert residuals["q10"] < residuals["q50"] < residuals["q90"] < residuals["q95"]
    assert residuals["mean"] == pytest.approx(result.figures["mae"]["value"], rel=1e-4)


def test_a_cnn_learns_images(tmp_path: Path) -> None:
    line = Line(tmp_path, images(), IMAGES)
    line.prepare()
    line.train("cnn", channels=[8, 16], epochs=40)
    assert score(line, "cnn") > 0.9
    assert TrainedModel.load(tmp_path / "cnn").embedding == 64


def test_predictions_are_of_every_training_row_by_fits_that_did_not_see_it(tmp_path: Path) -> None:
    """Labels that are pure chance cannot be predicted, unless a fit has seen them."""
    table = numbers(160)
    rng = np.random.default_rng(99)
    table = table.set_column(3, "y", [rng.normal(size=160)])
    line = Line(tmp_path, table, NUMBERS)
    line.prepare()
    result = line.train("mlp", hidden=[256], dropout=0, weight_decay=0, epochs=60)
    data = Prepared.load(tmp_path / "prepared")
    honest = Predictions.load(tmp_path / "mlp", ())
    assert honest.rows.tolist() == data.train_rows.tolist()
    assert honest.folds.tolist() == data.folds[data.train_rows].tolist()
    assert result.figures["r2"]["value"] < 0.2


def test_the_same_seed_gives_the_same_digest_and_another_seed_another(tmp_path: Path) -> Any:
    from trimtab.train.stage import train

    line = Line(tmp_path, images(60), IMAGES)
    line.prepare()

    def digest(seed: Any, out: Any) -> Any:
        candidate = Candidate(name="cnn", kind="cnn", params={"epochs": 2, "channels": [4]})
        config = TrainConfig(candidate=candidate, name="cnn", task="classification", metric="accuracy", seed=seed)
        return train(config, tmp_path / "prepared", tmp_path / out).digest

    assert digest(0, "a") == digest(0, "b") != digest(1, "c")


def test_many_rows_are_fitted_once_and_held_out_rows_predicted(tmp_path: Path) -> None:
    line = Line(tmp_path, numbers(5200), NUMBERS)
    line.prepare()
    line.train("linear", epochs=3)
    data = Prepared.load(tmp_path / "prepared")
    honest = Predictions.load(tmp_path / "linear", ())
    assert honest.rows.tolist() == np.flatnonzero(data.folds == 0).tolist()
    # One fit: the served network is the one whose predictions these are.
    again = Scorer(tmp_path / "linear", data.preprocessing).predict(data.take(honest.rows))
    np.testing.assert_allclose(again, honest.prediction, rtol=1e-5)


def test_stopping_early_is_for_fits_that_overfit() -> None:
    from trimtab.train.honest import best_check

    rng = np.random.default_rng(0)
    y = rng.normal(size=(200, 1)).astype(np.float32)
    good, bad = y + 0.1 * rng.normal(size=y.shape), y + rng.normal(size=y.shape)
    assert best_check({1: bad, 2: good, 3: bad}, y) == 2
    assert best_check({1: bad, 2: good, 3: good + 0.001}, y) == 3, "no clear gain: the whole cycle"


def test_a_temperature_repairs_overconfidence_and_never_promises_certainty() -> None:
    from trimtab.core.metrics import log_loss
    from trimtab.core.trained import probabilities
    from trimtab.train.calibrate import temperature

    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2000, 3))
    p = probabilities(logits, 1.0)
    truth = np.array([rng.choice(3, p=row) for row in p])
    assert temperature(logits * 5, truth) == pytest.approx(5, rel=0.15)
    sure = np.eye(3)[truth] * 4
    t = temperature(sure, truth)
    assert log_loss(truth, probabilities(sure, t)) > 1e-5
    assert probabilities(sure, t).max() < 1


@pytest.mark.parametrize(("line_of", "value"), [((mixed, MIXED), False), ((mixed, MIXED_VALUE), True)])
def test_a_candidate_of_one_s_own(tmp_path: Path, line_of: Any, value: Any) -> None:
    make, schema = line_of
    line = Line(tmp_path, make(value=value), schema)
    line.prepare()
    result = line.train("own", uses="tests.train.own_candidates:build", rate=0.01, epochs=15)
    assert result.figures["r2" if value else "accuracy"]["value"] > 0.7
    if value:
        again = line.train("own", uses="tests.train.own_candidates:build", out="again", rate=0.01, epochs=15)
        assert again.digest == result.digest
    line.baseline()
    line.evaluate("own")
    line.select("own")
    assert line.export().parity < 1e-5


def test_a_candidate_of_one_s_own_on_many_rows_is_fitted_once(tmp_path: Path) -> None:
    line = Line(tmp_path, numbers(5200), NUMBERS)
    line.prepare()
    line.train("own", uses="tests.train.own_candidates:build", epochs=2)
    data = Prepared.load(tmp_path / "prepared")
    honest = Predictions.load(tmp_path / "own", ())
    again = Scorer(tmp_path / "own", data.preprocessing).predict(data.take(honest.rows))
    # The exporter folds and reorders, so not to the last digit.
    np.testing.assert_allclose(again, honest.prediction, rtol=1e-4)


@pytest.mark.parametrize(
    ("uses", "error", "words"),
    [
        ("tests.train.nowhere:build", ProjectError, r"tests\.train\.nowhere cannot be imported.*stage image"),
        ("tests.train.own_candidates:built", ProjectError, r"has no 'built': expected package\.module:build"),
        ("tests.train.own_candidates:not_a_module", ModelError, "returned no LightningModule.*got Linear"),
        (
            "tests.train.own_candidates:wrong_shape",
            ModelError,
            r"returns another shape: expected \[n, 2\], got \[\d+, 1\]",
        ),
        ("tests.train.own_candidates:fails", ModelError, "failed in training: ValueError: nothing to see"),
    ],
)
def test_what_is_wrong_with_a_candidate_of_one_s_own_is_said(
    mixed_line: Any, uses: Any, error: Any, words: Any
) -> None:
    with pytest.raises(error, match=words):
        mixed_line.train("own", uses=uses, epochs=1)


@pytest.mark.parametrize(
    ("batch", "words"), [(8, "the loss of candidate 'own' is (nan|inf)"), (64, "predicts values that are not finite")]
)
def test_a_loss_that_is_no_number_ends_with_the_next_step(tmp_path: Path, batch: Any, words: Any) -> None:
    line = Line(tmp_path, numbers(60), NUMBERS)
    line.prepare()
    with pytest.raises(ModelError, match=rf"{words}.*Lower params\.learning_rate"):
        line.train("own", uses="tests.train.own_candidates:build", rate=1e30, epochs=5, batch_size=batch)


def test_params_that_a_candidate_does_not_take_are_named(mixed_line: Any) -> None:
    with pytest.raises(ProjectError, match=r"params of candidate 'mlp': hiden.*expected some of epochs.*hidden"):
        mixed_line.train("mlp", hiden=[3])
    with pytest.raises(ProjectError, match="params of candidate 'linear': learning_rate"):
        mixed_line.train("linear", learning_rate=-1)


def test_a_cnn_without_an_image_says_what_to_use(mixed_line: Any) -> None:
    with pytest.raises(ProjectError, match=r"is a cnn, and the model's input is no image.*Use mlp or linear"):
        mixed_line.train("cnn")


def test_a_cnn_that_halves_too_often_is_refused(tmp_path: Path) -> None:
    line = Line(tmp_path, images(40), IMAGES)
    line.prepare()
    with pytest.raises(ProjectError, match="an image of at least 16 pixels a side, got 8 x 8"):
        line.train("cnn", channels=[4, 4, 4, 4])


def test_no_row_held_out_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa

    from trimtab.core.datasets import read_manifest, read_table, write_dataset

    line = Line(tmp_path, numbers(60), NUMBERS)
    line.prepare()
    table = read_table(tmp_path / "prepared")
    at = table.column_names.index("_fold")
    table = table.set_column(at, "_fold", pa.array(np.full(60, -1, np.int32)))
    write_dataset(tmp_path / "prepared", [table], read_manifest(tmp_path / "prepared").schema)
    with pytest.raises(DataError, match="no row is held out to be judged on"):
        line.train("linear")


def test_one_class_in_a_fold_is_no_trouble(tmp_path: Path) -> None:
    """A class so rare that some fits never see it."""
    import pyarrow as pa

    table = images(60)
    labels = ["left"] * 29 + ["right"] * 30 + ["top"]
    line = Line(tmp_path, table.set_column(1, "side", pa.array(labels)), IMAGES)
    line.prepare(test_fraction=0.1, folds=5)
    result = line.train("linear", epochs=2)
    assert 0 <= result.figures["accuracy"]["value"] <= 1
