"""Whether a retrain is worth its cost now: pure, over what a quick model says that other data would gain.

Retrains are earned with labelled rows and spent one by one. A drift may spend the last one; without a drift the gain
must be worth it, and one is kept back for the next drift. A follow-up of a fit on few rows counts with the drift.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from trimtab.core.policies import Campaign

# Earned before the first row, and kept at most.
FIRST, MOST = 3.0, 4.0
# Kept back for a drift.
KEPT = 1.0
# The new regime's model is followed up while it was trained on fewer than so many windows, and there are so many
# times more rows.
FEW_WINDOWS, GROWN = 3.0, 2.0
# Standard errors by which the gain must show: in general, where labels have shown harm, and of a fit on so many times
# more rows.
SURE, SURE_DRIFT, SURE_GROWN = 1.5, 1.0, 0.7
# Least gain of a fit on so many times more rows, as a part of the gain that is worth a retrain.
GROWN_PART = 0.6


@dataclass
class Purse:
    """Retrains that may be spent.

    Attributes:
        left: earned and not spent.
    """

    left: float = FIRST

    def earn(self, windows: float, policy: Campaign) -> None:
        """So many windows of labelled rows have come."""
        self.left = min(MOST, self.left + windows / policy.windows_per_retrain)

    def spend(self) -> None:
        """A training run is started."""
        self.left = max(0.0, self.left - 1)


@dataclass(frozen=True)
class Prospect:
    """What a retrain now would bring.

    Attributes:
        mean: loss that it saves a row, as a ratio.
        z: the same in standard errors.
        rows: rows that it would be trained on.
        champion_rows: rows that the champion was trained on.
        drift: the newest verdict is `drift`.
        follow_up: the champion answered a drift.
        windows: since the last retrain; infinite before the first.
    """

    mean: float
    z: float
    rows: int
    champion_rows: int
    drift: bool
    follow_up: bool
    windows: float


def folded(
    earned: Iterable[tuple[datetime, float]], spent: Iterable[datetime], policy: Campaign, first: float = FIRST
) -> tuple[Purse, float]:
    """What may be spent after all that was earned and spent, and windows since the last retrain (infinite before one).

    Args:
        earned: labelled windows (parts of one too) by the moment of their first prediction.
        spent: of each retrain, the moment of the newest prediction that it was chosen by.
        policy: the project's `campaign` block.
        first: what the purse holds before.

    >>> day = [datetime(2026, 11, d) for d in range(1, 30)]
    >>> folded([(day[0], 1.0)], [], Campaign(windows_per_retrain=4))
    (Purse(left=3.25), inf)
    >>> folded([(d, 1.0) for d in day[:20]], [day[9], day[17]], Campaign(windows_per_retrain=4))
    (Purse(left=3.5), 2.0)
    """
    purse, since = Purse(first), math.inf
    events = [(at, False, windows) for at, windows in earned] + [(at, True, 0.0) for at in spent]
    for _, retrain, windows in sorted(events):
        if retrain:
            purse.spend()
            since = 0.0
        else:
            purse.earn(windows, policy)
            since += windows
    return purse, since


def due(purse: Purse, prospect: Prospect, window: int, policy: Campaign) -> str:
    """Why a retrain is due now; empty where it is not.

    Args:
        purse: what may be spent.
        prospect: what it would bring.
        window: rows of a window.
        policy: the project's `campaign` block.

    >>> due(Purse(), Prospect(0.08, 4.0, 900, 1000, True, False, 9), 300, Campaign())
    'a drift, and the newest rows would be answered better'
    >>> due(Purse(1.5), Prospect(0.02, 4.0, 3000, 1000, False, False, 9), 300, Campaign())
    ''
    """
    if purse.left < 1:
        return ""
    if prospect.drift:
        shown = prospect.z >= SURE_DRIFT and prospect.mean > 0
        return "a drift, and the newest rows would be answered better" if shown else ""
    more = prospect.rows >= GROWN * prospect.champion_rows
    grown = more and prospect.z >= SURE_GROWN and prospect.mean >= GROWN_PART * policy.least_gain
    if grown and prospect.follow_up and prospect.champion_rows < FEW_WINDOWS * window:
        return "labels have grown since the drift was answered"
    if purse.left < 1 + KEPT or prospect.windows < 2:
        return ""
    if grown:
        return "labels have grown"
    return "other data would answer better" if prospect.z >= SURE and prospect.mean >= policy.least_gain else ""
