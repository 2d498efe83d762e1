"""The append-only, hash-chained history of a model's versions.

One record an entry, `models/<name>/ledger/<seq>.json`, written by `create` under the number after the newest: of two
writers one wins, the other folds again and decides again. Each entry carries the sha256 of the bytes of the one
before. Champion, canary and shadow are folds over the entries; the rollout controller alone appends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from trimtab.core.errors import NotFound, RecordError, RolloutError
from trimtab.core.records import decode, encode, parse_time, rfc3339, utcnow
from trimtab.core.store.keys import check_name, number

if TYPE_CHECKING:
    from trimtab.core.store import Store

EVENTS = ("published", "shadowed", "canaried", "promoted", "rolled_back", "rejected", "refused")
_NOUN = "ledger-entry"


class Entry(NamedTuple):
    """One event in the life of a version.

    Attributes:
        seq: its number, from 1.
        event: one of `EVENTS`.
        version: whose.
        percent: share of requests, for `canaried`.
        who: the process or person that caused it.
        why: in words.
        evidence: what it rests on; a frozen record by `key` and `digest`, where there is one.
        at: when it was written, UTC; never before the entry before it.
        previous: sha256 (hex) of the bytes of the entry before; empty for the first.
        digest: sha256 (hex) of its own bytes.
    """

    seq: int
    event: str
    version: str
    percent: int
    who: str
    why: str
    evidence: Mapping[str, Any] | None
    at: datetime
    previous: str
    digest: str


class State(NamedTuple):
    """What the entries up to `seq` add up to.

    Attributes:
        seq: number of the newest entry, 0 before the first.
        head: its digest, empty before the first.
        champion: the version that serves; None before the first promotion.
        canary: the version that gets `canary_percent` of the requests.
        canary_percent: 0 to 100; 0 without a canary.
        shadow: the version that is asked in the dark.
        promoted: every version ever promoted, the latest promotion last.
        rolled_back: versions taken back; a promotion by hand brings one back.
        rejected: versions that lost, were superseded, or that a server refused.
        at: time of the newest entry.
    """

    seq: int = 0
    head: str = ""
    champion: str | None = None
    canary: str | None = None
    canary_percent: int = 0
    shadow: str | None = None
    promoted: tuple[str, ...] = ()
    rolled_back: frozenset[str] = frozenset()
    rejected: frozenset[str] = frozenset()
    at: datetime | None = None

    def before(self, version: str) -> str | None:
        """The version to return to when `version` goes: the latest promoted one that is not itself rolled back."""
        good = [v for v in self.promoted if v != version and v not in self.rolled_back]
        return good[-1] if good else None


def read(store: Store, model: str, after_seq: int = 0, head: str | None = None) -> list[Entry]:
    """The entries of a model's ledger, the chain of digests checked.

    Args:
        store: where it lies.
        model: whose.
        after_seq: read what comes behind this entry only.
        head: digest of that entry, when it is known; else it is read again.

    Raises:
        RecordError: an entry is missing, was changed, or is not readable.
    """
    base = f"models/{check_name(model)}/ledger/"
    if after_seq == 0:
        head = ""
    elif head is None:
        head = hashlib.sha256(_get(store, base, after_seq)).hexdigest()
    entries: list[Entry] = []
    newest = after_seq
    for key in store.list(base, after=f"{base}{number(after_seq)}.json"):
        stem = key.removeprefix(base).removesuffix(".json")
        if stem.isdigit():
            newest = max(newest, int(stem))
    for seq in range(after_seq + 1, newest + 1):
        body = _get(store, base, seq)
        entry = _parse(body, f"{base}{number(seq)}.json", seq)
        if entry.previous != head:
            raise RecordError(
                f"the ledger's chain is broken: entry {seq} does not follow from entry {seq - 1}",
                object=f"{store.url}/{base}{number(seq)}.json",
                expected=f"previous {head[:16] or 'empty'}",
                got=entry.previous[:16] or "empty",
                hint="an entry was changed after it was written: compare with a backup of the store",
            )
        head = entry.digest
        entries.append(entry)
    return entries


def fold(entries: Iterable[Entry], state: State | None = None) -> State:
    """Add entries to a state, by default to the empty one. Pure."""
    now = state or State()
    for entry in entries:
        now = _apply(now, entry)._replace(seq=entry.seq, head=entry.digest, at=entry.at)
    return now


def state(store: Store, model: str) -> State:
    """Where a model's versions stand.

    Raises:
        RecordError: as `read`.
    """
    return fold(read(store, model))


def refresh(store: Store, model: str, known: State) -> State:
    """The state now, reading only what came after a known one: for those who ask several times a second.

    Raises:
        RecordError: as `read`.
    """
    entries = read(store, model, known.seq, known.head)
    return fold(entries, known) if entries else known


def state_at(store: Store, model: str, moment: datetime) -> State:
    """Where a model's versions stood at a moment: which served at 14:05 last Tuesday?

    Raises:
        RecordError: as `read`.
    """
    return fold(entry for entry in read(store, model) if entry.at <= moment)


def append(
    store: Store,
    model: str,
    event: str,
    version: str,
    *,
    expect: State,
    who: str,
    why: str,
    percent: int = 0,
    evidence: Mapping[str, Any] | None = None,
) -> State | None:
    """Append an entry behind the state that the decision rests on.

    Args:
        store: where the ledger lies.
        model: whose.
        event: one of `EVENTS`.
        version: whose event it is.
        expect: the state that was decided on.
        who: the process or person that causes it.
        why: in words.
        percent: share of requests, 0 to 100, for `canaried`.
        evidence: what it rests on, e.g. `{"key": …, "digest": …}`.

    Returns:
        The state with the entry, or None when somebody else appended first: fold again and decide again.

    Raises:
        RolloutError: no such event or share.
    """
    if event not in EVENTS or not version:
        raise RolloutError("no entry for a ledger", expected=f"one of {', '.join(EVENTS)}, of a version", got=event)
    if not 0 <= percent <= 100 or (percent and event != "canaried"):
        raise RolloutError(
            "no share of requests", object=event, expected="0 to 100, for canaried alone", got=str(percent)
        )
    seq = expect.seq + 1
    key = f"models/{check_name(model)}/ledger/{number(seq)}.json"
    # Clocks of two writers may differ; time in the ledger does not run backwards.
    at = max(utcnow(), expect.at) if expect.at else utcnow()
    body = encode(
        _NOUN,
        {
            "seq": seq,
            "event": event,
            "version": version,
            "percent": percent,
            "who": who,
            "why": why,
            "evidence": dict(evidence) if evidence is not None else None,
            "at": rfc3339(at),
            "previous": expect.head,
        },
    )
    if not store.create(key, body):
        return None
    return fold([_parse(body, key, seq)], expect)


def _apply(now: State, entry: Entry) -> State:
    version = entry.version
    if entry.event == "shadowed":
        return now._replace(shadow=version)
    if entry.event == "canaried":
        return now._replace(
            canary=version,
            canary_percent=entry.percent,
            shadow=None if now.shadow == version else now.shadow,
            rejected=now.rejected - {version},
        )
    if entry.event == "promoted":
        return _without(now, version)._replace(
            champion=version,
            promoted=(*(v for v in now.promoted if v != version), version),
            rolled_back=now.rolled_back - {version},
            rejected=now.rejected - {version},
        )
    if entry.event in {"rolled_back", "refused"}:
        gone = _without(now, version)._replace(
            rolled_back=now.rolled_back | ({version} if entry.event == "rolled_back" else set()),
            rejected=now.rejected | ({version} if entry.event == "refused" else set()),
        )
        return gone._replace(champion=gone.before(version)) if now.champion == version else gone
    if entry.event == "rejected":
        return _without(now, version)._replace(rejected=now.rejected | {version})
    return now


def _without(now: State, version: str) -> State:
    """The state with a version neither canary nor shadow."""
    if now.canary == version:
        now = now._replace(canary=None, canary_percent=0)
    return now._replace(shadow=None) if now.shadow == version else now


def _get(store: Store, base: str, seq: int) -> bytes:
    try:
        return store.get(f"{base}{number(seq)}.json")
    except NotFound:
        raise RecordError(
            f"the ledger's entry {seq} is missing, and later ones are there",
            object=f"{store.url}/{base}{number(seq)}.json",
            hint="restore it from a backup of the store",
        ) from None


def _parse(body: bytes, key: str, seq: int) -> Entry:
    record = decode(body, _NOUN, key)
    try:
        entry = Entry(
            seq=int(record["seq"]),
            event=str(record["event"]),
            version=str(record["version"]),
            percent=int(record["percent"]),
            who=str(record["who"]),
            why=str(record["why"]),
            evidence=record["evidence"],
            at=parse_time(record["at"]),
            previous=str(record["previous"]),
            digest=hashlib.sha256(body).hexdigest(),
        )
    except (KeyError, TypeError, ValueError):
        raise RecordError("a ledger entry lacks a field or holds a wrong one", object=key) from None
    if entry.seq != seq or entry.event not in EVENTS:
        raise RecordError(
            "a ledger entry is not what its key says",
            object=key,
            expected=f"entry {seq} with one of {', '.join(EVENTS)}",
            got=f"entry {entry.seq}, {entry.event}",
        )
    return entry
