"""Are the model's probabilities what they say: mapped to rates on the reference, and watched as labels land.

On the reference a curve from the answered class's probability to the share right is chosen by cross-validation: none
at all, a logistic one (Platt 1999) or a monotone one (Zadrozny and Elkan 2002); the simplest that is about as good.
As labels land, cells of that probability hold how often the answers were wrong and how often they should have been.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]

# Cuts of the estimated loss (1 less the probability to be right) between cells: finer where models mostly are.
CUTS = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5])
# A curve needs so many reference rows with a truth, and so many of either outcome.
ROWS, EACH = 200, 20
# Rows from which a monotone curve is tried, and groups of equal probability it is fitted to.
MONOTONE_ROWS, GROUPS = 1000, 50
FOLDS = 5
KNOTS = 201
_EDGE, _FAR = 1e-6, 14.0
_Curve = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Curve:
    """A piecewise linear map of probabilities.

    Attributes:
        x, y: its knots; none for the identity.
        name: identity, logistic or monotone.
    """

    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()
    name: str = "identity"

    def __call__(self, sure: Floats) -> Floats:
        """The probability to be right at these probabilities; NaN stays NaN."""
        return np.interp(sure, self.x, self.y) if self.x else sure


def fit(sure: Floats, right: Floats) -> Curve:
    """The curve from the answered class's probability to the share right.

    A more involved curve is taken when its cross-validated log loss is better by more than its standard error.

    Args:
        sure: probability of the answered class [n].
        right: 1 where the answer was right, 0 where not, NaN where the truth is missing [n].
    """
    seen = np.isfinite(sure) & np.isfinite(right)
    p, y = sure[seen], right[seen]
    if len(p) < ROWS or min(y.sum(), len(y) - y.sum()) < EACH:
        return Curve()
    kinds: list[tuple[str, Callable[[Floats, Floats], _Curve]]] = [("logistic", _logistic)]
    if len(p) >= MONOTONE_ROWS:
        kinds.append(("monotone", _monotone))
    fold = np.arange(len(p)) % FOLDS
    chosen: tuple[str, Callable[[Floats, Floats], _Curve]] | None = None
    best = _log_loss(p, y)
    for name, make in kinds:
        held = np.empty(len(p))
        for i in range(FOLDS):
            held[fold == i] = make(p[fold != i], y[fold != i])(p[fold == i])
        found = _log_loss(held, y)
        gain = best - found
        if gain.mean() > gain.std() / math.sqrt(len(gain)):
            chosen, best = (name, make), found
    if chosen is None:
        return Curve()
    # Close together near 0 and 1, where models mostly are and a curve bends most.
    knots = np.concatenate([[0.0], special.expit(np.linspace(-_FAR, _FAR, KNOTS)), [1.0]])
    return Curve(tuple(knots), tuple(np.clip(chosen[1](p, y)(knots), _EDGE, 1 - _EDGE)), chosen[0])


def _log_loss(p: Floats, y: Floats) -> Floats:
    p = np.clip(p, _EDGE, 1 - _EDGE)
    return np.asarray(-(y * np.log(p) + (1 - y) * np.log1p(-p)))


def _logistic(p: Floats, y: Floats) -> _Curve:
    """Platt scaling with his smoothed targets, by Newton's method; slope kept positive."""
    x = special.logit(np.clip(p, _EDGE, 1 - _EDGE))
    ones = y.sum()
    target = np.where(y > 0, (ones + 1) / (ones + 2), 1 / (len(y) - ones + 2))
    a, b = 1.0, 0.0
    for _ in range(30):
        q = special.expit(a * x + b)
        w = np.maximum(q * (1 - q), 1e-9)
        g = np.array([((q - target) * x).sum(), (q - target).sum()])
        h = np.array([[(w * x * x).sum() + 1e-9, (w * x).sum()], [(w * x).sum(), w.sum()]])
        step = np.linalg.solve(h + 1e-9 * np.eye(2), g)
        a, b = a - float(np.clip(step[0], -2, 2)), b - float(np.clip(step[1], -2, 2))
        if np.abs(step).max() < 1e-8:
            break
    a = max(a, 0.0)
    return lambda v: np.asarray(special.expit(a * special.logit(np.clip(v, _EDGE, 1 - _EDGE)) + b))


def _monotone(p: Floats, y: Floats) -> _Curve:
    """Isotonic regression by pooling adjacent violators, over groups of equal size, linear between their means."""
    order = np.argsort(p, kind="stable")
    x, means, weights = [], [], []
    for rows in np.array_split(order, GROUPS):
        x.append(float(p[rows].mean()))
        means.append(float((y[rows].sum() + 0.5) / (len(rows) + 1)))
        weights.append(float(len(rows)))
    level: list[list[float]] = []  # mean, weight, groups
    for mean, weight in zip(means, weights, strict=True):
        level.append([mean, weight, 1])
        while len(level) > 1 and level[-2][0] > level[-1][0]:
            m, w, g = level.pop()
            last = level[-1]
            last[0] = (last[0] * last[1] + m * w) / (last[1] + w)
            last[1], last[2] = last[1] + w, last[2] + g
    y_fit = np.concatenate([np.full(int(g), m) for m, _, g in level])
    return lambda v: np.asarray(np.interp(v, x, y_fit))


@dataclass(frozen=True)
class Cells:
    """Sums over labelled rows by cell of the estimated loss.

    Attributes:
        n: rows [cells].
        guessed: sums of the estimated loss [cells].
        wrong: wrong answers [cells].
        variance: sums of guess times one less guess [cells].
    """

    n: Floats = field(default_factory=lambda: np.zeros(len(CUTS) + 1))
    guessed: Floats = field(default_factory=lambda: np.zeros(len(CUTS) + 1))
    wrong: Floats = field(default_factory=lambda: np.zeros(len(CUTS) + 1))
    variance: Floats = field(default_factory=lambda: np.zeros(len(CUTS) + 1))

    @classmethod
    def of(cls, guess: Floats, loss: Floats) -> Cells:
        """From rows' estimated and realised losses [n]; rows that lack one are left out."""
        seen = np.isfinite(guess) & np.isfinite(loss)
        g, y = guess[seen], loss[seen]
        at, size = np.searchsorted(CUTS, g, side="right"), len(CUTS) + 1
        return cls(
            np.bincount(at, minlength=size).astype(np.float64),
            *(np.asarray(np.bincount(at, v, size), np.float64) for v in (g, y, g * (1 - g))),
        )

    def __add__(self, other: Cells) -> Cells:
        return Cells(
            self.n + other.n, self.guessed + other.guessed, self.wrong + other.wrong, self.variance + other.variance
        )

    def facts(self) -> list[list[float]]:
        """As record fields."""
        return [np.round(v, 9).tolist() for v in (self.n, self.guessed, self.wrong, self.variance)]

    @classmethod
    def from_facts(cls, values: list[list[float]] | None) -> Cells:
        """From record fields; empty where there are none or they have other cells."""
        if not values or any(len(v) != len(CUTS) + 1 for v in values):
            return cls()
        return cls(*(np.array(v, np.float64) for v in values))


@dataclass(frozen=True)
class Calibration:
    """Whether probabilities still say what they said on the reference.

    Attributes:
        error: mean distance of probability and share right beyond the reference's and what chance makes, 0 to 1;
            NaN where nothing is known.
        p: chance of cells this far off if rows were like the reference's.
        rows: labelled rows looked at.
        excess: mean realised less estimated loss beyond the reference's: above 0 the model is too sure of itself.
    """

    error: float = math.nan
    p: float = 1.0
    rows: int = 0
    excess: float = 0.0


def check(reference: Cells, parts: Iterable[Cells]) -> Calibration:
    """Compare newest windows' cells with the reference's.

    Each cell's gap of realised and estimated loss is measured in standard errors, the reference's included; their
    squares add up to a chi-square (Hosmer and Lemeshow 1980, with a reference of its own in place of zero). Cells
    that expect less than two wrong answers, or two right ones, are joined with their neighbour.
    """
    now = sum(parts, Cells())
    rows = int(now.n.sum())
    if not rows or not reference.n.sum():
        return Calibration(rows=rows)
    joined = [(a, b) for a, b in _joined(now, reference) if a[0] > 0 and b[0] > 0]
    if not joined:
        return Calibration(rows=rows)
    total = sum(a[0] for a, _ in joined)
    square, error, chance, excess = 0.0, 0.0, 0.0, 0.0
    for a, b in joined:
        gap = (a[2] - a[1]) / a[0] - (b[2] - b[1]) / b[0]
        variance = max(a[3], 1e-9) / a[0] ** 2 + max(b[3], 1e-9) / b[0] ** 2
        square += gap**2 / variance
        error += a[0] / total * abs(gap)
        chance += a[0] / total * math.sqrt(2 / math.pi * variance)
        excess += a[0] / total * gap
    return Calibration(max(0.0, error - chance), float(special.chdtrc(len(joined), square)), rows, excess)


def _joined(now: Cells, reference: Cells) -> list[tuple[Floats, Floats]]:
    """Neighbouring cells, joined until each is large enough for a normal limit in both."""
    a = np.stack([now.n, now.guessed, now.wrong, now.variance], axis=1)
    b = np.stack([reference.n, reference.guessed, reference.wrong, reference.variance], axis=1)
    found: list[tuple[Floats, Floats]] = []
    left, right = np.zeros(4), np.zeros(4)
    for x, y in zip(a, b, strict=True):
        left, right = left + x, right + y
        if min(left[1], left[0] - left[1], right[1], right[0] - right[1]) >= 2:
            found.append((left, right))
            left, right = np.zeros(4), np.zeros(4)
    if left[0] or right[0]:
        if found:
            found[-1] = (found[-1][0] + left, found[-1][1] + right)
        else:
            found.append((left, right))
    return found
