"""Metrics against scikit-learn's, and their intervals against what they promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trimtab.core import metrics
from trimtab.core.blocks import METRICS


@pytest.fixture
def three() -> Any:
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1, 1], 300)
    return np.where(rng.random(300) < 0.5, p.argmax(1), rng.integers(0, 3, 300)), p


def test_every_metric_a_project_may_name_is_computed() -> None:
    assert set(metrics.FUNCTIONS) == set(METRICS)


def test_classification_agrees_with_scikit_learn(three: Any) -> None:
    from sklearn import metrics as theirs

    truth, p = three
    guess = p.argmax(1)
    assert metrics.accuracy(truth, p) == pytest.approx(theirs.accuracy_score(truth, guess))
    assert metrics.balanced_accuracy(truth, p) == pytest.approx(theirs.balanced_accuracy_score(truth, guess))
    assert metrics.macro_f1(truth, p) == pytest.approx(theirs.f1_score(truth, guess, average="macro"))
    assert metrics.log_loss(truth, p) == pytest.approx(theirs.log_loss(truth, p), rel=1e-6)
    assert metrics.auroc(truth, p) == pytest.approx(theirs.roc_auc_score(truth, p, multi_class="ovr"))
    assert metrics.confusion(truth, p) == theirs.confusion_matrix(truth, guess).tolist()


def test_the_binary_auroc_counts_ties_as_half() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(1)
    truth, score = rng.integers(0, 2, 200), rng.integers(0, 5, 200) / 4
    assert metrics.auroc(truth, np.column_stack([1 - score, score])) == pytest.approx(roc_auc_score(truth, score))


def test_one_class_alone_gives_an_auroc_of_a_half() -> None:
    assert metrics.auroc(np.zeros(5, int), np.full((5, 2), 0.5)) == 0.5


def test_regression_agrees_with_scikit_learn() -> None:
    from sklearn import metrics as theirs

    rng = np.random.default_rng(0)
    truth, value = rng.normal(size=100), rng.normal(size=100)
    assert metrics.mae(truth, value) == pytest.approx(theirs.mean_absolute_error(truth, value))
    assert metrics.rmse(truth, value) == pytest.approx(theirs.root_mean_squared_error(truth, value))
    assert metrics.r2(truth, value) == pytest.approx(theirs.r2_score(truth, value))


def test_an_interval_holds_the_truth_about_19_times_in_20() -> None:
    rng = np.random.default_rng(3)
    p = np.tile([0.3, 0.7], (120, 1))
    found = [metrics.figure("accuracy", (rng.random(120) < 0.7).astype(int), p) for _ in range(300)]
    assert 0.91 <= np.mean([f.low <= 0.7 <= f.high for f in found]) <= 0.98
    errors = [metrics.figure("mae", rng.exponential(2.0, 120), np.zeros(120)) for _ in range(150)]
    assert 0.88 <= np.mean([f.low <= 2.0 <= f.high for f in errors]) <= 0.99


def test_the_interval_of_many_rows_is_as_narrow_as_they_deserve() -> None:
    rng = np.random.default_rng(4)
    truth = rng.exponential(1.0, 50_000)
    found = metrics.figure("mae", truth, np.zeros(50_000))
    wanted = 2 * 1.96 * truth.std() / np.sqrt(50_000)
    assert found.high - found.low == pytest.approx(wanted, rel=0.25)


def test_figures_stay_within_what_is_possible(three: Any) -> None:
    truth, _ = three
    perfect = np.eye(3)[truth]
    for figure in metrics.figures("classification", truth, perfect).values():
        assert figure.low <= figure.value <= figure.high
    assert metrics.figure("macro_f1", truth, perfect).high == 1


def test_improvement_is_paired_and_positive_for_the_better() -> None:
    rng = np.random.default_rng(5)
    truth = rng.normal(size=200)
    noise = rng.normal(size=200)
    gain = metrics.improvement("mae", truth, truth + 0.5 * noise, truth + 0.6 * noise)
    assert 0 < gain.low < gain.value < gain.high
    assert metrics.improvement("r2", truth, truth + 0.6 * noise, truth + 0.5 * noise).value < 0


def test_the_roc_curve_rises_from_nothing_to_everything(three: Any) -> None:
    truth, p = three
    curve = metrics.roc(truth, p)
    assert curve["fpr"][-1] == curve["tpr"][-1] == 1
    assert all(b >= a for a, b in zip(curve["tpr"], curve["tpr"][1:], strict=False))
    assert curve["threshold"][0] == 1


def test_the_calibration_error_sees_overconfidence() -> None:
    rng = np.random.default_rng(6)
    truth = (rng.random(4000) < 0.7).astype(int)
    assert metrics.calibration_error(truth, np.tile([0.3, 0.7], (4000, 1))) < 0.03
    assert metrics.calibration_error(truth, np.tile([0.05, 0.95], (4000, 1))) == pytest.approx(0.25, abs=0.03)
