"""The baseline answers what the other folds suggest."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.stages import Line
from tests.tables import MIXED, NUMBERS, mixed, numbers

from trimtab.core.errors import DataError
from trimtab.core.prepared import Prepared
from trimtab.core.trained import Predictions


def test_the_most_frequent_class_is_the_baseline(tmp_path: Path) -> None:
    line = Line(tmp_path, mixed(300), MIXED)
    line.prepare()
    result = line.baseline()
    data = Prepared.load(tmp_path / "prepared")
    shares = np.bincount(data.truth[data.train_rows]) / len(data.train_rows)
    assert result.constant == pytest.approx(shares.tolist())
    assert result.metrics["accuracy"]["value"] == pytest.approx(shares.max(), abs=0.02)
    assert result.name == f"always {('no', 'yes')[shares.argmax()]}, the most frequent class"
    assert json.loads((tmp_path / "baseline" / "baseline.json").read_bytes())["metrics"] == result.metrics


def test_a_number_s_baseline_is_the_median_and_knows_nothing_of_its_own_fold(tmp_path: Path) -> None:
    line = Line(tmp_path, numbers(), NUMBERS)
    line.prepare()
    result = line.baseline()
    data = Prepared.load(tmp_path / "prepared")
    rows = data.train_rows
    assert result.constant == pytest.approx([np.median(data.truth[rows])])
    honest = Predictions.load(tmp_path / "baseline", ())
    for fold in range(3):
        others = rows[data.folds[rows] != fold]
        assert honest.prediction[honest.folds == fold] == pytest.approx(np.median(data.truth[others]))


def test_the_same_rows_give_the_same_digest(tmp_path: Path) -> None:
    line = Line(tmp_path, mixed(), MIXED)
    line.prepare()
    assert line.baseline() == line.baseline()


def test_a_folder_that_prepare_did_not_write_is_refused(tmp_path: Path) -> None:
    line = Line(tmp_path, mixed(), MIXED)
    (tmp_path / "data").rename(tmp_path / "prepared")
    with pytest.raises(DataError, match=r"the dataset has no column _split.*Train on what prepare wrote"):
        line.baseline()
