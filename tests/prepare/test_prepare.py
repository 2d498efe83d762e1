"""Splits, folds and what cannot be prepared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.stages import Line
from tests.tables import IMAGES, MIXED, NUMBERS, images, mixed, numbers

from trimtab.core.errors import DataError
from trimtab.core.prepared import Prepared
from trimtab.prepare.folds import folds, split


def test_every_row_is_kept_once_with_split_and_fold(tmp_path: Path) -> None:
    line = Line(tmp_path, mixed(), MIXED)
    result = line.prepare(test_fraction=0.2, folds=3)
    data = Prepared.load(tmp_path / "prepared")
    assert (result.rows, result.test_rows, result.folds) == (192, 48, 3)
    assert data.table.column("customer").to_pylist() == line.table.column("customer").to_pylist()
    assert set(data.folds[data.train_rows]) == {0, 1, 2}
    assert set(data.folds[data.test_rows]) == {-1}
    assert len(np.intersect1d(data.train_rows, data.test_rows)) == 0


def test_classes_keep_their_shares_in_test_and_folds(tmp_path: Path) -> None:
    Line(tmp_path, images(300), IMAGES).prepare(test_fraction=0.2, folds=5)
    data = Prepared.load(tmp_path / "prepared")
    shares = np.bincount(data.truth) / 300
    for rows in (data.test_rows, *(np.flatnonzero(data.folds == f) for f in range(5))):
        np.testing.assert_allclose(np.bincount(data.truth[rows]) / len(rows), shares, atol=0.03)


def test_a_class_of_one_row_stays_in_training() -> None:
    strata = np.array([0] * 50 + [1])
    for seed in range(20):
        assert not split(strata, 51, 0.5, seed)[50]


def test_the_test_has_the_fraction_asked_for() -> None:
    assert split(None, 1000, 0.15, 0).sum() == 150
    assert split(None, 1000, 0.0, 0).sum() == 0


def test_many_rows_get_three_folds_and_very_many_one_held_out(tmp_path: Path) -> None:
    assert Line(tmp_path / "a", numbers(700), NUMBERS).prepare(folds=5).folds == 3
    result = Line(tmp_path / "b", numbers(6000), NUMBERS).prepare(folds=5)
    assert result.folds == 1
    data = Prepared.load(tmp_path / "b" / "prepared")
    assert np.mean(data.folds[data.train_rows] == 0) == pytest.approx(0.2, abs=0.01)


def test_few_rows_get_few_folds(tmp_path: Path) -> None:
    assert Line(tmp_path, numbers(12), NUMBERS).prepare(test_fraction=0.15, folds=5).folds == 2


def test_rows_to_judge_on_leave_every_row_to_training(tmp_path: Path) -> None:
    result = Line(tmp_path, mixed(), MIXED, judge=mixed(30, seed=1)).prepare(test_fraction=0.2)
    assert (result.rows, result.test_rows) == (240, 0)


def test_preprocessing_learns_from_training_rows_alone(tmp_path: Path) -> None:
    table = numbers(200)
    Line(tmp_path / "plain", table, NUMBERS).prepare(test_fraction=0.2)
    data = Prepared.load(tmp_path / "plain" / "prepared")
    changed = table.column("a").to_numpy().copy()
    changed[data.test_rows] = 1e6
    Line(tmp_path / "changed", table.set_column(0, "a", pa.array(changed)), NUMBERS).prepare(test_fraction=0.2)
    assert Prepared.load(tmp_path / "changed" / "prepared").preprocessing == data.preprocessing


def test_the_same_rows_give_the_same_digest_and_another_seed_another(tmp_path: Path) -> None:
    line = Line(tmp_path, mixed(), MIXED)
    first = line.prepare(seed=1)
    assert line.prepare(seed=1) == first
    assert line.prepare(seed=2).digest != first.digest


def test_folds_are_nearly_equal() -> None:
    counts = np.bincount(folds(np.arange(103) % 4, 103, 5, 0))
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("n", [0, 5])
def test_too_few_rows_are_refused_in_a_sentence(tmp_path: Path, n: Any) -> None:
    with pytest.raises(DataError, match="rows are left to learn from: expected at least 10"):
        Line(tmp_path, numbers(n), NUMBERS).prepare()


def test_one_class_alone_is_refused(tmp_path: Path) -> None:
    table = mixed(60)
    table = table.filter(pa.compute.equal(table.column("churn"), "yes"))
    with pytest.raises(DataError, match="every row has the same class of 'churn'"):
        Line(tmp_path, table, MIXED).prepare()


def test_a_target_that_does_not_vary_is_refused(tmp_path: Path) -> None:
    table = numbers(40)
    table = table.set_column(3, "y", pa.array(np.full(40, 7.0)))
    with pytest.raises(DataError, match="every row has the same 'y'"):
        Line(tmp_path, table, NUMBERS).prepare()


def test_rows_of_an_undeclared_class_are_named(tmp_path: Path) -> None:
    labels = mixed(60).column("churn").to_pylist()
    labels[3] = "maybe"
    table = mixed(60)
    table = table.set_column(table.column_names.index("churn"), "churn", pa.array(labels))
    with pytest.raises(DataError, match=r"1 rows have no usable target.*'maybe' \(row 3\)"):
        Line(tmp_path, table, MIXED).prepare()
