"""Two-sample tests on counts, right at any size of window and reference.

All take counts over the same cells, so that what shards counted adds up exactly, and treat both samples as samples:
a reference is no law of nature (the usual chi-square, which takes its shares as exact, fires on 36 % of unchanged
columns when both have equal sizes).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from trimtab.monitoring.losses import Floats

Counts = npt.NDArray[Any]

# Cells with a smaller expected count in either sample are counted as one, the usual bound of the chi-square's limit.
EXPECTED = 5.0


class Ordered(NamedTuple):
    """Tests of a shift between two samples over ordered cells.

    Attributes:
        location: z of the rank (Mann-Whitney) test; positive where the window's values are larger.
        spread: z of Mood's test; positive where the window's values are more spread out.
        ks: largest distance of the cumulative shares, 0 to 1.
        p: p-value of the three tests together.
    """

    location: float
    spread: float
    ks: float
    p: float


def ordered(reference: Counts, window: Counts) -> Ordered:
    """Rank, Mood and Kolmogorov-Smirnov tests from counts over the same ordered cells.

    Rank and Mood statistics have their exact permutation variance with ties (Lehmann, "Nonparametrics", 1.4); ties
    make the Kolmogorov-Smirnov test conservative. The three share the level (Bonferroni, 0.4 + 0.2 + 0.4).

    Args:
        reference: counts by cell, lowest values first.
        window: counts over the same cells.
    """
    r, w = np.asarray(reference, np.float64), np.asarray(window, np.float64)
    m, n = r.sum(), w.sum()
    total = m + n
    if m < 1 or n < 1 or total < 3:
        return Ordered(0.0, 0.0, 0.0, 1.0)
    both = r + w
    ranks = (np.cumsum(both) - both / 2) / total
    location = _score_z(ranks, r, w, both, m, n)
    spread = _score_z((ranks - 0.5) ** 2, r, w, both, m, n)
    ks = float(np.abs(np.cumsum(r) / m - np.cumsum(w) / n).max())
    p_ks = float(special.kolmogorov(math.sqrt(m * n / total) * ks))
    p = min(1.0, two_sided(location) / 0.4, two_sided(spread) / 0.2, p_ks / 0.4)
    return Ordered(location, spread, ks, p)


def _score_z(scores: Floats, r: Floats, w: Floats, both: Floats, m: float, n: float) -> float:
    total = m + n
    mean = float((both * scores).sum()) / total
    variance = float((both * (scores - mean) ** 2).sum()) / (total - 1)
    if variance <= 1e-15:
        return 0.0
    gap = float((w * scores).sum()) / n - float((r * scores).sum()) / m
    return gap / math.sqrt(variance * (1 / m + 1 / n))


def two_sided(z: float) -> float:
    """Two-sided p-value of a standard normal z."""
    return float(2 * special.ndtr(-abs(z)))


class Unordered(NamedTuple):
    """Test of equal shares between two samples over categories.

    Attributes:
        cells: z of each cell but the largest after pooling rare ones, standardised; index of the cells in `groups`.
        groups: for each pooled cell the indices of the counts that it holds, the largest first.
        distance: total variation distance, 0 to 1, over the unpooled cells.
        p: p-value.
    """

    cells: Floats
    groups: list[Counts]
    distance: float
    p: float


def unordered(reference: Counts, window: Counts) -> Unordered:
    """Contingency chi-square over categories; two cells: Fisher's exact test.

    Rare categories are pooled by their count in both samples together, which leaves the permutation distribution as
    it is, whether a category was seen before or not.

    Args:
        reference: counts by category.
        window: counts over the same categories.
    """
    r, w = np.asarray(reference, np.float64), np.asarray(window, np.float64)
    m, n = r.sum(), w.sum()
    if m < 1 or n < 1:
        return Unordered(np.zeros(0), [], 0.0, 1.0)
    distance = float(np.abs(r / m - w / n).sum() / 2)
    both = r + w
    enough = both * min(m, n) / (m + n) >= EXPECTED
    groups = [np.array([i]) for i in np.flatnonzero(enough)]
    rare = np.flatnonzero(~enough & (both > 0))
    if len(rare):
        groups.append(rare)
    groups.sort(key=lambda g: -float(both[g].sum()))
    gr = np.array([r[g].sum() for g in groups])
    gw = np.array([w[g].sum() for g in groups])
    if len(groups) < 2:
        return Unordered(np.zeros(0), groups, distance, 1.0)
    share = (gr + gw) / (m + n)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (gw / n - gr / m) / np.sqrt(share * (1 - share) * (1 / m + 1 / n))
    if len(groups) == 2:
        p = fisher(int(gr[1]), int(m), int(gw[1]), int(n))
    else:
        expected_r, expected_w = share * m, share * n
        chi = float(((gr - expected_r) ** 2 / expected_r + (gw - expected_w) ** 2 / expected_w).sum())
        p = float(special.chdtrc(len(groups) - 1, chi * (m + n - 1) / (m + n)))
    return Unordered(np.nan_to_num(z[1:]), groups, distance, p)


def fisher(a: int, m: int, b: int, n: int) -> float:
    """Two-sided exact p-value that a of m and b of n have the same chance: twice the smaller tail, at most 1.

    Fisher's hypergeometric test; by the normal limit with continuity correction where every cell is large.

    >>> round(fisher(0, 100, 8, 100), 4)
    0.0068
    """
    k, total = a + b, m + n
    if k in (0, total) or not m or not n:
        return 1.0
    if min(k, total - k) * min(m, n) / total > 400:
        share = k / total
        gap = max(0.0, abs(a / m - b / n) - 0.5 * (1 / m + 1 / n))
        return two_sided(gap / math.sqrt(share * (1 - share) * (1 / m + 1 / n)))
    low, high = max(0, k - m), min(k, n)
    x = np.arange(low, high + 1, dtype=np.float64)
    logs = _choose(n, x) + _choose(m, k - x) - _choose(total, k)
    mass = np.exp(logs)
    at = b - low
    return float(min(1.0, 2 * min(mass[: at + 1].sum(), mass[at:].sum())))


def _choose(n: int, k: Floats | int) -> Floats:
    return np.asarray(special.gammaln(n + 1) - special.gammaln(np.add(k, 1)) - special.gammaln(np.subtract(n, k) + 1))


def quadratic_tail(statistic: float, covariance: Floats) -> float:
    """P(z'z >= statistic) for z normal with mean 0 and this covariance: many small shifts seen together.

    Saddlepoint approximation of the weighted sum of chi-squares (Kuonen 1999), good far out in the tail.

    >>> round(quadratic_tail(11.07, np.eye(5)), 3)
    0.05
    """
    weights = np.linalg.eigvalsh(np.asarray(covariance, np.float64))
    weights = weights[weights > 1e-9 * max(1.0, float(weights.max(initial=0.0)))]
    if len(weights) == 0 or statistic <= 0:
        return 1.0
    mean = float(weights.sum())
    if len(weights) == 1:
        return float(special.chdtrc(1, statistic / weights[0]))
    if abs(statistic - mean) < 1e-6 * mean:
        statistic = mean * (1 + 1e-5)
    top = 1 / (2 * float(weights.max()))

    def slope(t: float) -> float:
        return float((weights / (1 - 2 * t * weights)).sum())

    low, high = (0.0, top * (1 - 1e-12)) if statistic > mean else (-len(weights) / (2 * statistic) - 1.0, 0.0)
    while statistic <= mean and slope(low) > statistic:
        low *= 2
    t = (low + high) / 2
    for _ in range(200):
        t = (low + high) / 2
        if slope(t) > statistic:
            high = t
        else:
            low = t
    generating = float(-0.5 * np.log1p(-2 * t * weights).sum())
    curvature = float((2 * weights**2 / (1 - 2 * t * weights) ** 2).sum())
    w = math.copysign(math.sqrt(max(0.0, 2 * (t * statistic - generating))), t)
    v = t * math.sqrt(curvature)
    if abs(w) < 1e-7 or v == 0.0:
        return 0.5
    return float(min(1.0, max(0.0, special.ndtr(-(w + math.log(v / w) / w)))))
