"""Losses of rows, kept as sums that add up exactly, and the test whether a window's are worse than the reference's.

A row's loss is 1 for a wrong class and 0 for the right one; for a number it is the absolute error in units of the
target's usual spread, capped, so that one wild row cannot decide. Everything that decides about performance sees
losses only, so classification and regression share one code.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]

# Past so many rows the exact sum is replaced by its normal limit, which is then indistinguishable.
_EXACT_ROWS = 20_000


@dataclass(frozen=True)
class Losses:
    """Sums of losses over rows.

    Attributes:
        n: rows.
        total, squares, cubes: sums of the losses, their squares and their cubes.
    """

    n: int = 0
    total: float = 0.0
    squares: float = 0.0
    cubes: float = 0.0

    def __add__(self, other: Losses) -> Losses:
        return Losses(
            self.n + other.n,
            self.total + other.total,
            self.squares + other.squares,
            self.cubes + other.cubes,
        )

    def __sub__(self, other: Losses) -> Losses:
        return Losses(
            self.n - other.n,
            self.total - other.total,
            self.squares - other.squares,
            self.cubes - other.cubes,
        )

    @property
    def mean(self) -> float:
        """Mean loss; NaN without rows."""
        return self.total / self.n if self.n else math.nan

    @property
    def variance(self) -> float:
        """Variance of a row's loss; 0 with fewer than two rows."""
        return max(0.0, self.squares / self.n - self.mean**2) if self.n > 1 else 0.0

    @property
    def binary(self) -> bool:
        """Whether all losses were 0 or 1."""
        return self.total == self.squares == self.cubes and float(self.total).is_integer()


def of(values: npt.ArrayLike) -> Losses:
    """The sums over an array of losses; values that are not finite are left out.

    >>> of([0, 1, 1]).mean
    0.6666666666666666
    """
    v = np.asarray(values, np.float64)
    v = v[np.isfinite(v)]
    return Losses(len(v), float(v.sum()), float((v**2).sum()), float((v**3).sum()))


def add(parts: Iterable[Losses]) -> Losses:
    """The sums over all parts."""
    return sum(parts, Losses())


def worse(reference: Losses, window: Losses, *, binary: bool | None = None) -> float:
    """Chance of a window at least this bad if its rows were like the reference's.

    One-sided; the reference's own uncertainty counts. Wrong/right: the beta-binomial predictive distribution with
    Jeffreys' prior (Box 1980, "Sampling and Bayes' inference"). Else the permutation distribution of the difference
    of means, by a Pearson III curve with its variance and skewness (Pitman 1937; skewness after Boos & Hughes-Oliver).

    Args:
        reference: losses with known good performance.
        window: losses in question.
        binary: whether losses are 0 or 1; by default seen from the sums.

    Returns:
        A p-value; 1 where either has no rows or the window is not worse.
    """
    if not reference.n or not window.n or window.mean <= reference.mean:
        return 1.0
    if binary is None:
        binary = reference.binary and window.binary
    if binary and window.n <= _EXACT_ROWS:
        return _beta_binomial_tail(
            round(window.total), window.n, reference.total + 0.5, reference.n - reference.total + 0.5
        )
    return mean_shift(reference, window)


def mean_shift(reference: Losses, window: Losses) -> float:
    """One-sided p-value that the window's mean is not larger, under exchangeable rows; see `worse`."""
    if reference.n < 1 or window.n < 1:
        return 1.0
    both = reference + window
    variance = both.variance * both.n / max(1, both.n - 1)
    if variance <= 0.0:
        return 1.0
    m, n = reference.n, window.n
    z = (window.mean - reference.mean) / math.sqrt(variance * (1 / m + 1 / n))
    third = both.cubes / both.n - 3 * both.mean * both.squares / both.n + 2 * both.mean**3
    skew = third / variance**1.5 * (m - n) / math.sqrt(m * n * both.n)
    return pearson_tail(z, skew)


def pearson_tail(z: float, skew: float) -> float:
    """P(Z >= z) of a standardised Pearson III variable: a gamma with that skewness; the normal at skewness 0."""
    if abs(skew) < 1e-3:
        return float(special.ndtr(-z))
    k = 4.0 / skew**2
    x = k + abs(skew) / skew * z * math.sqrt(k)
    if skew > 0:
        return float(special.gammaincc(k, max(0.0, x)))
    return float(special.gammainc(k, max(0.0, x)))


def interval(losses: Losses, level: float = 0.95, *, binary: bool | None = None) -> tuple[float, float]:
    """Confidence interval of the mean loss: Jeffreys' for wrong/right, else Student's.

    >>> [round(x, 3) for x in interval(Losses(100, 10, 10, 10))]
    [0.053, 0.17]
    """
    if not losses.n:
        return (math.nan, math.nan)
    tail = (1 - level) / 2
    if losses.binary if binary is None else binary:
        a, b = losses.total + 0.5, losses.n - losses.total + 0.5
        low = 0.0 if losses.total <= 0 else float(special.betaincinv(a, b, tail))
        high = 1.0 if losses.total >= losses.n else float(special.betaincinv(a, b, 1 - tail))
        return (low, high)
    if losses.n < 2:
        return (math.nan, math.nan)
    half = float(special.stdtrit(losses.n - 1, 1 - tail)) * math.sqrt(losses.variance / (losses.n - 1))
    return (max(0.0, losses.mean - half), losses.mean + half)


def _beta_binomial_tail(k: int, n: int, a: float, b: float) -> float:
    """P(K >= k) for K beta-binomial(n, a, b)."""
    if k <= 0:
        return 1.0
    j = np.arange(k, n + 1, dtype=np.float64)
    logs = (
        special.gammaln(n + 1)
        - special.gammaln(j + 1)
        - special.gammaln(n - j + 1)
        + special.betaln(j + a, n - j + b)
        - special.betaln(a, b)
    )
    return min(1.0, float(np.exp(logs).sum()))
