"""The judge: pure functions from counts to a decision, with the words for it.

Two decisions. `challenger` looks at a retrained version and the champion on the same fresh labelled rows and asks
whether the challenger is no worse by more than the margin: it has the newer data, and a gate that wants proof of
being better starves the loop. `canary` looks at a version that answers a share of live requests and says promote
(take the next step), wait, or back; harm must be shown by a test that may be looked at after every request.

The test is universal inference (Wasserman, Ramdas and Balakrishnan 2020, "Universal inference", PNAS 117): a
mixture likelihood of both arms over the largest likelihood under "no worse by more than the margin" is an e-process,
so the chance that it ever reaches 1/alpha is at most alpha, however often one looks and at any number of rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from trimtab.core.policies import Rollout

# Chance that a version that is no worse is ever taken back, over all tests and steps of one canary.
ALPHA = 0.01
# A canary goes on unless the one-sided lower bound of its extra errors at this z (90 %) lies above the margin.
DOUBT_Z = 1.2816
# Slower than both twice the champion's 95th percentile and 20 ms above it is slow; so many more may be.
SLOW_MARGIN = 0.10
# So many more requests may fail.
FAILED_MARGIN = 0.005


@dataclass(frozen=True)
class Arm:
    """What one version did during a canary step.

    Attributes:
        rows: answered rows in the log.
        slow: of these, rows slower than the limit.
        labelled: rows whose label is known.
        wrong: of these, wrong answers (numbers: absolute errors above the joint upper quartile).
        requests: requests counted by the servers.
        failed: of these, answered with 5xx.
    """

    rows: int = 0
    slow: int = 0
    labelled: int = 0
    wrong: int = 0
    requests: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Figures:
    """What a canary is judged on: both arms over the same step, and how long it has lasted.

    Attributes:
        canary, champion: what each version did since the step began.
        minutes: since the step began.
        step: number of the step, from 0.
    """

    canary: Arm
    champion: Arm
    minutes: float
    step: int

    def record(self) -> dict[str, Any]:
        """The figures as a record's fields."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Figures:
        """Read back what `record` wrote; other fields are left alone."""
        return cls(
            canary=Arm(**record["canary"]),
            champion=Arm(**record["champion"]),
            minutes=float(record["minutes"]),
            step=int(record["step"]),
        )


@dataclass(frozen=True)
class Decision:
    """A decision and the sentence that says why."""

    move: Literal["promote", "wait", "back"]
    why: str


def harm_evidence(bad: int, n: int, bad_champion: int, n_champion: int, margin: float) -> float:
    """Evidence (an e-value) that the canary's bad share exceeds the champion's by more than `margin`.

    Args:
        bad: bad rows of the canary.
        n: rows of the canary.
        bad_champion: bad rows of the champion.
        n_champion: rows of the champion.
        margin: share by which the canary may be worse.

    Returns:
        The e-value, 0 to infinity; 100 means that no worse versions ever get here in at most 1 of 100 canaries.

    >>> harm_evidence(2, 40, 2, 40, 0.01) < 1 < 100 < harm_evidence(25, 40, 2, 40, 0.01)
    True
    """
    if not n or not n_champion or bad / n <= bad_champion / n_champion + margin:
        return 0.0
    mixture = _mixture(bad, n) + _mixture(bad_champion, n_champion)
    exponent = mixture - _largest_under_null(bad, n, bad_champion, n_champion, margin)
    return math.exp(min(exponent, 700.0))


def _mixture(bad: int, n: int) -> float:
    """Log likelihood of the counts averaged over a Beta(1/2, 1/2) prior (Krichevsky and Trofimov)."""
    beta = math.lgamma(bad + 0.5) + math.lgamma(n - bad + 0.5) - math.lgamma(n + 1.0)
    return beta - (2 * math.lgamma(0.5) - math.lgamma(1.0))


def _log_likelihood(bad: int, n: int, share: float) -> float:
    share = min(max(share, 1e-12), 1 - 1e-12)
    return bad * math.log(share) + (n - bad) * math.log1p(-share)


def _largest_under_null(bad: int, n: int, bad_champion: int, n_champion: int, margin: float) -> float:
    """Log likelihood at the best shares with canary = champion + margin, by golden section: it is concave there."""

    def value(p: float) -> float:
        return _log_likelihood(bad, n, p + margin) + _log_likelihood(bad_champion, n_champion, p)

    low, high = 0.0, max(1.0 - margin, 0.0)
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if value(left) < value(right):
            low = left
        else:
            high = right
    return value((low + high) / 2)


def _in_doubt(bad: int, n: int, bad_champion: int, n_champion: int, margin: float) -> bool:
    """Whether the canary looks worse: its extra bad share's lower 90 % bound (Agresti and Caffo) is over the margin."""
    p, q = (bad + 1) / (n + 2), (bad_champion + 1) / (n_champion + 2)
    spread = math.sqrt(p * (1 - p) / (n + 2) + q * (1 - q) / (n_champion + 2))
    return p - q - DOUBT_Z * spread > margin


def canary(figures: Figures, policy: Rollout) -> Decision:
    """Decide a canary step.

    Back as soon as failures, slowness or wrong answers are shown to be worse than the champion's by more than their
    margin, with error probability `ALPHA` over all three tests and every step. Promote once the step has its rows
    (the last one its labelled rows too) and nothing looks worse. Else wait; after `max_minutes` decide as it is.

    Args:
        figures: counts of both versions since the step began.
        policy: the project's `rollout` block.
    """
    a, b = figures.canary, figures.champion
    steps = max(len(policy.shares), 1)
    level = 3 * steps / ALPHA
    checks = (
        ("failed requests", a.failed, a.requests, b.failed, b.requests, FAILED_MARGIN),
        ("slow answers", a.slow, a.rows, b.slow, b.rows, SLOW_MARGIN),
        ("wrong answers", a.wrong, a.labelled, b.wrong, b.labelled, policy.margin),
    )
    for what, bad, n, bad_b, n_b, margin in checks:
        if harm_evidence(bad, n, bad_b, n_b, margin) >= level:
            return Decision("back", f"{what}: {bad} of {n}, the champion's {bad_b} of {n_b}")
    last = figures.step >= steps - 1
    known = f"{a.rows} rows answered, {a.wrong} of {a.labelled} labelled ones wrong" + (
        f" (champion {b.wrong} of {b.labelled})" if b.labelled else ""
    )
    if figures.minutes >= policy.max_minutes:
        return _as_it_is(figures, policy, known)
    if a.rows < policy.step_rows:
        return Decision("wait", f"{a.rows} of {policy.step_rows} rows answered")
    if last and a.labelled < policy.step_labelled:
        return Decision("wait", f"{a.labelled} of {policy.step_labelled} labels are known")
    for what, bad, n, bad_b, n_b, margin in checks:
        if n and n_b and _in_doubt(bad, n, bad_b, n_b, margin):
            return Decision("wait", f"{what} look worse: {bad} of {n}, the champion's {bad_b} of {n_b}")
    return Decision("promote", f"no harm seen: {known}")


def _as_it_is(figures: Figures, policy: Rollout, known: str) -> Decision:
    """What is decided when time is up: by the plain estimate."""
    a, b = figures.canary, figures.champion
    since = f"undecided for {figures.minutes:.0f} minutes"
    if a.rows == 0:
        return Decision("back", f"{since} and not one row answered")
    if a.labelled and b.labelled and a.wrong / a.labelled > b.wrong / b.labelled + policy.margin:
        return Decision("back", f"{since}: {known}")
    if a.requests and b.requests and a.failed / a.requests > b.failed / b.requests + FAILED_MARGIN:
        return Decision("back", f"{since}: {a.failed} of {a.requests} requests failed")
    return Decision("promote", f"{since}, nothing speaks against it: {known}")


def challenger(paired: Mapping[str, Any] | None, policy: Rollout, min_rows: int = 1) -> tuple[bool, str]:
    """Decide whether a retrained version may be released, from paired results on the same fresh labelled rows.

    A challenger wins when its estimate is no worse than the champion's by more than the margin: for classes, of the
    rows; for numbers, of the champion's mean absolute error.

    Args:
        paired: evaluate's counts against the champion, or None where there were no rows to judge on.
        policy: the project's `rollout` block; `margin` is the ratio by which it may be worse.
        min_rows: fewest rows to judge on.

    Returns:
        Won or not, and why.

    >>> challenger({"n": 40, "both_right": 30, "challenger_only": 6, "champion_only": 2, "both_wrong": 2}, Rollout())
    (True, '36 of 40 right, the champion 32')
    """
    n = int(paired["n"]) if paired else 0
    if paired is None or n < max(min_rows, 1):
        return False, f"{n} fresh labelled rows to judge on, at least {max(min_rows, 1)} needed"
    if "challenger_loss" in paired:
        mine, theirs = float(paired["challenger_loss"]), float(paired["champion_loss"])
        words = f"mean absolute error {mine:.4g} on {n} rows, the champion's {theirs:.4g}"
        return mine <= theirs * (1 + policy.margin), words
    right, mine_only = int(paired["both_right"]), int(paired["challenger_only"])
    theirs_only = int(paired["champion_only"])
    words = f"{right + mine_only} of {n} right, the champion {right + theirs_only}"
    return mine_only - theirs_only >= -policy.margin * n, words
