"""Which stages of a run on a cluster came from Kubeflow's cache, and whose work they were.

A cached task runs nothing, so it leaves no record. Each stage's artifacts name the record of the work that made them;
the tasks that always run (publish, deploy) read these names off what they are given, and put down the rest from there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from trimtab.core.records import read_record
from trimtab.core.stage_records import mark_cached
from trimtab.core.store.keys import number

if TYPE_CHECKING:
    from trimtab.core.store import Store

_NEVER = frozenset({"define", "publish", "deploy"})
_WHY = "Kubeflow's cache: the same image, settings and inputs"


def note_cached(store: Store, key: str, attempt: int, records: Iterable[str]) -> list[str]:
    """Put down the stages of this attempt that ran nothing.

    Args:
        store: where runs are recorded.
        key: the run that took them.
        attempt: its attempt.
        records: the records that its artifacts name, `runs/<key>/attempts/<n>/<stage>/<try>`; the last step first.

    Returns:
        The names of the stages put down, `<stage>` or `<stage>.<candidate>`.
    """
    mine = f"runs/{key}/attempts/{number(attempt)}"
    here = _stages(store, mine)
    noted: list[str] = []
    for record in records:
        origin = record.rsplit("/", 2)[0] if record.count("/") == 5 else ""
        if not origin or origin == mine:
            continue
        for step, source in _stages(store, origin).items():
            stage, _, candidate = step.partition(".")
            if stage in _NEVER or step in here or step in noted or not source:
                continue
            mark_cached(store, key, attempt, stage, candidate, source, _WHY)
            noted.append(step)
    return noted


def _stages(store: Store, attempt: str) -> dict[str, str]:
    """The steps that an attempt has records of, each with the record of the work behind it (empty: none yet)."""
    found: dict[str, str] = {}
    for name in store.list(f"{attempt}/"):
        parts = name.split("/")
        if len(parts) != 7:
            continue
        found.setdefault(parts[4], "")
        if parts[6] == "result.json":
            found[parts[4]] = name.rpartition("/")[0]
        elif parts[6] == "cached.json":
            found[parts[4]] = str(read_record(store, name, "stage-cached")["source"])
    return found
