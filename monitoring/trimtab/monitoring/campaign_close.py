"""How a campaign ends: what became of what it released, what it tried, and its closing record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trimtab.core import ledger, rollouts
from trimtab.core.records import create_record
from trimtab.monitoring import windows
from trimtab.monitoring.campaign_records import CLOSED, CampaignState, Outcome, Retrain, folder

if TYPE_CHECKING:
    from trimtab.core.store import Store

# A rollout in which nothing was shown, neither way: rows or time ran out and the champion stayed.
UNDECIDED = "undecided"


def fate(store: Store, model: str, retrain: Retrain) -> str:
    """What became of a released version: `promoted`, why it did not, or empty while that is open."""
    assert retrain.judged is not None
    behind = int(retrain.judged.get("ledger_seq") or 0)
    for entry in ledger.read(store, model):
        if entry.seq > behind and entry.version == retrain.version:
            if entry.event == "promoted":
                return "promoted"
            if entry.event in rollouts.FINAL:
                return f"{entry.event.replace('_', ' ')}: {entry.why}"
    return ""


def close(store: Store, model: str, at: CampaignState, outcome: Outcome, why: str) -> str:
    """Write the closing record, once; what was done, in words."""
    champion = ledger.state(store, model).champion
    verdict = windows.latest(store, model, champion) if champion else None
    used = [r for r in at.retrains if r.version is not None and r.version == champion]
    fields = {
        "outcome": outcome,
        "why": why,
        "undecided": outcome == "rejected" and why.startswith(f"rejected: {UNDECIDED} "),
        "champion": champion,
        "window": verdict.window if verdict else 0,
        "data_end": used[-1].data["until"] if used else None,
        "retrains": sum(r.run is not None for r in at.retrains),
        "tried": tried(at),
    }
    create_record(store, f"{folder(model, at.n)}/closed.json", CLOSED, fields)
    return f"campaign {at.n} closed: {outcome}, {why}"


def tried(at: CampaignState) -> list[dict[str, Any]]:
    """What each retrain of a campaign was trained on and how it was judged: for whoever has to go on from there."""
    return [
        {
            "retrain": r.k,
            "run_key": str(r.run["run_key"]) if r.run else None,
            "version": r.version,
            "trained_on": str(r.data.get("why") or ""),
            "candidates": r.data.get("candidates"),
            "won": r.won,
            "why": str(r.judged["why"]) if r.judged else "",
            "figures": r.judged.get("figures") if r.judged else None,
        }
        for r in at.retrains
    ]


def lost_in_a_row(campaigns: Sequence[CampaignState]) -> int:
    """How many campaigns were lost since the last that was won: rejected on evidence, or failed."""
    lost = 0
    for campaign in reversed(campaigns):
        if campaign.outcome == "promoted":
            break
        lost += campaign.outcome in {"rejected", "failed"} and not campaign.closing.get("undecided")
    return lost
