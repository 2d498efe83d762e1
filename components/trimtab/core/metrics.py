"""How good predictions are, each figure with its interval.

Predictions are probabilities, float [n, k], for a classification, and values, float [n], for a regression; the
truth is the class index, int [n], or the value. numpy alone, so that every stage can afford it. The names and
which direction is better stand in `trimtab.core.blocks.METRICS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
RESAMPLES = 200
MOST_ROWS = 5000  # a bootstrap looks at no more rows than this; its width is scaled to all of them
Z95 = 1.959964
# Least and largest value where it is not 0 and infinity.
BOUNDS = dict.fromkeys(("accuracy", "balanced_accuracy", "macro_f1", "auroc"), (0.0, 1.0)) | {"r2": (-np.inf, 1.0)}


class Figure(NamedTuple):
    """A metric's value with its 95 % interval."""

    value: float
    low: float
    high: float

    def facts(self) -> dict[str, float]:
        """As JSON, rounded to what the interval can carry."""
        return {"value": round(self.value, 6), "low": round(self.low, 6), "high": round(self.high, 6)}


def wilson(right: float, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927).

    >>> [round(v, 3) for v in wilson(9, 10)]
    [0.596, 0.982]
    """
    if n == 0:
        return 0.0, 1.0
    p, zz = right / n, z * z
    centre = (p + zz / (2 * n)) / (1 + zz / n)
    half = z * np.sqrt(p * (1 - p) / n + zz / (4 * n * n)) / (1 + zz / n)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def accuracy(truth: Array, p: Array) -> float:
    """Share of rows whose most probable class is the true one."""
    return float(np.mean(p.argmax(axis=1) == truth))


def balanced_accuracy(truth: Array, p: Array) -> float:
    """Mean share found of each class that occurs."""
    right = p.argmax(axis=1) == truth
    return float(np.mean([right[truth == c].mean() for c in np.unique(truth)]))


def macro_f1(truth: Array, p: Array) -> float:
    """Mean F1 of the classes that occur or are predicted."""
    guess = p.argmax(axis=1)
    found = []
    for c in np.union1d(truth, guess):
        hit = float(np.sum((guess == c) & (truth == c)))
        found.append(2 * hit / max(1.0, float(np.sum(guess == c) + np.sum(truth == c))))
    return float(np.mean(found))


def _ranks(values: Array) -> Array:
    """Ranks from 1, ties share their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: Array = (last - (counts - 1) / 2)[inverse]
    return mean


def auroc(truth: Array, p: Array) -> float:
    """Area under the ROC curve; with more than two classes the mean over one class against the rest.

    0.5 where no class has rows on both sides.
    """
    areas = []
    for c in [1] if p.shape[1] == 2 else range(p.shape[1]):
        positive = truth == c
        m, n = int(positive.sum()), int((~positive).sum())
        if m and n:
            areas.append((_ranks(p[:, c])[positive].sum() - m * (m + 1) / 2) / (m * n))
    return float(np.mean(areas)) if areas else 0.5


def log_loss(truth: Array, p: Array) -> float:
    """Mean negative log of the true class's probability, nats; no row counts for more than 1e-7."""
    return float(-np.mean(np.log(np.clip(p[np.arange(len(truth)), truth], 1e-7, 1.0))))


def mae(truth: Array, value: Array) -> float:
    """Mean absolute error."""
    return float(np.mean(np.abs(value - truth)))


def rmse(truth: Array, value: Array) -> float:
    """Root of the mean squared error."""
    return float(np.sqrt(np.mean((value - truth) ** 2)))


def r2(truth: Array, value: Array) -> float:
    """Share of the variance that is explained; 0 where the truth does not vary."""
    spread = float(np.sum((truth - truth.mean()) ** 2))
    return 1 - float(np.sum((value - truth) ** 2)) / spread if spread > 0 else 0.0


FUNCTIONS: dict[str, Callable[[Array, Array], float]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "auroc": auroc,
    "log_loss": log_loss,
    "mae": mae,
    "rmse": rmse,
    "r2": r2,
}


def _resample(n: int, seed: int) -> tuple[list[Array], float]:
    """Row numbers of each bootstrap resample, and how much wider their spread is than with all rows."""
    rng = np.random.default_rng(seed)
    rows = min(n, MOST_ROWS)
    return [rng.integers(0, n, rows) for _ in range(RESAMPLES)], float(np.sqrt(n / rows))


def _around(value: float, spread: Array, wider: float) -> tuple[float, float]:
    """The middle 95 % of a bootstrap's values, narrowed to all rows and laid around the value itself."""
    low, high = np.quantile(spread, [0.025, 0.975])
    middle = float(np.median(spread))
    return value + (float(low) - middle) / wider, value + (float(high) - middle) / wider


def figure(name: str, truth: Array, prediction: Array, seed: int = 0) -> Figure:
    """A metric with its 95 % interval: Wilson's for accuracy, else the bootstrap's (Efron 1979).

    Args:
        name: a key of `FUNCTIONS`.
        truth: class indices [n] or values [n], at least one.
        prediction: probabilities [n, k] or values [n].
        seed: of the bootstrap.
    """
    metric = FUNCTIONS[name]
    value = metric(truth, prediction)
    if name == "accuracy":
        return Figure(value, *wilson(value * len(truth), len(truth)))
    draws, wider = _resample(len(truth), seed)
    low, high = _around(value, np.array([metric(truth[i], prediction[i]) for i in draws]), wider)
    least, most = BOUNDS.get(name, (0.0, np.inf))
    return Figure(value, max(least, low), min(most, high))


def figures(task: str, truth: Array, prediction: Array, seed: int = 0) -> dict[str, Figure]:
    """Every metric of a task."""
    from trimtab.core.blocks import metrics_for

    return {name: figure(name, truth, prediction, seed) for name in metrics_for(task)}


def improvement(name: str, truth: Array, ours: Array, theirs: Array, seed: int = 0) -> Figure:
    """How much better one set of predictions is than another on the same rows (positive is better), paired."""
    from trimtab.core.blocks import METRICS

    metric, sign = FUNCTIONS[name], 1.0 if METRICS[name][1] else -1.0

    def gain(rows: Array | slice) -> float:
        return sign * (metric(truth[rows], ours[rows]) - metric(truth[rows], theirs[rows]))

    draws, wider = _resample(len(truth), seed)
    value = gain(slice(None))
    return Figure(value, *_around(value, np.array([gain(i) for i in draws]), wider))


def confusion(truth: Array, p: Array) -> list[list[int]]:
    """Counts [k][k]: row = true class, column = predicted class."""
    k = p.shape[1]
    counts: list[list[int]] = np.bincount(truth * k + p.argmax(axis=1), minlength=k * k).reshape(k, k).tolist()
    return counts


def roc(truth: Array, p: Array, points: int = 101) -> dict[str, list[float]]:
    """The ROC curve at evenly spread thresholds: class 1 of two, else all class-against-rest decisions pooled.

    Returns:
        `fpr`, `tpr`, `threshold`, each of `points`, thresholds falling from 1 to 0.
    """
    hits = np.eye(p.shape[1], dtype=bool)[truth]
    score, positive = (p[:, 1], hits[:, 1]) if p.shape[1] == 2 else (p.ravel(), hits.ravel())
    thresholds = np.linspace(1.0, 0.0, points)
    up, down = np.sort(score[positive]), np.sort(score[~positive])
    tpr = 1 - np.searchsorted(up, thresholds, side="left") / max(1, len(up))
    fpr = 1 - np.searchsorted(down, thresholds, side="left") / max(1, len(down))
    return {
        "fpr": [round(float(v), 6) for v in fpr],
        "tpr": [round(float(v), 6) for v in tpr],
        "threshold": [round(float(v), 6) for v in thresholds],
    }


def calibration_error(truth: Array, p: Array, bins: int = 10) -> float:
    """Expected calibration error: mean gap of confidence and accuracy over equally filled bins (Nixon 2019)."""
    confidence, right = p.max(axis=1), p.argmax(axis=1) == truth
    order = np.argsort(confidence, kind="stable")
    gaps = [
        len(part) * abs(float(confidence[part].mean()) - float(right[part].mean()))
        for part in np.array_split(order, min(bins, len(order)))
        if len(part)
    ]
    return float(sum(gaps) / max(1, len(order)))
