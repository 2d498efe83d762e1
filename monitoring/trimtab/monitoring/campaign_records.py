"""A campaign's records and their fold.

A campaign is one bounded answer to one drift, or, with `campaign.opens: gain`, to other data shown to answer better.
Keys, each created once and never overwritten::

    campaigns/<model>/<n>/opened.json                 the verdict or gain that opened it; n = 1 + campaigns closed
    campaigns/<model>/<n>/retrain-<k>/data.json       what retrain k is trained and judged on
    campaigns/<model>/<n>/retrain-<k>/run.json        its pipeline run
    campaigns/<model>/<n>/retrain-<k>/again-<t>.json  the run died without a result and was taken up again
    campaigns/<model>/<n>/retrain-<k>/judged.json     won or not, and why
    campaigns/<model>/<n>/closed.json                 promoted, rejected, failed or cancelled, and why
    campaigns/<model>/controls/<n>.json               pause, resume, approve, cancel: what people said
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from trimtab.core.errors import RecordError
from trimtab.core.records import create_record, decode, parse_time
from trimtab.core.store import Store
from trimtab.core.store.keys import number

Phase = Literal["debounce", "training", "judging", "releasing", "following", "cooling"]
Outcome = Literal["promoted", "rejected", "failed", "cancelled"]
Action = Literal["pause", "resume", "approve", "cancel"]

OPENED, DATA, RUN, AGAIN = "campaign-opened", "campaign-data", "campaign-run", "campaign-again"
JUDGED, CLOSED, CONTROL = "judged", "campaign-closed", "control"
# The cause of a campaign that answers no drift; others have the verdict's.
GAIN = "gain"


@dataclass(frozen=True)
class Retrain:
    """One pipeline run of a campaign, as far as it has come; the dicts are the records, None where not there yet."""

    k: int
    data: dict[str, Any]
    run: dict[str, Any] | None = None
    again: int = 0
    judged: dict[str, Any] | None = None

    @property
    def won(self) -> bool:
        """Judged, and good enough to be released."""
        return bool(self.judged and self.judged["won"])

    @property
    def version(self) -> str | None:
        """The version that it published, once judged."""
        return self.judged.get("version") if self.judged else None


@dataclass(frozen=True)
class CampaignState:
    """One campaign: the fold of its records.

    Attributes:
        n: its number.
        model: the model's name.
        version: the champion that is to be bettered.
        phase: where it stands; `cooling` once closed.
        opened: the opening record (verdict, window, since, …).
        retrains: its retrains in order.
        closed: whether it has ended.
        outcome, why: how it ended; empty while open.
        closing: the closing record; empty while open.
    """

    n: int
    model: str
    version: str
    phase: Phase
    opened: dict[str, Any]
    retrains: tuple[Retrain, ...] = ()
    closed: bool = False
    outcome: str = ""
    why: str = ""
    closing: dict[str, Any] = field(default_factory=dict)

    @property
    def by_gain(self) -> bool:
        """Opened without a drift: other data were shown to answer better."""
        return self.opened.get("cause") == GAIN

    @property
    def phase_since(self) -> datetime:
        """When the phase began, as the records have it, UTC."""
        last = self.retrains[-1] if self.retrains else None
        newest: dict[str, Any] = self.opened
        if self.closed:
            newest = self.closing
        elif last is not None:
            newest = last.judged or last.run or last.data
            if self.phase == "training":
                newest = last.data
        return parse_time(newest["written_at"])


@dataclass(frozen=True)
class Controls:
    """What people said about a model's campaigns."""

    paused: bool = False
    why: str = ""
    approved: frozenset[int] = frozenset()
    cancelled: frozenset[int] = frozenset()


def folder(model: str, n: int) -> str:
    """The prefix of a campaign's keys, without a slash at the end."""
    return f"campaigns/{model}/{number(n)}"


def retrain_folder(model: str, n: int, k: int) -> str:
    """The prefix of a retrain's keys, without a slash at the end."""
    return f"{folder(model, n)}/retrain-{number(k)}"


def all_campaigns(store: Store, model: str) -> list[CampaignState]:
    """Every campaign of the model, oldest first."""
    keys: dict[int, list[str]] = {}
    for key in store.list(f"campaigns/{model}/"):
        segment = key.split("/")[2]
        if segment.isdigit():
            keys.setdefault(int(segment), []).append(key)
    found = [fold(store, model, n, keys[n]) for n in sorted(keys)]
    return [c for c in found if c is not None]


def newest(store: Store, model: str) -> CampaignState | None:
    """The newest campaign, open or closed, reading its records alone; None before the first."""
    latest = max((k.split("/")[2] for k in store.list(f"campaigns/{model}/") if k.split("/")[2].isdigit()), default="")
    return fold(store, model, int(latest), list(store.list(f"campaigns/{model}/{latest}/"))) if latest else None


def fold(store: Store, model: str, n: int, keys: Iterable[str]) -> CampaignState | None:
    """A campaign from the keys under its prefix; None where the opening record is not there."""
    prefix = folder(model, n) + "/"
    names = {key[len(prefix) :]: key for key in keys}
    if "opened.json" not in names:
        return None

    def read(name: str, noun: str) -> dict[str, Any] | None:
        return decode(store.get(names[name]), noun, names[name]) if name in names else None

    opened = read("opened.json", OPENED)
    assert opened is not None
    retrains: list[Retrain] = []
    while data := read(f"retrain-{number(len(retrains) + 1)}/data.json", DATA):
        k = len(retrains) + 1
        part = f"retrain-{number(k)}/"
        again = sum(name.startswith(f"{part}again-") for name in names)
        retrains.append(Retrain(k, data, read(f"{part}run.json", RUN), again, read(f"{part}judged.json", JUDGED)))
    closing = read("closed.json", CLOSED)
    return CampaignState(
        n=n,
        model=model,
        version=str(opened["version"]),
        phase=_phase(retrains, closing is not None),
        opened=opened,
        retrains=tuple(retrains),
        closed=closing is not None,
        outcome=str(closing["outcome"]) if closing else "",
        why=str(closing["why"]) if closing else "",
        closing=closing or {},
    )


def _phase(retrains: list[Retrain], closed: bool) -> Phase:
    """The phase as the campaign's own records tell it; `following` is known from the ledger (`campaign.state`)."""
    if closed:
        return "cooling"
    if not retrains:
        return "debounce"
    last = retrains[-1]
    if last.judged is None:
        return "training"
    return "releasing" if last.won else "judging"


def controls(store: Store, model: str) -> Controls:
    """The fold of what people said."""
    paused, why = False, ""
    approved: set[int] = set()
    cancelled: set[int] = set()
    for key in store.list(f"campaigns/{model}/controls/"):
        record = decode(store.get(key), CONTROL, key)
        action, campaign = record.get("action"), record.get("campaign")
        if action in {"pause", "resume"}:
            paused, why = action == "pause", str(record.get("why", ""))
        elif campaign is not None and action in {"approve", "cancel"}:
            (approved if action == "approve" else cancelled).add(int(campaign))
    return Controls(paused, why if paused else "", frozenset(approved), frozenset(cancelled))


def control(
    store: Store, model: str, action: Action, *, who: str, why: str, campaign: int | None = None
) -> dict[str, Any]:
    """Record what a person said.

    Args:
        store: where.
        model: the model's name.
        action: `approve` and `cancel` name a campaign, `pause` and `resume` concern the model.
        who: who says so.
        why: for the history.
        campaign: the campaign's number.

    Raises:
        RecordError: `approve` or `cancel` without a campaign.
    """
    if action in {"approve", "cancel"} and campaign is None:
        raise RecordError(f"{action} names no campaign", object=model)
    fields = {"action": action, "who": who, "why": why, "campaign": campaign}
    last = 0
    for key in store.list(f"campaigns/{model}/controls/"):
        last = int(key.rsplit("/", 1)[1].removesuffix(".json"))
    while not create_record(store, f"campaigns/{model}/controls/{number(last + 1)}.json", CONTROL, fields):
        last += 1
    return fields
