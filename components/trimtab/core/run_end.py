"""The end of a run on a cluster, as its last tasks put it down; locally the process that runs it does.

So a run that Kubeflow's own page, client or schedule started has its result too, with nobody following it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from trimtab.core import processes, runs
from trimtab.core.records import parse_time, read_record, utcnow
from trimtab.core.store.keys import number

if TYPE_CHECKING:
    from trimtab.core.stage_records import StageRecord
    from trimtab.core.store import Store


def outcome(store: Store, key: str) -> dict[str, Any]:
    """What a run came to, from its stages' records: version, winner, the winner's figures, what was cached."""
    results = runs.stage_results(store, key)
    selected = results.get("select", {}).get("figures", {})
    published = results.get("publish", {}).get("figures", {})
    return {
        "state": "succeeded",
        "version": str(published.get("version", "")),
        "winner": str(selected.get("winner", "")),
        "figures": selected,
        "cached": sorted(name for name, r in results.items() if "cached" in r),
    }


def note_cached_inputs(store: Store, record: StageRecord, inputs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Put down which stages of this run ran nothing, from the metadata of the artifacts that it came by.

    Args:
        store: where runs are recorded.
        record: the present stage's; of no run, or of one on this machine, nothing is put down.
        inputs: metadata of artifacts, the last step's first.

    Returns:
        The steps put down.
    """
    from trimtab.core.cached_stages import note_cached

    if not _on_cluster(store, record):
        return []
    return note_cached(store, record.key, record.attempt, [str(m.get("record", "")) for m in inputs])


def finish_on_cluster(store: Store, record: StageRecord) -> None:
    """Put down that a run on a cluster has succeeded; its last task calls it when its own result is down."""
    if not _on_cluster(store, record):
        return
    owner = read_record(store, f"runs/{record.key}/attempts/{number(record.attempt)}/owner.json", "run-owner")
    seconds = (utcnow() - parse_time(str(owner["written_at"]))).total_seconds()
    figures = {**outcome(store, record.key), "attempt": record.attempt, "seconds": round(seconds, 3)}
    runs.finish(store, record.key, figures)
    runs.end(store, record.key, record.attempt, "succeeded")


def _on_cluster(store: Store, record: StageRecord) -> bool:
    """Whether the run is a backend's: a local one is ended by the process that owns it."""
    if not record.key:
        return False
    mine = [a for a in runs.attempts(store, record.key) if a.n == record.attempt]
    return bool(mine) and processes.pid_of(mine[0].run_id) is None
