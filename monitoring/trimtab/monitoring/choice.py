"""Which data a retrain is trained on, and which it is judged on: pure, over the times of the labelled rows.

The newest labelled rows of the new regime judge and are kept out of training, of the challenger's as of the
champion's. Trained is on the rows of the log that the champion has not seen, and on the champion's own training
data, unless what drifted is the concept itself (inputs as before, answers no longer right): then old rows
contradict the new ones, and are left out as soon as there are enough new ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.core.policies import Campaign

Times = npt.NDArray[np.datetime64]

# Fewest rows worth judging on, where the new regime has twice as many.
MIN_JUDGE = 20
# A changed concept is learnt from its own rows alone once there are so many, and at least this share of the old ones.
NEW_ONLY_ROWS = 500
NEW_ONLY_SHARE = 0.25


@dataclass(frozen=True)
class Choice:
    """What a retrain gets.

    Attributes:
        since: first prediction time of the stretch that is trained on, UTC.
        judge_from: rows answered from here on judge, UTC.
        until: last prediction time, UTC.
        base: whether the champion's training data are trained on too.
        train_rows, judge_rows: labelled rows of the log in each part.
        regime_rows: labelled rows of the new regime in both.
        why: the choice in words.
    """

    since: datetime
    judge_from: datetime
    until: datetime
    base: bool
    train_rows: int
    judge_rows: int
    regime_rows: int
    why: str


@dataclass(frozen=True)
class Waiting:
    """Why no choice can be made yet."""

    why: str


def choose(times: Times, change: datetime | None, policy: Campaign, cause: str, base_rows: int) -> Choice | Waiting:
    """Choose a retrain's data.

    Args:
        times: prediction times (UTC, microseconds) of the labelled rows that the champion was not trained on, sorted.
        change: lower bound of the moment from which the new regime holds; None takes all of `times`.
        policy: the project's `campaign` block.
        cause: the verdict's cause (`covariate`, `label`, `concept`, `cannot tell`).
        base_rows: rows of the champion's training data.

    Returns:
        The choice, or what is waited for.
    """
    first_new = int(np.searchsorted(times, _naive(change))) if change is not None else 0
    regime = len(times) - first_new
    if regime < policy.min_labelled:
        return Waiting(f"{regime} of {policy.min_labelled} labelled rows of the new regime")
    cut = _cut(times, first_new, judge_rows(regime, policy))
    if cut is None:
        return Waiting(f"{regime} labelled rows, all of one moment: none can be kept for judging")
    fresh = cut - first_new
    alone = cause == "concept" and fresh >= max(NEW_ONLY_ROWS, NEW_ONLY_SHARE * base_rows)
    # Rows from before the change are welcome too, but never more of them than the champion was trained on.
    start = first_new if alone else max(0, first_new - base_rows)
    why = (
        f"{fresh} rows since the change alone: the concept has changed"
        if alone
        else f"the champion's {base_rows} training rows and {cut - start} new ones, {fresh} of them since the change"
    )
    return Choice(
        since=_aware(times[start]),
        judge_from=_aware(times[cut]),
        until=_aware(times[-1]),
        base=not alone,
        train_rows=cut - start,
        judge_rows=len(times) - cut,
        regime_rows=regime,
        why=f"{why}; judged on the newest {len(times) - cut}",
    )


def judge_rows(regime: int, policy: Campaign) -> int:
    """Rows to keep for judging, of those of the new regime."""
    wanted = max(round(policy.judge_fraction * regime), min(MIN_JUDGE, regime // 2))
    return max(1, min(policy.judge_rows, wanted))


def _cut(times: Times, first_new: int, judge: int) -> int | None:
    """Where the judge's rows begin: a row whose time differs from the one before, near the wanted place."""
    wanted = len(times) - judge
    starts = np.flatnonzero(np.r_[True, times[1:] != times[:-1]])
    starts = starts[starts > first_new]
    if not len(starts):
        return None
    earlier = starts[starts <= wanted]
    # Rows answered in one request share a moment; rather judge on more rows than on fewer, within reason.
    if len(earlier) and len(times) - earlier[-1] <= 2 * judge:
        return int(earlier[-1])
    later = starts[starts > wanted]
    return int(later[0]) if len(later) else int(earlier[-1])


def _naive(moment: datetime) -> np.datetime64:
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us")


def _aware(moment: Any) -> datetime:
    value = moment.astype("datetime64[us]").item()
    assert isinstance(value, datetime)
    return value.replace(tzinfo=UTC)
