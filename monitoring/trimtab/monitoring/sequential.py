"""Is a version worse than its reference says, looked at window after window; and since when.

Small real losses need several windows to show, large ones should not wait for them: each time the last 1, 2, 3, …
windows are tested, and all since the version's first. Looking so often costs false alarms, so each look's p-value is
multiplied by `looks`; the factors were found by simulation (tests/monitoring/test_sequential repeats it), so that the
share of windows without a change whose smallest product is at most a level is about that level or less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trimtab.monitoring.losses import Floats, Losses, add, worse

# Lengths of the looked-at stretches, windows. Roughly geometric: a look between two of them gains next to nothing.
SPANS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
# Short stretches react and are looked at anew each window; long ones hardly change from window to window, so a chance
# alarm of theirs would stay for long, and pays for that.
SHORT, SHORT_LOOKS, LONG_LOOKS = 4, 3.0, 24.0


def looks(span: int) -> float:
    """By what a look at so many windows must be multiplied, for looking so often."""
    return SHORT_LOOKS if span <= SHORT else LONG_LOOKS


@dataclass(frozen=True)
class Look:
    """The most telling stretch of windows.

    Attributes:
        p: share of windows without any change that look this bad or worse; compare it with a level.
        span: number of windows in the stretch, all of them the newest.
        losses: sums over the stretch.
        harm: mean loss of the stretch less the reference's.
    """

    p: float
    span: int
    losses: Losses
    harm: float


def scan(reference: Losses, windows: Sequence[Losses], harm: float = 0.0, *, binary: bool | None = None) -> Look:
    """Test the newest stretches of windows against the reference.

    Args:
        reference: losses with known good performance.
        windows: losses by window, oldest first; windows without rows are passed over.
        harm: stretches that are worse by no more than this are not of interest.
        binary: whether losses are 0 or 1.

    Returns:
        The look with the smallest p, already multiplied by `looks`; p is 1 where nothing is worse.
    """
    filled = [w for w in windows if w.n]
    newest = add(filled[-1:])
    best = Look(1.0, min(1, len(filled)), newest, newest.mean - reference.mean if newest.n else 0.0)
    if not reference.n:
        return best
    spans = [s for s in SPANS if s < len(filled)] + ([len(filled)] if filled else [])
    running, done = Losses(), 0
    for span in spans:
        running = running + add(filled[len(filled) - span : len(filled) - done])
        done = span
        gap = running.mean - reference.mean
        if gap <= harm:
            continue
        p = min(1.0, looks(span) * worse(reference, running, binary=binary))
        if p < best.p:
            best = Look(p, span, running, gap)
    return best


@dataclass(frozen=True)
class Change:
    """Where a sequence of losses got worse, as indices of its buckets.

    Attributes:
        lower, point, upper: first bucket of the new regime: earliest plausible, most likely, latest plausible.
        gain: log-likelihood that the change explains.
    """

    lower: int
    point: int
    upper: int
    gain: float


def change_point(
    n: npt.ArrayLike,
    total: npt.ArrayLike,
    squares: npt.ArrayLike,
    reference: Losses,
    *,
    binary: bool,
    tolerance: float = 3.0,
) -> Change | None:
    """The most likely moment from which the mean loss is higher, with the moments nearly as likely.

    Profile likelihood of one change after which the mean is larger (Hinkley 1970); the rows before it share their
    mean with the reference. The interval holds every moment whose log-likelihood is within `tolerance` of the best.

    Args:
        n: rows by bucket, oldest first.
        total: sums of losses by bucket.
        squares: sums of squared losses by bucket.
        reference: losses with known good performance, counted as before the change.
        binary: whether losses are 0 or 1 (Bernoulli likelihood, else normal).
        tolerance: log-likelihood units; 3 holds the true moment about 95 times in 100 by simulation.

    Returns:
        None where no bucket has rows or nothing got worse.
    """
    rows, sums, sqs = (np.asarray(x, np.float64) for x in (n, total, squares))
    if len(rows) == 0 or rows.sum() == 0:
        return None

    def before(values: Floats, base: float) -> Floats:
        return base + np.concatenate([[0.0], np.cumsum(values)[:-1]])

    n0, s0, q0 = before(rows, reference.n), before(sums, reference.total), before(sqs, reference.squares)
    n1, s1, q1 = (
        (rows.sum() + reference.n) - n0,
        (sums.sum() + reference.total) - s0,
        (sqs.sum() + reference.squares) - q0,
    )
    score = (
        _bernoulli(n0, s0) + _bernoulli(n1, s1)
        if binary
        else _normal(n0 + n1, q0 + q1 - s0**2 / np.maximum(n0, 1) - s1**2 / np.maximum(n1, 1))
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        got_worse = (s1 / n1 > np.where(n0 > 0, s0 / np.maximum(n0, 1), -np.inf)) & (n1 > 0)
    score = np.where(got_worse, score, -np.inf)
    if not np.isfinite(score).any():
        return None
    point = int(np.argmax(score))
    near = np.flatnonzero(score >= score[point] - tolerance)
    whole_n, whole_s, whole_q = n0 + n1, s0 + s1, q0 + q1
    base = (
        _bernoulli(whole_n[:1], whole_s[:1])[0]
        if binary
        else _normal(whole_n[:1], whole_q[:1] - whole_s[:1] ** 2 / np.maximum(whole_n[:1], 1))[0]
    )
    return Change(int(near[0]), point, int(near[-1]), float(score[point] - base))


def _bernoulli(n: Floats, s: Floats) -> Floats:
    """Largest log-likelihood of s ones among n."""
    n1 = np.maximum(n, 1e-300)
    p = np.clip(s / n1, 1e-12, 1 - 1e-12)
    return np.asarray(s * np.log(p) + (n - s) * np.log1p(-p), np.float64)


def _normal(n: Floats, residual: Floats) -> Floats:
    """Largest log-likelihood of n normal values with this sum of squared residuals, up to a constant."""
    return np.asarray(-n / 2 * np.log(np.maximum(residual, 1e-12) / np.maximum(n, 1)), np.float64)


def chance_in_words(p: float) -> str:
    """A p-value as people say it.

    >>> chance_in_words(0.0002)
    'once in 5,000 windows'
    """
    if p >= 0.5:
        return "as good as always"
    if p < 1e-9:
        return "practically never"
    times = 1 / p
    digits = 10 ** max(0, math.floor(math.log10(times)))
    return f"once in {round(times / digits) * digits:,.0f} windows"
