"""Two-sample test of vectors (a model's embeddings): maximum mean discrepancy over random Fourier features.

Gretton et al. 2012, "A kernel two-sample test"; Rahimi and Recht 2007, "Random features for large-scale kernel
machines". A Gaussian kernel as wide as the reference's median distance is written as fixed random cosines
and sines, so a window's share of the statistic is a sum over its rows: shards add up exactly, since the features are
summed as integers, and memory does not grow. The null distribution is the weighted sum of chi-squares whose weights
are the eigenvalues of the features' covariance in the reference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.monitoring.counts import Counted
from trimtab.monitoring.losses import Floats
from trimtab.monitoring.twosample import quadratic_tail

# Frequencies; each gives a cosine and a sine.
FREQUENCIES = 96
# Rows between which the median distance is taken.
WIDTH_ROWS = 400
# Features are summed as integers of this unit.
UNIT = 1 << 20
_SEED = 20_071_203


@dataclass(frozen=True)
class Sums(Counted):
    """Sums of features: `cells` holds the rows, then the sums in units of 1 / `UNIT`."""

    def __add__(self, other: Counted) -> Sums:
        return Sums(self.cells + other.cells, self.nulls + other.nulls)

    @property
    def rows(self) -> int:
        """Rows counted, with and without a vector."""
        return int(self.cells[0]) + self.nulls


@dataclass(frozen=True)
class Discrepancy:
    """How far two samples of vectors are apart.

    Attributes:
        effect: maximum mean discrepancy less what chance makes, as a share of the largest possible, 0 to 1.
        p: p-value.
    """

    effect: float
    p: float


@dataclass(frozen=True)
class KernelCells:
    """The features that a reference fixes.

    Attributes:
        frequencies: of the cosines [dimensions, frequencies].
    """

    frequencies: Floats

    @classmethod
    def of(cls, vectors: npt.ArrayLike) -> KernelCells:
        """From a reference's vectors [n, dimensions]; rows that are not finite are left out."""
        v = _finite(vectors)
        few = v[np.linspace(0, len(v) - 1, min(WIDTH_ROWS, len(v))).astype(int)] if len(v) else v
        squares = (few**2).sum(axis=1)
        apart = squares[:, None] + squares[None, :] - 2 * few @ few.T
        apart = apart[np.triu_indices(len(few), 1)]
        median = float(np.median(apart)) if len(apart) else 1.0
        width = math.sqrt(median) if median > 1e-12 else 1.0
        drawn = np.random.default_rng(_SEED).normal(size=(v.shape[1], FREQUENCIES))
        return cls(drawn / width)

    def identity(self) -> bytes:
        """What tells these features from others."""
        return self.frequencies.tobytes()

    def features(self, vectors: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Features [n, 2 * frequencies] in units of 1 / `UNIT`; a row of them has length 1."""
        angles = _finite(vectors) @ self.frequencies
        scale = UNIT / math.sqrt(FREQUENCIES)
        return np.rint(scale * np.concatenate([np.cos(angles), np.sin(angles)], axis=1)).astype(np.int64)

    def count(self, vectors: npt.ArrayLike) -> Sums:
        """Sum vectors [n, dimensions]; one that is not finite counts as null."""
        found = self.features(vectors)
        return Sums(np.concatenate([[len(found)], found.sum(axis=0)]), len(np.asarray(vectors)) - len(found))

    def compare(self, reference: Counted, window: Counted, sample: Floats) -> Discrepancy:
        """Test a window against the reference.

        Args:
            reference: its sums.
            window: the window's.
            sample: features of reference rows [r, 2 * frequencies], for their covariance.
        """
        m, n = int(reference.cells[0]), int(window.cells[0])
        if m < 2 or n < 1 or len(sample) < 2:
            return Discrepancy(0.0, 1.0)
        gap = (window.cells[1:] / n - reference.cells[1:] / m) / UNIT
        covariance = np.cov(sample / UNIT, rowvar=False)
        share = 1 / m + 1 / n
        squared = float(gap @ gap)
        effect = math.sqrt(max(0.0, squared - float(np.trace(covariance)) * share) / 2)
        return Discrepancy(min(1.0, effect), quadratic_tail(squared / share, covariance))


def _finite(vectors: Any) -> Floats:
    v = np.asarray(vectors, np.float64)
    return np.asarray(v[np.isfinite(v).all(axis=1)])
