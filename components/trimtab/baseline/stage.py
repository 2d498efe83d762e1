"""The score of doing nothing clever: always the classes' shares, or always the middle value.

What a candidate is worth is what it adds to this (Google's Rules of Machine Learning; scikit-learn's dummy models).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from trimtab.core.errors import DataError
from trimtab.core.metrics import figures
from trimtab.core.policies import Block
from trimtab.core.prepared import Prepared
from trimtab.core.records import canonical
from trimtab.core.trained import PREDICTIONS, Predictions, folder_digest

FILE = "baseline.json"
Array = np.ndarray[Any, Any]


class BaselineConfig(Block):
    """Settings of the stage."""

    task: Literal["classification", "regression"]
    metric: str


@dataclass(frozen=True)
class BaselineResult:
    """What came out.

    Attributes:
        name: what it does, in words.
        metrics: figures on the training rows, each predicted without its own fold: `value, low, high`.
        constant: what it answers for every row: each class's share, or one value.
        digest: of the folder written.
    """

    name: str
    metrics: dict[str, dict[str, float]]
    constant: list[float]
    digest: str


def baseline(config: BaselineConfig, prepared: Path, out: Path) -> BaselineResult:
    """Score the baseline on the same rows that candidates are scored on.

    Args:
        config: settings.
        prepared: what prepare wrote.
        out: folder to write: `baseline.json`, and `predictions.parquet` as train's.

    Raises:
        DataError: the folder is no prepared dataset, or no row is held out.
    """
    data = Prepared.load(prepared)
    rows = data.train_rows
    folds, truth = data.folds[rows], data.truth[rows]
    held = np.flatnonzero(folds >= 0)
    if not held.size:
        raise DataError("no row is held out to be judged on", object=str(prepared), expected="_fold: 0, 1, …", got="-1")
    k = len(data.schema.target.classes)
    one = _answer(config, truth, k)
    answers = {int(f): _answer(config, truth[folds != f], k) for f in np.unique(folds[held])}
    prediction = np.array([answers[int(f)] for f in folds[held]])
    if config.task == "regression":
        prediction = prediction[:, 0]
    found = {n: f.facts() for n, f in figures(config.task, truth[held], prediction).items()}
    words = _words(config, data.schema.target.classes, one)
    out.mkdir(parents=True, exist_ok=True)
    kept = Predictions(rows[held], folds[held].astype(np.int64), truth[held], prediction)
    kept.save(out / PREDICTIONS, data.schema.target.classes)
    constant = [float(v) for v in one]
    (out / FILE).write_bytes(canonical({"name": words, "metrics": found, "constant": constant}))
    return BaselineResult(name=words, metrics=found, constant=constant, digest=folder_digest(out))


def _answer(config: BaselineConfig, truth: Array, k: int) -> Array:
    """What the rows seen suggest for every other: class shares [k], or the median (mean for squared errors) [1]."""
    if config.task == "classification":
        return np.bincount(truth, minlength=k) / len(truth)
    return np.array([np.median(truth) if config.metric == "mae" else np.mean(truth)])


def _words(config: BaselineConfig, classes: tuple[str, ...], answer: Array) -> str:
    if config.task == "classification":
        return f"always {classes[int(answer.argmax())]}, the most frequent class"
    return f"always {answer[0]:.4g}, the {'median' if config.metric == 'mae' else 'mean'}"
