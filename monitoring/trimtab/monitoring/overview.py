"""A model's state in one JSON object, and its ledger in words: what `status`, `history` and the hook show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trimtab.core import ledger, rollouts
from trimtab.core.records import rfc3339
from trimtab.monitoring import campaign, places, windows
from trimtab.monitoring.campaign_records import CampaignState, all_campaigns, controls

if TYPE_CHECKING:
    from trimtab.core.store import Store
    from trimtab.monitoring.windows import Verdict

# How many of the newest windows and campaigns are shown.
SHOWN = 5


def overview(store: Store, model: str) -> dict[str, Any]:
    """Champion, canary, newest windows and campaigns of a model.

    Raises:
        StoreError: the store cannot be read.
    """
    state = ledger.state(store, model)
    said = controls(store, model)
    serving = [v for v in (state.champion, state.canary) if v]
    verdicts = {v: windows.verdicts(store, model, v)[-SHOWN:] for v in serving}
    campaigns = all_campaigns(store, model)
    # The newest alone may be open, and an open one's phase is told by runs and ledger too.
    newest = campaign.state(store, model)
    if campaigns and newest is not None and newest.n == campaigns[-1].n:
        campaigns[-1] = newest
    return {
        "model": model,
        "champion": state.champion,
        "canary": state.canary,
        "canary_percent": state.canary_percent,
        "shadow": state.shadow,
        "rolled_back": sorted(state.rolled_back),
        "undecided": [
            {"request": r.n, "version": r.version, "kind": r.kind, "why": r.why}
            for r in rollouts.undecided(store, model)
        ],
        "paused": said.paused,
        "paused_why": said.why,
        "windows": [_window(verdict) for version in serving for verdict in verdicts[version]],
        "campaigns": [_campaign(store, one) for one in campaigns[-SHOWN:]],
        "campaigns_total": len(campaigns),
        "place": places.read_place(store, model),
    }


def _window(verdict: Verdict) -> dict[str, Any]:
    return {
        "version": verdict.version,
        "window": verdict.window,
        "verdict": verdict.verdict,
        "rows": verdict.rows,
        "labelled": verdict.labelled,
        "layers": dict(verdict.layers),
        "words": verdict.words,
        "cause": verdict.cause,
        "since": (verdict.since or {}).get("point"),
        "cost_per_day": verdict.cost_per_day,
        "performance": dict(verdict.performance),
        "report": verdict.report,
        "last_time": verdict.last_time,
    }


def _campaign(store: Store, one: CampaignState) -> dict[str, Any]:
    return {
        "campaign": one.n,
        "version": one.version,
        "phase": one.phase,
        "since": rfc3339(one.phase_since),
        "closed": one.closed,
        "outcome": one.outcome,
        "why": one.why if one.closed else campaign.waiting(store, one.model, one),
        "retrains": [
            {
                "retrain": r.k,
                "run": r.run["run_key"] if r.run else None,
                "version": r.version,
                "won": r.won if r.judged else None,
                "why": str(r.judged["why"]) if r.judged else "",
            }
            for r in one.retrains
        ],
    }


def event_words(entry: ledger.Entry) -> str:
    """A ledger entry as a sentence.

    >>> from datetime import UTC, datetime
    >>> at = datetime(2026, 11, 21, tzinfo=UTC)
    >>> event_words(ledger.Entry(3, "canaried", "v2-0a1b2c3d", 10, "controller", "it won", None, at, "", ""))
    'v2-0a1b2c3d answers 10 % of requests as canary: it won'
    """
    words = {
        "published": "was published",
        "shadowed": "is asked in the dark",
        "canaried": f"answers {entry.percent} % of requests as canary",
        "promoted": "was promoted",
        "rolled_back": "was taken back",
        "rejected": "was rejected",
        "refused": "was refused by a server",
    }
    return f"{entry.version} {words.get(entry.event, entry.event)}" + (f": {entry.why}" if entry.why else "")
