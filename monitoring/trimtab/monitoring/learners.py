"""Two models that fit in a blink, from scikit-learn: a simulation serves them, a choice of data is probed with them.

Rows come as matrices of `core.preprocessing`, so numbers, categories, missing values and images are all plain numbers
here. Neither is tuned: `logistic` is a linear model, `hist_gradient_boosting` an additive one of small trees.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Kind = Literal["logistic", "hist_gradient_boosting"]
KINDS: tuple[Kind, ...] = ("logistic", "hist_gradient_boosting")
# Boosting grows a tree a class and round: past so many classes times inputs only the linear model is a blink.
MOST_TREES = 400
NEWTON, NEWTON_CLASSES = 300, 20
# Rows on which the kinds are compared, at most, and folds.
COMPARED_ROWS, FOLDS = 3000, 3


@dataclass(frozen=True)
class Learnt:
    """A fitted model.

    Attributes:
        model: scikit-learn's; None where the training rows have one class only.
        classes: indices of the classes that it knows; empty for numbers.
        k: number of classes of the target; 0 for numbers.
    """

    model: Any
    classes: Ints
    k: int

    def predict(self, x: npt.NDArray[Any]) -> Floats:
        """Probabilities [n, k] of all the target's classes, or values [n]."""
        if not self.k:
            return np.asarray(self.model.predict(x), np.float64)
        found = np.zeros((len(x), self.k))
        if len(x):
            found[:, self.classes] = 1.0 if self.model is None else self.model.predict_proba(x)
        return found


def learn(kind: Kind, x: npt.NDArray[Any], y: npt.NDArray[Any], k: int) -> Learnt:
    """Fit.

    Args:
        kind: which of the two.
        x: float [n, d], no missing values.
        y: class indices [n], or values.
        k: number of classes; 0 for numbers.
    """
    known = np.unique(y).astype(np.int64) if k else np.zeros(0, np.int64)
    if k and len(known) == 1:
        return Learnt(None, known, k)
    model = _make(kind, x.shape, len(known))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a logistic regression that has not quite converged serves as well
        model.fit(x, y)
    return Learnt(model, known, k)


def _make(kind: Kind, shape: tuple[int, ...], k: int) -> Any:
    from sklearn import ensemble, linear_model

    rows, regress = shape[0], not k
    if kind == "logistic":
        # Newton's steps are few, and dear only where there are many weights, or pairs of classes.
        few = shape[1] * k <= NEWTON and k <= NEWTON_CLASSES
        solver = "newton-cholesky" if few else "lbfgs"
        return linear_model.Ridge() if regress else linear_model.LogisticRegression(max_iter=100, solver=solver)
    leaves = 8 if rows < 4000 else 15
    # `early_stopping` takes "auto" or a boolean; the library's own types name the text alone.
    make: Any = ensemble.HistGradientBoostingRegressor if regress else ensemble.HistGradientBoostingClassifier
    return make(max_iter=60 if rows < 4000 else 100, max_leaf_nodes=leaves, l2_regularization=1.0, early_stopping=False)


def loss(predicted: Floats, y: npt.NDArray[Any]) -> Floats:
    """Loss of each row: 1 for a wrong class, or the absolute error."""
    if predicted.ndim == 2:
        return np.asarray(predicted.argmax(axis=1) != y, np.float64)
    return np.asarray(np.abs(predicted - y), np.float64)


def kinds(d: int, k: int) -> Sequence[Kind]:
    """The kinds that are quick for so many inputs and classes."""
    return KINDS if max(k, 1) * d <= MOST_TREES else KINDS[:1]


def pick(x: npt.NDArray[Any], y: npt.NDArray[Any], k: int, seed: int = 0) -> Kind:
    """The kind that errs less on rows it has not seen, by cross-validation; the linear one where they tie."""
    possible = kinds(x.shape[1], k)
    if len(possible) == 1 or len(x) < 2 * FOLDS:
        return possible[0]
    rows = np.random.default_rng(seed).permutation(len(x))[:COMPARED_ROWS]
    found = {}
    for kind in possible:
        parts = []
        for fold in range(FOLDS):
            out = rows[fold::FOLDS]
            held = np.setdiff1d(rows, out)
            parts.append(loss(learn(kind, x[held], y[held], k).predict(x[out]), y[out]))
        found[kind] = float(np.concatenate(parts).mean())
    return min(possible, key=lambda kind: found[kind])
