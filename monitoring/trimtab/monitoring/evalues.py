"""E-values: evidence that may be looked at after every row, and multiplied and averaged, without losing its meaning.

An e-value of 100 against a hypothesis turns up, at any moment at all, in at most 1 of 100 worlds in which the
hypothesis holds (Ville 1939); so a rule that waits for it may look as often as it likes, on as few rows as there are.
Everything here is a pure function of counts or sums.
"""

from __future__ import annotations

import math
from functools import lru_cache

from scipy import special

# Shares of its wealth that the gambler stakes, mixed in equal parts: small ones find small differences on many rows,
# large ones large differences on few.
STAKES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95)
# Usual size of a difference worth finding, in standard deviations of a row's difference.
EFFECT = 0.2
# Sums of real numbers say nothing reliable about their spread below so many rows.
MIN_NUMBERS = 20
_LARGEST = 700.0


def paired_counts(wins: int, ties: int, losses: int, margin: float = 0.0) -> float:
    """Evidence against "of the same rows, this one gets fewer right than the other by `margin` of them or more".

    A gambler bets on wins: the wealth of stake s after a row with difference d (1 won, 0 tied, -1 lost) is multiplied
    by 1 + s (d + margin) / (1 - margin), a fair or losing bet under the hypothesis (Waudby-Smith and Ramdas 2023,
    "Estimating means of bounded random variables by betting"); the mixture over `STAKES` needs the counts alone.

    Args:
        wins: rows that this one alone gets right.
        ties: rows that both or neither get right.
        losses: rows that the other alone gets right.
        margin: share of the rows, 0 to below 1.

    >>> paired_counts(3, 14, 3) < 1.5 < 100 < paired_counts(12, 30, 0)
    True
    """
    return _mean([wins * w + ties * t + losses * x for w, t, x in _log_factors(margin)])


@lru_cache(maxsize=64)
def _log_factors(margin: float) -> tuple[tuple[float, float, float], ...]:
    """For each stake, the log of what the wealth is multiplied by at a win, a tie and a loss."""
    units = [(stake, stake / (1.0 - margin)) for stake in STAKES]
    return tuple(
        (math.log1p(unit * (1.0 + margin)), math.log1p(unit * margin), math.log1p(-stake)) for stake, unit in units
    )


def paired_sums(n: int, total: float, squares: float) -> float:
    """Evidence against "the mean of these differences is zero or less", from their sums.

    One-sided normal mixture (Robbins 1970) over the estimated spread, as an asymptotic confidence sequence
    (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024); Student's distribution stands in for the normal one while
    rows are few. 1 below `MIN_NUMBERS` rows and where all differences are equal.

    Args:
        n: rows.
        total: sum of the differences.
        squares: sum of their squares.

    >>> paired_sums(100, 0.0, 100.0) < 1 < 100 < paired_sums(100, 50.0, 125.0)
    True
    """
    if n < MIN_NUMBERS:
        return 1.0
    variance = (squares - total**2 / n) / (n - 1)
    if variance <= 0.0:
        return 1.0
    t = total / math.sqrt(n * variance)
    tail = float(special.stdtr(n - 1, -abs(t)))
    z = math.copysign(-float(special.ndtri(max(tail, 1e-300))), t)
    known = n * EFFECT**2
    log = math.log(2.0) - 0.5 * math.log1p(known) + 0.5 * z**2 * known / (1.0 + known)
    log += float(special.log_ndtr(z * math.sqrt(known / (1.0 + known))))
    return math.exp(min(log, _LARGEST))


def more(bad: int, n: int, other_bad: int, other_n: int, margin: float) -> float:
    """Evidence against "this arm's bad share is at most the other's plus `margin`", from rows of its own each.

    Universal inference (Wasserman, Ramdas and Balakrishnan 2020, PNAS 117): a mixture likelihood of both arms over
    the largest likelihood under the hypothesis. 0 where the estimate itself agrees with the hypothesis, 1 where one arm
    has no rows.

    >>> more(2, 40, 2, 40, 0.01) < 1 < 100 < more(25, 40, 2, 40, 0.01)
    True
    """
    if not n or not other_n:
        return 1.0
    if bad / n <= other_bad / other_n + margin:
        return 0.0
    return _ratio(bad, n, other_bad, other_n, margin)


def not_more(bad: int, n: int, other_bad: int, other_n: int, margin: float) -> float:
    """Evidence against "this arm's bad share exceeds the other's by `margin` or more"; see `more`.

    >>> not_more(3, 40, 2, 40, 0.01) < 1 < 100 < not_more(0, 60, 20, 60, 0.01)
    True
    """
    if not n or not other_n:
        return 1.0
    if bad / n >= other_bad / other_n + margin:
        return 0.0
    return _ratio(bad, n, other_bad, other_n, margin)


def _ratio(bad: int, n: int, other_bad: int, other_n: int, margin: float) -> float:
    mixture = _krichevsky_trofimov(bad, n) + _krichevsky_trofimov(other_bad, other_n)
    return math.exp(min(mixture - _largest_at(bad, n, other_bad, other_n, margin), _LARGEST))


def _krichevsky_trofimov(bad: int, n: int) -> float:
    """Log likelihood of the counts averaged over a Beta(1/2, 1/2) prior."""
    beta = math.lgamma(bad + 0.5) + math.lgamma(n - bad + 0.5) - math.lgamma(n + 1.0)
    return beta - (2 * math.lgamma(0.5) - math.lgamma(1.0))


def _log_likelihood(bad: int, n: int, share: float) -> float:
    share = min(max(share, 1e-12), 1 - 1e-12)
    return bad * math.log(share) + (n - bad) * math.log1p(-share)


def _largest_at(bad: int, n: int, other_bad: int, other_n: int, margin: float) -> float:
    """Log likelihood at the best shares that are `margin` apart, by golden section: it is concave there."""

    def value(p: float) -> float:
        return _log_likelihood(bad, n, p + margin) + _log_likelihood(other_bad, other_n, p)

    low, high = 0.0, max(1.0 - margin, 0.0)
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if value(left) < value(right):
            low = left
        else:
            high = right
    return value((low + high) / 2)


def _mean(logs: list[float]) -> float:
    """Exp of each, averaged, without overflow."""
    top = max(logs)
    return math.exp(min(top, _LARGEST)) * sum(math.exp(x - top) for x in logs) / len(logs)
