"""Whether a campaign opens without a drift: where `campaign.opens` is `gain`, and other data would answer better.

With each new window that has labels, candidate stretches of the log compete once by a quick model, on labelled rows
before those that will judge. What may be spent is a fold of the records, and the campaign is opened by the same one
`create` as for a drift: two hooks, or one that is killed anywhere, come to one campaign. A drift is left to its alert.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from trimtab.core import ledger
from trimtab.core.errors import StoreError
from trimtab.core.records import create_record, parse_time, rfc3339, utcnow
from trimtab.monitoring import campaign_data, windows
from trimtab.monitoring.campaign_budget import spent
from trimtab.monitoring.campaign_open import after, cooling, held
from trimtab.monitoring.campaign_records import GAIN, OPENED, CampaignState, all_campaigns, controls, folder
from trimtab.monitoring.champion import Published, published
from trimtab.monitoring.choice import Choice, Waiting, choose
from trimtab.monitoring.competition import Compared, compared
from trimtab.monitoring.gain import BLOCKS, LENGTHS
from trimtab.monitoring.pace import FIRST, GROWN, MOST, Prospect, Purse, due, folded

if TYPE_CHECKING:
    from trimtab.core.store import Store
    from trimtab.monitoring.windows import Verdict

# Labelled rows of the log that compete, at most.
LOG_ROWS = 50_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Ready:
    """A champion about which a campaign without a drift may open.

    Attributes:
        about: the champion.
        verdict: the newest about it.
        campaigns: all of the model's, each closed.
    """

    about: Published
    verdict: Verdict
    campaigns: Sequence[CampaignState]

    @property
    def place(self) -> tuple[str, int]:
        """Who is bettered, and the number that the campaign takes."""
        return self.about.version, len(self.campaigns) + 1


@dataclass
class Gains:
    """Looks at each model once with every new window that has labels, and opens what is due.

    Attributes:
        store: where everything is.
        readers: the logs' readers.
        now: the clock.
    """

    store: Store
    readers: campaign_data.Readers
    now: Callable[[], datetime] = utcnow
    # Champion and newest labelled window at the last look: what is forgotten by a restart is looked at again.
    _looked: dict[str, tuple[str, int]] = field(default_factory=dict)

    def step(self, model: str) -> str:
        """Open a campaign where one is due.

        Returns:
            What was done, in words; empty where nothing was.
        """
        champion = ledger.state(self.store, model).champion
        if champion is None or published(self.store, model, champion).campaign.opens != "gain":
            return ""
        window = self._new_window(model, champion)
        if window is None:
            return ""
        ready = self._ready(model, champion)
        if ready is None:
            return ""
        before = self._looked.get(model)
        self._looked[model] = (champion, window)
        try:
            opening = self._look(model, ready)
        except StoreError:
            # The store is away: the next round looks again.
            self._looked.pop(model, None)
            if before is not None:
                self._looked[model] = before
            raise
        return self._open(model, ready, opening) if opening else ""

    def _new_window(self, model: str, champion: str) -> int | None:
        """The newest window with labels, where enough of them are behind what was looked at; else None."""
        known, after_window = self._looked.get(model, ("", 0))
        behind = after_window if known == champion else 0
        labels, newest = 0, None
        for window, keys in windows.keys_by_window(self.store, model, champion, after=behind).items():
            key = windows.newest(keys, "verdict")
            labelled = windows.read_verdict(self.store, key).labelled if key else 0
            if labelled:
                labels, newest = labels + labelled, window
        least = published(self.store, model, champion).campaign.min_labelled
        return newest if labels >= least else None

    def _ready(self, model: str, champion: str) -> _Ready | None:
        """None where no campaign may open now, or a drift opens it."""
        campaigns = all_campaigns(self.store, model)
        if campaigns and not campaigns[-1].closed:
            return None
        about = published(self.store, model, champion)
        taken = spent(self.store, campaigns, about.campaign, self.now())
        if held(about, controls(self.store, model), taken):
            return None
        verdict = windows.latest(self.store, model, champion)
        if verdict is None:
            return None
        if cooling(campaigns, about, verdict.window):
            return None
        if verdict.verdict == "drift" and not (campaigns and after(campaigns, about, verdict)):
            return None
        return _Ready(about, verdict, campaigns)

    def _look(self, model: str, ready: _Ready) -> dict[str, Any] | None:
        """The opening record's fields where a retrain is due; else None."""
        about, policy = ready.about, ready.about.campaign
        purse, since = purse_of(self.store, model, about, ready.campaigns)
        base = campaign_data.base_rows(self.store, about)
        if purse.left < 1 or not base:
            return None
        start = _start(self.store, model, about, base)
        times, until = campaign_data.labelled_times(self.store, model, about, start, self.readers)
        chosen = choose(times, None, policy, GAIN, base)
        if isinstance(chosen, Waiting):
            return None
        seen = compared(self.store, model, about, (chosen.since, chosen.judge_from), None, until)
        if seen is None:
            return None
        prospect = Prospect(
            seen.ratio,
            seen.gain.z,
            seen.rows + (base if seen.gain.stretch.base else 0),
            base,
            ready.verdict.verdict == "drift",
            any(c.outcome == "promoted" and not c.by_gain for c in ready.campaigns),
            since,
        )
        why = due(purse, prospect, about.windows.rows, policy)
        _log.info(
            "%s: gain %.4f, %.1f standard errors, %.1f retrains left%s",
            seen.gain.stretch.name, seen.ratio, seen.gain.z, purse.left, f": {why}" if why else "",
            extra={"model": model},
        )  # fmt: skip
        return _opening(model, ready.verdict, chosen, seen, prospect, purse, why) if why else None

    def _open(self, model: str, ready: _Ready, opening: Mapping[str, Any]) -> str:
        """Create the record, if all still is as it was before the look; exactly one hook does."""
        champion = ledger.state(self.store, model).champion
        now = self._ready(model, champion) if champion else None
        if now is None or now.place != ready.place:
            return ""
        n = len(ready.campaigns) + 1
        if not create_record(self.store, f"{folder(model, n)}/opened.json", OPENED, opening):
            return ""
        words = f"campaign {n} opens: {opening['words']}"
        _log.info(words, extra={"model": model})
        return words


def purse_of(store: Store, model: str, about: Published, campaigns: Sequence[CampaignState]) -> tuple[Purse, float]:
    """What retrains may be spent, and windows since the last one: a fold of windows, campaigns and ledger.

    Windows with labels earn from the first promotion on, each retrain of a campaign spends.

    Args:
        store: where the records are.
        model: the model's name.
        about: the champion.
        campaigns: all of the model's.
    """
    promoted = [e.version for e in ledger.read(store, model) if e.event == "promoted"]
    retrains = [parse_time(str(r.data["until"])) for c in campaigns for r in c.retrains if r.run is not None]
    earned: list[tuple[datetime, float]] = []
    for version in dict.fromkeys(reversed(promoted)):
        found = [v for v in windows.verdicts(store, model, version) if v.labelled]
        earned += [(parse_time(v.first_time), v.labelled / about.windows.rows) for v in found]
        begun = min((at for at, _ in earned), default=None)
        spends = [at for at in retrains if begun is not None and at >= begun]
        # What was before makes no difference once an empty and a full purse have come to the same.
        low, high = (folded(earned, spends, about.campaign, first) for first in (0.0, MOST))
        if low == high:
            return low
    return folded(earned, retrains, about.campaign, FIRST)


def _start(store: Store, model: str, about: Published, base: int) -> datetime | None:
    """From when on the log is looked at.

    What the champion has not seen, but no more labelled rows than the longest stretch and the newest blocks need.
    """
    wanted = min(max((max(LENGTHS) + BLOCKS + 1) * about.windows.rows, round(GROWN * base)), LOG_ROWS)
    rows, start = 0, None
    for verdict in reversed(windows.verdicts(store, model, about.version)):
        rows, start = rows + verdict.labelled, parse_time(verdict.first_time)
        if rows >= wanted:
            return start
    return campaign_data.trained_until(store, model, about) or start


def _opening(
    model: str, verdict: Verdict, chosen: Choice, seen: Compared, prospect: Prospect, purse: Purse, why: str
) -> dict[str, Any]:
    found = seen.gain
    return {
        "model": model,
        "version": verdict.version,
        "window": verdict.window,
        "since": None,
        "first_time": rfc3339(chosen.since),
        "last_time": verdict.last_time,
        "layers": verdict.layers,
        "cause": GAIN,
        "words": f"{why}: quick models trained on {found.stretch.name} give {seen.words} than on the champion's data "
        f"({found.z:.1f} standard errors, on {found.rows} newer rows)",
        "cost_per_day": verdict.cost_per_day,
        "report": "",
        "why": why,
        "compared": {
            "verdict": verdict.verdict,
            "stretch": found.stretch.name,
            "gain": seen.ratio,
            "standard_errors": found.z,
            "rows": found.rows,
            "own_loss": found.own,
            "saved": found.losses,
            "training_rows": prospect.rows,
            "champion_rows": prospect.champion_rows,
            "retrains_left": purse.left,
        },
    }
