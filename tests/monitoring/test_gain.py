"""Candidate stretches of a log compete: which one wins, and what it is said to gain."""

from __future__ import annotations

import numpy as np
import pytest

from trimtab.monitoring import learners
from trimtab.monitoring.gain import Gain, Probe, rows_of

BASE, WINDOW = 600, 200


def competition(change: int | None, known: int | None = None, rows: int = 1800, seed: int = 0) -> Gain | None:
    """The champion knows the first 600 rows; from `change` on the classes have changed places."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    flipped = np.arange(rows) >= (rows if change is None else change)
    y = ((x[:, 0] > 0) ^ flipped ^ (rng.random(rows) < 0.05)).astype(np.int64)
    probe = Probe(
        lambda at: learners.learn("logistic", x[at], y[at], 2),
        lambda model, at: learners.loss(model.predict(x[at]), y[at]),
        WINDOW,
    )
    return probe.gain(np.arange(BASE), rows, BASE, BASE, known)


def test_without_a_change_all_rows_win_and_gain_next_to_nothing() -> None:
    found = competition(None)
    assert found is not None
    assert found.stretch.base
    assert abs(found.mean) < 0.02


@pytest.mark.parametrize("seed", range(3))
def test_after_a_change_its_own_rows_win(seed: int) -> None:
    found = competition(1300, known=1300, seed=seed)
    assert found is not None
    assert not found.stretch.base
    assert found.z > 3
    trained = rows_of(found.stretch, np.arange(BASE), 1800)
    assert (trained >= 1300).mean() > 0.8


def test_a_change_point_that_is_off_does_not_decide() -> None:
    found = competition(1500, known=700)
    assert found is not None
    assert found.stretch.length == 1
    assert found.mean > 0.1


def test_too_few_fresh_rows_say_nothing() -> None:
    assert competition(None, rows=BASE + 30) is None


def test_the_better_quick_model_is_picked() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(1500, 2))
    assert learners.pick(x, (x[:, 0] + 0.7 * x[:, 1] > 0.3).astype(np.int64), 2) == "logistic"
    assert learners.pick(x, (x[:, 0] * x[:, 1] > 0).astype(np.int64), 2) == "hist_gradient_boosting"
    assert learners.kinds(64, 10) == ("logistic",)


def test_one_class_and_unseen_classes_have_probabilities() -> None:
    x = np.zeros((5, 1))
    only = learners.learn("logistic", x, np.full(5, 2), 4)
    assert only.predict(x).tolist() == [[0.0, 0.0, 1.0, 0.0]] * 5
