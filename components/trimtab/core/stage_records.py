"""What a stage leaves in the run record: that it started, its result or its error, its cost.

A stage learns which run it belongs to from its environment, never from a parameter, which would empty Kubeflow's
cache. Without one (a unit test, a user's own script) nothing is written.
"""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trimtab.core import processes
from trimtab.core.errors import NotFound, RunError, TrimtabError
from trimtab.core.records import create_record, read_record
from trimtab.core.store.keys import number

if TYPE_CHECKING:
    from trimtab.core.settings import Settings
    from trimtab.core.store import Store


@dataclass
class StageRecord:
    """What a stage says about itself while it runs.

    Attributes:
        key, attempt: the run it belongs to; empty and 0 where there is none.
        prefix: where its records lie; empty where it belongs to no run.
        figures: numbers and words for people: rows, scores, the version made.
        artifacts: digest of each artifact, by its name.
    """

    key: str = ""
    attempt: int = 0
    figures: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, str] = field(default_factory=dict)
    prefix: str = ""

    def result(self, figures: Mapping[str, Any], artifacts: Mapping[str, str] | None = None) -> None:
        """Say what came out; written when the stage ends well."""
        self.figures = dict(figures)
        self.artifacts = dict(artifacts or {})


def folder(key: str, attempt: int, stage: str, candidate: str = "") -> str:
    """The key prefix of a stage's records in one attempt.

    >>> folder("0123456789abcdef", 1, "train", "mlp")
    'runs/0123456789abcdef/attempts/00000001/train.mlp'
    """
    return f"runs/{key}/attempts/{number(attempt)}/{stage}{'.' + candidate if candidate else ''}"


@contextlib.contextmanager
def stage_record(stage: str, candidate: str = "") -> Iterator[StageRecord]:
    """Record a stage: started, then its result with cost, or its error.

    Args:
        stage: the stage's name.
        candidate: the candidate it works for, where there is one branch per candidate.

    Raises:
        RunError: the environment names a run that has claimed nothing.
        RunTimeout: the time of the run was over before.
    """
    from trimtab.core import settings as environment
    from trimtab.core import stage_limits
    from trimtab.core.logs import setup

    settings = environment.load()
    if not (settings.run_id or settings.run_key):
        yield StageRecord()
        return
    from trimtab.core.store import open_store

    if processes.pid_of(settings.run_id) is not None:
        processes.end_with(settings.run_id)
    store = open_store(settings.store, settings)
    key, attempt = _run(store, settings)
    setup(settings.log_level, run=key, stage=stage, candidate=candidate)
    here = folder(key, attempt, stage, candidate)
    # Locally a try follows its failure only when somebody starts the run again.
    known = None if processes.pid_of(settings.run_id) is not None else stage_limits.repeated_mistake(store, here)
    prefix = _open_try(store, here)
    record = StageRecord(key, attempt, prefix=prefix)
    cost = _Cost()

    def failed(error: Exception) -> None:
        facts = error.facts() if isinstance(error, TrimtabError) else _fault(error)
        create_record(store, f"{prefix}/error.json", "stage-error", {**facts, "cost": cost.spent()})

    try:
        if known is not None:
            raise known
        left = stage_limits.seconds_left(store, key, attempt, stage, settings)
        with stage_limits.deadline(stage, left, settings, failed), cost.gpu:
            yield record
    except Exception as error:
        failed(error)
        raise
    create_record(
        store,
        f"{prefix}/result.json",
        "stage-result",
        {"figures": record.figures, "artifacts": record.artifacts, "cost": cost.spent()},
    )


def stage_results(store: Store, key: str) -> dict[str, dict[str, Any]]:
    """The newest result of each stage of a run, by `<stage>` or `<stage>.<candidate>`.

    A stage whose result came from the cache has its source's result, with `cached` saying where that is from.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in store.list(f"runs/{key}/attempts/"):  # sorted: later attempts and tries come later
        parts = name.split("/")
        if len(parts) != 7:
            continue
        if parts[6] == "result.json":
            found[parts[4]] = read_record(store, name, "stage-result")
        elif parts[6] == "cached.json":
            cached = read_record(store, name, "stage-cached")
            try:
                source = read_record(store, f"{cached['source']}/result.json", "stage-result")
            except NotFound:
                source = {"figures": {}, "artifacts": {}, "cost": {}}
            found[parts[4]] = {**source, "cached": cached}
    return found


def errors(store: Store, key: str) -> list[dict[str, Any]]:
    """The errors of a run's newest attempt, each with `stage`; empty where none failed."""
    found: list[dict[str, Any]] = []
    newest = ""
    for name in store.list(f"runs/{key}/attempts/"):
        parts = name.split("/")
        if parts[3] != newest:
            newest, found = parts[3], []
        if len(parts) == 7 and parts[6] == "error.json":
            found.append({**read_record(store, name, "stage-error"), "stage": parts[4]})
    return found


def by_id(store: Store, run_id: str) -> tuple[str, int]:
    """Run key and attempt of a backend's run.

    Raises:
        RunError: that run has claimed nothing.
    """
    try:
        record = read_record(store, f"runs/by-id/{run_id}.json", "run-id")
    except NotFound:
        raise RunError(
            "this run has not claimed a run key", object=run_id, hint="its first task, define, does; look at its log"
        ) from None
    return str(record["key"]), int(record["attempt"])


def mark_cached(store: Store, key: str, attempt: int, stage: str, candidate: str, source: str, why: str) -> None:
    """Record that a stage's result came from the cache.

    Args:
        store: where runs are recorded.
        key: the run that took it.
        attempt: the attempt that took it.
        stage: the stage.
        candidate: the candidate of its branch, or empty.
        source: key prefix of the records of the stage that did the work.
        why: what was the same, in words.
    """
    prefix = _open_try(store, folder(key, attempt, stage, candidate), begin=False)
    create_record(store, f"{prefix}/cached.json", "stage-cached", {"source": source, "why": why})


def _run(store: Store, settings: Settings) -> tuple[str, int]:
    if settings.run_key and settings.run_attempt:
        return settings.run_key, settings.run_attempt
    return by_id(store, settings.run_id)


def _open_try(store: Store, prefix: str, begin: bool = True) -> str:
    n = 1
    while True:
        here = f"{prefix}/{number(n)}"
        if begin and create_record(store, f"{here}/started.json", "stage-started", {}):
            return here
        if not begin and next(iter(store.list(f"{here}/")), None) is None:
            return here
        n += 1


def _fault(error: Exception) -> dict[str, Any]:
    """A fault that no one foresaw, in the fields of an error record."""
    return {
        "kind": "InternalError",
        "message": f"{type(error).__name__}: {error}",
        "object": "",
        "expected": "",
        "got": "",
        "rows": [],
        "next_step": "this is a fault of the stage itself: its log holds the details; please report it",
    }


class _Cost:
    """Wall, CPU and GPU seconds and peak memory since it was made; of a GPU also how busy it was."""

    def __init__(self) -> None:
        from trimtab.core.gpus import Usage

        self._wall = time.monotonic()
        self._cpu = _cpu_seconds()
        self.gpu = Usage()

    def spent(self) -> dict[str, float]:
        """Seconds, and bytes for `…_bytes` (of the whole process, or its largest child)."""
        wall = time.monotonic() - self._wall
        # ru_maxrss is kibibytes on Linux, bytes on macOS.
        unit = 1 if sys.platform == "darwin" else 1024
        peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) * unit
        return {
            "wall_seconds": round(wall, 3),
            "cpu_seconds": round(_cpu_seconds() - self._cpu, 3),
            "peak_memory_bytes": float(peak),
            **self.gpu.spent(wall),
        }


def _cpu_seconds() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
