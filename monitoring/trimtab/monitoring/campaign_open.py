"""Whether an alert opens a campaign.

An alert is a nudge, not evidence: the newest verdict about the champion decides. One `create` under the number that
every rival would choose makes it exactly one campaign, however many alerts, hooks and restarts there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from trimtab.core import ledger
from trimtab.core.records import create_record, parse_time, utcnow
from trimtab.monitoring import windows
from trimtab.monitoring.campaign_budget import Spent, spent
from trimtab.monitoring.campaign_records import OPENED, CampaignState, Controls, all_campaigns, controls, folder
from trimtab.monitoring.champion import Published, published

if TYPE_CHECKING:
    from trimtab.core.policies import Campaign
    from trimtab.core.store import Store
    from trimtab.monitoring.windows import Verdict

# A lost campaign's cool-down doubles with each loss in a row, so many times at most.
DOUBLINGS = 5


@dataclass(frozen=True)
class Answer:
    """What an alert led to: the campaign that answers it, or the reason why none does."""

    campaign: int | None = None
    reason: str = ""

    def body(self) -> dict[str, Any]:
        """As the hook's JSON: `{"campaign": n}` or `{"reason": "…"}`."""
        return {"campaign": self.campaign} if self.campaign is not None else {"reason": self.reason}


def answer(store: Store, model: str, *, why: str = "", now: datetime | None = None) -> Answer:
    """Answer an alert about a model: open a campaign, or say why not.

    Args:
        store: the store.
        model: the model's name.
        why: the alert's summary, for the record.
        now: the present moment, for the budget.

    Returns:
        The open campaign's number, freshly opened or not, or a reason.
    """
    champion = ledger.state(store, model).champion
    if champion is None:
        return Answer(reason=f"{model} has no champion")
    while True:
        campaigns = all_campaigns(store, model)
        if campaigns and not campaigns[-1].closed:
            return Answer(campaigns[-1].n)
        verdict = windows.latest(store, model, champion)
        about = published(store, model, champion)
        taken = spent(store, campaigns, about.campaign, now or utcnow())
        reason = refusal(about, verdict, campaigns, controls(store, model), taken)
        if reason or verdict is None:
            return Answer(reason=reason)
        n = len(campaigns) + 1
        # Where a rival took the number first, the next round finds its campaign.
        if create_record(store, f"{folder(model, n)}/opened.json", OPENED, _opening(model, verdict, why)):
            return Answer(n)


def refusal(
    about: Published, verdict: Verdict | None, campaigns: Sequence[CampaignState], said: Controls, taken: Spent
) -> str:
    """Why no campaign may open now; empty where one may. Pure.

    Args:
        about: the champion.
        verdict: the newest verdict about it.
        campaigns: all of the model's campaigns, each closed.
        said: what people said.
        taken: what the campaigns have spent.
    """
    if verdict is None:
        return f"{about.version} has no window with a verdict yet"
    if verdict.verdict != "drift":
        return f"the newest verdict about {about.version} is {verdict.verdict!r} (window {verdict.window})"
    if why := held(about, said, taken):
        return why
    return after(campaigns, about, verdict) if campaigns else ""


def held(about: Published, said: Controls, taken: Spent) -> str:
    """Why no campaign at all may open, whatever it would answer; empty where one may."""
    if about.campaign.paused:
        return "the project file pauses campaigns"
    if said.paused:
        return f"paused: {said.why}" if said.why else "paused"
    return taken.over(about.campaign)


def after(campaigns: Sequence[CampaignState], about: Published, verdict: Verdict) -> str:
    """Why it is too early after the last campaign; empty where it is not."""
    last = campaigns[-1]
    if last.outcome == "promoted":
        end = last.closing.get("data_end")
        upper = (verdict.since or {}).get("upper") or verdict.last_time
        if end and upper and parse_time(str(upper)) <= parse_time(str(end)):
            return f"campaign {last.n} has answered this: its data reach beyond the change"
        return ""
    return cooling(campaigns, about, verdict.window)


def cooling(campaigns: Sequence[CampaignState], about: Published, window: int) -> str:
    """Why the champion's window of this number is too early after a lost campaign; empty where it is not."""
    last = campaigns[-1] if campaigns else None
    if last is None or last.outcome == "promoted" or last.closing.get("champion") != about.version:
        return ""
    if last.closing.get("undecided") and not (len(campaigns) > 1 and campaigns[-2].closing.get("undecided")):
        return ""  # nothing was shown, and the data have grown since: the next one may begin at once
    losses = 0
    for campaign in reversed(campaigns):
        if campaign.outcome == "promoted":
            break
        losses += 1
    wait = pause(losses, about.campaign)
    passed = window - int(last.closing.get("window") or 0)
    if passed < wait:
        return f"cooling down after campaign {last.n} ({last.outcome}): {passed} of {wait:g} windows"
    return ""


def pause(losses: int, policy: Campaign) -> float:
    """Windows that the next campaign waits after so many lost in a row.

    >>> from trimtab.core.policies import Campaign
    >>> [pause(n, Campaign()) for n in (1, 2, 3)]
    [2.0, 4.0, 8.0]
    """
    return policy.cooldown_windows * float(1 << min(losses - 1, DOUBLINGS))


def _opening(model: str, verdict: Verdict, why: str) -> dict[str, Any]:
    return {
        "model": model,
        "version": verdict.version,
        "window": verdict.window,
        "since": verdict.since,
        "first_time": verdict.first_time,
        "last_time": verdict.last_time,
        "layers": verdict.layers,
        "cause": verdict.cause,
        "words": verdict.words,
        "cost_per_day": verdict.cost_per_day,
        "report": verdict.report,
        "why": why,
    }
