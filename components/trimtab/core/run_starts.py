"""Starts of a run that came to nothing: a second one for a key that is taken, and one that could not even have a key.

Keys below `runs/`::

    <key>/duplicates/<backend's run id>.json    this start found the key taken, by whom, and did nothing
    by-id/<backend's run id>.error.json         this start failed before it had a key
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trimtab.core.errors import NotFound, TrimtabError
from trimtab.core.records import create_record, read_record

if TYPE_CHECKING:
    from trimtab.core.store import Store


@dataclass(frozen=True)
class Duplicate:
    """A start that ended as a duplicate: its id, the owner's id and attempt (empty and 0: the run had succeeded)."""

    run_id: str
    owner: str
    attempt: int


def note_duplicate(store: Store, key: str, run_id: str) -> None:
    """Put down that a backend's run found its key taken."""
    from trimtab.core.runs import newest, result

    last = newest(store, key) if result(store, key) is None else None
    facts = {"owner": last.run_id if last else "", "attempt": last.n if last else 0}
    create_record(store, f"runs/{key}/duplicates/{run_id}.json", "run-duplicate", facts)


def duplicates(store: Store, key: str) -> list[Duplicate]:
    """The starts of a key that ended as duplicates, by their ids."""
    found = []
    for name in store.list(f"runs/{key}/duplicates/"):
        record = read_record(store, name, "run-duplicate")
        run_id = name.rpartition("/")[2].removesuffix(".json")
        found.append(Duplicate(run_id, str(record["owner"]), int(record["attempt"])))
    return found


def note_failed_start(store: Store, run_id: str, error: TrimtabError) -> None:
    """Put down why a backend's run failed before it had a key."""
    create_record(store, f"runs/by-id/{run_id}.error.json", "stage-error", {**error.facts(), "stage": "define"})


def failed_start(store: Store, run_id: str) -> dict[str, Any] | None:
    """Why a backend's run failed before it had a key, in the fields of an error record; None where it did not."""
    try:
        return read_record(store, f"runs/by-id/{run_id}.error.json", "stage-error")
    except NotFound:
        return None
