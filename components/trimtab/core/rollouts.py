"""Requests to serve a version, the evidence that is frozen for the judge, and servers' refusals.

A request decides nothing. It is undecided until the ledger holds a final event of its version behind the entry that
was the newest when it was made: no clock is asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from trimtab.core import ledger
from trimtab.core.errors import RecordError, RolloutError, StoreError
from trimtab.core.records import create_record, decode, parse_time, read_record
from trimtab.core.store.keys import check_key, check_name, number

if TYPE_CHECKING:
    from trimtab.core.store import Store

Kind = Literal["serve", "rollback", "promote"]
KINDS: tuple[Kind, ...] = ("serve", "rollback", "promote")
FINAL = frozenset({"promoted", "rolled_back", "rejected", "refused"})
_TRIES = 100


class Request(NamedTuple):
    """Somebody asks that a version serve, or cease to.

    Attributes:
        n: its number, from 1.
        version: which.
        kind: `serve` (by the rollout's rules), `rollback` (take this version back), `promote` (at once, by hand).
        who: the process or person that asks.
        why: in words.
        campaign: number of the campaign that trained it, if one did.
        run_key: the run that made it, if known.
        after_seq: the ledger's newest entry when it was made.
        at: when it was made, UTC.
    """

    n: int
    version: str
    kind: Kind
    who: str
    why: str
    campaign: int | None
    run_key: str
    after_seq: int
    at: datetime


class Refusal(NamedTuple):
    """A server would not load a version: which server, why, when (UTC)."""

    version: str
    server: str
    reason: str
    at: datetime


class Evidence(NamedTuple):
    """Figures frozen for the judge: their number, key, the sha256 of their bytes, and themselves."""

    k: int
    key: str
    digest: str
    figures: dict[str, Any]


def request(
    store: Store,
    model: str,
    version: str,
    *,
    kind: Kind,
    who: str,
    why: str,
    campaign: int | None = None,
    run_key: str = "",
) -> int:
    """Ask for a rollout; the number of the request.

    The same version, kind, campaign and run asked for again while undecided is the same request.

    Raises:
        RolloutError: no such kind.
        StoreError: the store did not take it.
    """
    if kind not in KINDS:
        raise RolloutError("no such kind of rollout request", expected=", ".join(KINDS), got=repr(kind))
    check_name(model)
    check_key(version)
    known: list[Request] = []
    for _ in range(_TRIES):
        known += requests(store, model, known[-1].n if known else 0)
        entries = ledger.read(store, model)
        for old in reversed(known):
            same = (old.version, old.kind, old.campaign, old.run_key) == (version, kind, campaign, run_key)
            if same and not is_decided(old, entries):
                return old.n
        n = known[-1].n + 1 if known else 1
        fields = {
            "version": version,
            "kind": kind,
            "who": who,
            "why": why,
            "campaign": campaign,
            "run_key": run_key,
            "after_seq": entries[-1].seq if entries else 0,
        }
        if create_record(store, f"{_base(model)}{number(n)}/requested.json", "rollout-request", fields):
            return n
    raise StoreError("others took every number for a rollout request", object=model, hint="try again")


def requests(store: Store, model: str, after: int = 0) -> list[Request]:
    """A model's rollout requests by number, those behind number `after`.

    Raises:
        RecordError: one cannot be read.
    """
    base = _base(check_name(model))
    found = []
    # '~' sorts behind whatever lies under that number.
    for key in store.list(base, after=f"{base}{number(after)}/~" if after else None):
        n, _, name = key.removeprefix(base).partition("/")
        if name == "requested.json" and n.isdigit():
            found.append(_parse(read_record(store, key, "rollout-request"), int(n), key))
    return found


def is_decided(asked: Request, entries: Iterable[ledger.Entry]) -> bool:
    """Whether the ledger holds a final event of the request's version that came after it. Pure.

    What a person asked for is decided by that event alone, or by one that names the request: a canary that the
    controller rejects at the moment when somebody takes it back must be taken back all the same.
    """
    return any(e.seq > asked.after_seq and e.version == asked.version and _decides(e, asked) for e in entries)


def _decides(entry: ledger.Entry, asked: Request) -> bool:
    if asked.kind == "serve":
        return entry.event in FINAL
    own = {"rollback": "rolled_back", "promote": "promoted"}[asked.kind]
    return entry.event == own or (entry.event in FINAL and (entry.evidence or {}).get("request") == asked.n)


def undecided(store: Store, model: str) -> list[Request]:
    """The requests that wait, by number.

    Raises:
        RecordError: a request or the ledger cannot be read.
    """
    asked = requests(store, model)
    entries = ledger.read(store, model) if asked else []
    return [one for one in asked if not is_decided(one, entries)]


def write_evidence(store: Store, model: str, n: int, k: int, figures: Mapping[str, Any]) -> bool:
    """Freeze figures as evidence `k` of request `n`; False where that number is taken (read what is there)."""
    key = f"{_base(check_name(model))}{number(n)}/evidence-{number(k)}.json"
    return create_record(store, key, "rollout-evidence", {"figures": dict(figures)})


def evidence(store: Store, model: str, n: int) -> list[Evidence]:
    """The evidence of a request, by number.

    Raises:
        RecordError: one cannot be read.
    """
    base = f"{_base(check_name(model))}{number(n)}/evidence-"
    found = []
    for key in store.list(base):
        k = key.removeprefix(base).removesuffix(".json")
        if k.isdigit():
            body = store.get(key)
            record = decode(body, "rollout-evidence", key)
            found.append(Evidence(int(k), key, hashlib.sha256(body).hexdigest(), dict(record["figures"])))
    return found


def refuse(store: Store, model: str, version: str, server: str, reason: str) -> None:
    """A server records that it will not load a version; saying so again changes nothing."""
    key = f"models/{check_name(model)}/refused/{version}/{server}.json"
    if not store.exists(key):
        create_record(store, key, "refusal", {"version": version, "server": server, "reason": reason})


def refusals(store: Store, model: str, version: str) -> list[Refusal]:
    """The refusals of a version, by server.

    Raises:
        RecordError: one cannot be read.
    """
    found = []
    for key in store.list(f"models/{check_name(model)}/refused/{version}/"):
        record = read_record(store, key, "refusal")
        found.append(
            Refusal(
                str(record["version"]), str(record["server"]), str(record["reason"]), parse_time(record["written_at"])
            )
        )
    return found


def _base(model: str) -> str:
    return f"models/{model}/rollouts/"


def _parse(record: Mapping[str, Any], n: int, key: str) -> Request:
    try:
        campaign = record["campaign"]
        kind = record["kind"]
        if kind not in KINDS:
            raise ValueError(kind)
        return Request(
            n=n,
            version=str(record["version"]),
            kind=cast("Kind", kind),
            who=str(record["who"]),
            why=str(record["why"]),
            campaign=None if campaign is None else int(campaign),
            run_key=str(record["run_key"]),
            after_seq=int(record["after_seq"]),
            at=parse_time(record["written_at"]),
        )
    except (KeyError, TypeError, ValueError):
        raise RecordError("a rollout request lacks a field or holds a wrong one", object=key) from None
