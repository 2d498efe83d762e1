"""The judge: pure functions from counts to a decision, with the words for it.

`challenger` rules on a retrained version by the rows that its run kept out of training: into the rollout, or not.
`canary` rules on a version in the shadow and behind it, while it answers a share of the requests. Both read the same
paired evidence (`paired.Paired`), which grows with each labelled row, whoever answered it, and one rule holds from the
first row to the last:

- promoted is only what is shown to be no worse than the champion by more than the margin;
- taken back is only what is shown to be worse, or to fail or to be slow;
- what neither is shown of gives way after `max_labelled` rows or `max_minutes`: the champion stays, nothing is proven.

Shown means an e-value (see `evalues`) past a level, so that looking after every row costs nothing: at most `ALPHA` of
the versions that are worse by more than the margin are ever promoted, and at most `ALPHA` of those that are no worse
are ever taken back, on any number of rows. docs/releases.md has what that means in numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from trimtab.core.policies import Plan
from trimtab.monitoring import evalues
from trimtab.monitoring.paired import Paired

# Chance that a version that is worse by more than the margin is ever promoted, and that one that is no worse than the
# champion is ever taken back.
ALPHA = 0.01
# Of the second, what each test may spend.
WRONG_ALPHA, FAILED_ALPHA, SLOW_ALPHA = 0.006, 0.002, 0.002
# So much evidence of being no worse skips the small shares.
LIKELY = 10.0
# So much evidence of being worse keeps a version in the shadow, or at its share.
DOUBT = 3.0
# Of failures and slowness, whose margins are wide, an extra share whose lower 90 % bound is over the margin does.
DOUBT_Z = 1.2816
# Slower than both twice the champion's 95th percentile and 20 ms above it is slow; so many more may be.
SLOW_MARGIN = 0.10
# So many more requests may fail.
FAILED_MARGIN = 0.005
# The step of a version that answers no live request yet.
SHADOW = -1
NOTHING = Paired()


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
class Estimated:
    """Performance of both versions on the same rows as estimated without labels: value, low, high (95 %).

    Attributes:
        unit: `accuracy`, or `mean absolute error`, of which less is better.
        canary, champion: the estimates.
    """

    unit: str
    canary: tuple[float, float, float]
    champion: tuple[float, float, float]

    @property
    def worse(self) -> bool:
        """Whether the new version's whole interval is worse than the champion's."""
        if self.unit == "accuracy":
            return self.canary[2] < self.champion[1]
        return self.canary[1] > self.champion[2]

    def words(self) -> str:
        """Both estimates, for people."""
        return f"estimated {self.unit} {self.canary[0]:.4g}, the champion's {self.champion[0]:.4g}"


@dataclass(frozen=True)
class Figures:
    """What a version is judged on.

    Attributes:
        canary, champion: what each version did since the step began.
        minutes: since the rollout began.
        step: number of the step, from 0; `SHADOW` before.
        paired: both versions on the rows that neither was trained on, from before the rollout and since.
        replayed: whether these are all rows of the log; where it cannot be answered again (a private field is not in
            it), they are only what the training run kept for judging, and the arms' own rows count too.
        before: labelled rows of `paired` that were there when the rollout began.
        replay_failed: rows of the log that the version could not answer.
        estimated: performance as estimated, while not one label is known; else None.
    """

    canary: Arm
    champion: Arm
    minutes: float
    step: int
    paired: Paired = NOTHING
    replayed: bool = True
    before: int = 0
    replay_failed: int = 0
    estimated: Estimated | None = None

    def record(self) -> dict[str, Any]:
        """The figures as a record's fields."""
        return asdict(self) | {"paired": self.paired.record()}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Figures:
        """Read back what `record` wrote; other fields are left alone."""
        said = record.get("estimated")
        return cls(
            canary=Arm(**record["canary"]),
            champion=Arm(**record["champion"]),
            minutes=float(record["minutes"]),
            step=int(record["step"]),
            paired=Paired.from_record(record.get("paired") or {}),
            replayed=bool(record.get("replayed", True)),
            before=int(record.get("before") or 0),
            replay_failed=int(record.get("replay_failed") or 0),
            estimated=Estimated(str(said["unit"]), tuple(said["canary"]), tuple(said["champion"])) if said else None,
        )


@dataclass(frozen=True)
class Decision:
    """A decision and the sentence that says why.

    Attributes:
        move: `raise` to `step`, `promote`, `wait`, or `back`.
        why: in words.
        step: the step to go to, for `raise`.
        undecided: of `back`, that nothing was shown: rows or time ran out and the champion stays.
    """

    move: Literal["raise", "promote", "wait", "back"]
    why: str
    step: int = SHADOW
    undecided: bool = False


@dataclass(frozen=True)
class Ruling:
    """What `challenger` says of a retrained version.

    Attributes:
        move: `promote` (shown no worse by the margin), `wait` (not yet, nor shown worse) or `reject`.
        why: in words.
        evidence: the e-value for being no worse by the margin; 100 shows it at 99 %.
    """

    move: Literal["promote", "wait", "reject"]
    why: str
    evidence: float = 0.0

    @property
    def released(self) -> bool:
        """Whether it goes into its rollout: shadow and canary go on collecting what is not shown yet."""
        return self.move != "reject"


def challenger(paired: Paired | Mapping[str, Any] | None, policy: Plan, min_rows: int = 1) -> Ruling:
    """Rule on a retrained version, from paired results on the same fresh labelled rows.

    Args:
        paired: results of both, or evaluate's record of them; None where there were no rows to judge on.
        policy: the project's `rollout` block, sized.
        min_rows: fewest rows to judge on.

    >>> from trimtab.core.policies import Rollout
    >>> policy = Rollout().sized(300)
    >>> challenger({"both_right": 30, "challenger_only": 6, "champion_only": 2, "both_wrong": 2}, policy).why
    'not shown yet: 36 of 40 right, the champion 32'
    >>> challenger(Paired(both_right=60, challenger_only=30, champion_only=5, both_wrong=5), policy).move
    'promote'
    """
    known = paired if isinstance(paired, Paired) else Paired.from_record(paired or {})
    if known.n < max(min_rows, 1):
        return Ruling("reject", f"{known.n} fresh labelled rows to judge on, at least {max(min_rows, 1)} needed")
    evidence = known.no_worse(policy.margin)
    if known.worse() >= 1 / WRONG_ALPHA:
        return Ruling("reject", f"shown to be worse: {known.words()}", evidence)
    if evidence >= 1 / ALPHA:
        return Ruling("promote", f"shown to be no worse: {known.words()}", evidence)
    return Ruling("wait", f"not shown yet: {known.words()}", evidence)


def canary(figures: Figures, policy: Plan) -> Decision:
    """Decide what becomes of a version that is tried.

    Back as soon as failures, slowness or wrong answers are shown. Promote once the step has its rows and the version
    is shown to be no worse. Else on to the next share, unless something looks worse; straight to the last one where
    it is likely to be no worse. Out of labelled rows or of time, the champion stays.

    Args:
        figures: what is known of both versions.
        policy: the project's `rollout` block, sized.
    """
    last = max(len(policy.shares) - 1, 0)
    if harm := _harm(figures, policy):
        return Decision("back", harm)
    shown, doubtful, known = _accuracy(figures, policy)
    looks = _looks_worse(figures) or (f"it looks worse: {known}" if doubtful else "")
    proven = shown >= 1 / ALPHA and _rows(figures) >= policy.step_labelled
    needed = policy.rows_at(figures.step) if figures.step > SHADOW else 0
    short = figures.canary.rows < needed
    if not policy.shares and not looks:
        # There is no share to wait for: the version replaces the champion on the word of the replay.
        if proven:
            return Decision("promote", f"shown to be no worse by a replay of the log: {known}")
        if policy.step_labelled == 0 and figures.paired.rows:
            return Decision("promote", f"no harm seen in a replay of the log, and labels are not asked for: {known}")
    elif not looks:
        if figures.step > SHADOW and not short and proven:
            return Decision("promote", f"shown to be no worse: {known}")
        if figures.step < last and shown >= LIKELY:
            return Decision("raise", f"likely no worse: {known}", last)
        if figures.step < last and not short:
            return Decision("raise", f"nothing speaks against it: {known}", figures.step + 1)
        if not short and policy.step_labelled == 0:
            return Decision("promote", f"no harm seen, and labels are not asked for: {known}")
    if spent := _spent(figures, policy, proven):
        return Decision("back", f"undecided after {spent}, the champion stays: {known}", undecided=True)
    if short:
        return Decision("wait", looks or f"{figures.canary.rows} of {needed} rows answered")
    return Decision("wait", looks or f"not shown yet: {known}")


def _rows(figures: Figures) -> int:
    """Rows that count as evidence of accuracy."""
    return figures.paired.rows + (0 if figures.replayed else figures.canary.labelled)


def _accuracy(figures: Figures, policy: Plan) -> tuple[float, bool, str]:
    """Evidence that it is no worse by the margin, whether it looks worse, and the counts in words."""
    paired = figures.paired
    shown, worse, known = paired.no_worse(policy.margin), paired.worse(), paired.words()
    if not figures.replayed:
        # Rows of their own each, and others than the paired ones: evidence from both multiplies. Each step's rows were
        # answered at another mix of the two versions, so only those of this step are compared.
        a, b = figures.canary, figures.champion
        steps = max(len(policy.shares), 1)
        shown *= evalues.not_more(a.wrong, a.labelled, b.wrong, b.labelled, policy.margin) / steps
        worse = max(worse, evalues.more(a.wrong, a.labelled, b.wrong, b.labelled, 0.0))
        known += f"; {a.wrong} of {a.labelled} labelled answers wrong, the champion's {b.wrong} of {b.labelled}"
    return shown, worse >= DOUBT and worse > shown, known


def _harm(figures: Figures, policy: Plan) -> str:
    """What is shown to be worse, in words; empty where nothing is."""
    a, b = figures.canary, figures.champion
    steps = max(len(policy.shares), 1)
    if figures.replay_failed:
        return f"{figures.replay_failed} logged rows cannot be answered"
    # Without a replay two tests look for the same: they share what it may spend.
    tests = 1 if figures.replayed else 2
    if figures.paired.worse() >= tests / WRONG_ALPHA:
        return f"shown to be worse: {figures.paired.words()}"
    own = 0.0 if figures.replayed else evalues.more(a.wrong, a.labelled, b.wrong, b.labelled, 0.0)
    if own >= tests * steps / WRONG_ALPHA:
        return f"wrong answers: {a.wrong} of {a.labelled}, the champion's {b.wrong} of {b.labelled}"
    for what, bad, n, bad_b, n_b, margin, alpha in _service(figures):
        if evalues.more(bad, n, bad_b, n_b, margin) >= steps / alpha:
            return f"{what}: {bad} of {n}, the champion's {bad_b} of {n_b}"
    return ""


def _looks_worse(figures: Figures) -> str:
    """What of the service looks worse without being shown, in words."""
    for what, bad, n, bad_b, n_b, margin, _ in _service(figures):
        if n and n_b and _in_doubt(bad, n, bad_b, n_b, margin):
            return f"{what} look worse: {bad} of {n}, the champion's {bad_b} of {n_b}"
    if figures.estimated is not None and figures.estimated.worse:
        return f"no label is known, and it looks worse: {figures.estimated.words()}"
    return ""


def _in_doubt(bad: int, n: int, other_bad: int, other_n: int, margin: float) -> bool:
    """Whether the lower 90 % bound (Agresti and Caffo 2000) of this arm's extra bad share is over the margin."""
    p, q = (bad + 1) / (n + 2), (other_bad + 1) / (other_n + 2)
    spread = math.sqrt(p * (1 - p) / (n + 2) + q * (1 - q) / (other_n + 2))
    return p - q - DOUBT_Z * spread > margin


def _service(figures: Figures) -> tuple[tuple[str, int, int, int, int, float, float], ...]:
    a, b = figures.canary, figures.champion
    return (
        ("failed requests", a.failed, a.requests, b.failed, b.requests, FAILED_MARGIN, FAILED_ALPHA),
        ("slow answers", a.slow, a.rows, b.slow, b.rows, SLOW_MARGIN, SLOW_ALPHA),
    )


def _spent(figures: Figures, policy: Plan, proven: bool) -> str:
    """What has run out, in words; labelled rows do not while it is only its share of requests that is missing."""
    labelled = figures.paired.n - figures.before if figures.replayed else figures.canary.labelled
    if labelled >= policy.max_labelled and not proven:
        return f"{labelled} labelled rows"
    return f"{figures.minutes:.0f} minutes" if figures.minutes >= policy.max_minutes else ""
