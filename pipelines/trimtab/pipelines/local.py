"""Running the pipeline on this machine: opened as a run, executed by a child process, followed by its records.

The child (`python -m trimtab.pipelines.local`) reads what it runs from the run's request in the store.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trimtab.core import runs
from trimtab.core import settings as environment
from trimtab.core.errors import RunError, TrimtabError
from trimtab.core.records import decode, parse_time
from trimtab.pipelines import children
from trimtab.pipelines.steps import Step, steps
from trimtab.pipelines.work import work_folder

if TYPE_CHECKING:
    from trimtab.core.project import Project
    from trimtab.core.runs import RunRequest
    from trimtab.core.store import Store

_POLL_SECONDS = 0.1
_POLL_SECONDS_REMOTE = 1.0  # each look at an S3 store is a request


@dataclass(frozen=True)
class Progress:
    """One step of a run changed its state.

    Attributes:
        step: the step.
        state: `started`, `done`, `cached` or `failed`.
        record: the record that says so (figures, cost, error; for `cached` its source's result).
    """

    step: Step
    state: Literal["started", "done", "cached", "failed"]
    record: dict[str, Any]


@dataclass(frozen=True)
class RunOutcome:
    """How a run came out.

    Attributes:
        key: the run's key.
        state: `succeeded`; a run that fails raises.
        version: the version published; empty where the gates were not passed.
        winner: the candidate that won.
        figures: select's figures: the winner's metrics on the sealed test, the gates.
        cached: steps whose results came from the cache.
        seconds: wall time of this call.
        repeated: the run had succeeded before, and nothing was done.
        log: the log of the child process; None where nothing was done.
    """

    key: str
    state: str
    version: str
    winner: str
    figures: dict[str, Any]
    cached: list[str] = field(default_factory=list)
    seconds: float = 0.0
    repeated: bool = False
    log: Path | None = None


def make_request(
    project: Project,
    store: Store,
    *,
    data: Any = None,
    reason: str = "",
    release: Literal["ask", "hold"] = "ask",
    candidates: Sequence[str] | None = None,
    campaign: int | None = None,
    retrain: int | None = None,
    seed: int | None = None,
    base: RunRequest | None = None,
    base_key: str = "",
) -> RunRequest:
    """What is to be run, with its data fixed.

    With a `base`, the run under `base_key`, the key is made with that run's code version: the same retrain keeps its
    key while the installation is updated under it.

    Raises:
        ProjectError: a candidate is not in the project file, or the source is wrong.
        DataError: the data cannot be found.
    """
    from trimtab.core.sources import resolve
    from trimtab.pipelines.training import chosen
    from trimtab.pipelines.versions import code_version

    names = None if candidates is None else [c.name for c in chosen(project, candidates)]
    found = resolve(project.data.source if data is None else data, store, project.base)
    return runs.RunRequest(
        project=project.canonical(),
        data=found.source,
        source_digest=found.digest,
        reason=reason,
        release=release,
        campaign=campaign,
        retrain=retrain,
        seed=seed,
        candidates=names,
        base_key=base_key,
        image="" if base is None else base.image,
        code_version=code_version() if base is None else base.code_version,
    )


def run_local(
    project: Project,
    store_url: str,
    *,
    data: Any = None,
    reason: str = "",
    release: Literal["ask", "hold"] = "ask",
    again: bool = False,
    candidates: Sequence[str] | None = None,
    campaign: int | None = None,
    retrain: int | None = None,
    seed: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> RunOutcome:
    """Run a project on this machine and wait for it.

    The same project, data and code are one run: one that has succeeded is told as it was, one that was stopped or
    failed goes on where it stopped, with finished stages from the cache.

    Args:
        project: the project file.
        store_url: the store.
        data: a source in place of the file's own.
        reason: why, in words.
        release: `ask` for a rollout of what passes, or `hold`.
        again: run once more what has succeeded before.
        candidates: names of the candidates to train; None trains all.
        campaign: number of the campaign that asks.
        retrain: number of the retrain in it.
        seed: seed of split and training in place of the file's.
        progress: told each step as it starts and ends.

    Raises:
        DuplicateRun: another process is at work on this run.
        TrimtabError: a stage failed; it is the stage's own error.
    """
    from trimtab.core.store import open_store, probe

    began = time.monotonic()
    settings = environment.load()
    store = open_store(store_url, settings)
    probe(store, "run")
    request = make_request(
        project,
        store,
        data=data,
        reason=reason,
        release=release,
        candidates=candidates,
        campaign=campaign,
        retrain=retrain,
        seed=seed,
    )
    key = runs.open_run(store, request, again=again)
    done = runs.result(store, key)
    if done is not None:
        return _outcome(key, done, began, repeated=True)
    work = work_folder(store_url, settings)
    child = children.start(store, key, work, attached=True)
    try:
        _follow(store, key, child, progress)
    except BaseException:
        child.end()
        _say_cancelled(store, key, child)
        raise
    done = runs.result(store, key)
    if done is None:
        raise _failure(store, key, child)
    return _outcome(key, done, began, log=child.log)


def step_names(project: Project, candidates: Sequence[str] | None = None) -> list[Step]:
    """The steps that a run of this project takes, in order."""
    from trimtab.pipelines.training import chosen

    return steps([c.name for c in chosen(project, candidates)])


def _outcome(
    key: str, done: dict[str, Any], began: float, *, repeated: bool = False, log: Path | None = None
) -> RunOutcome:
    return RunOutcome(
        key=key,
        state=str(done["state"]),
        version=str(done["version"]),
        winner=str(done["winner"]),
        figures=dict(done["figures"]),
        cached=list(done["cached"]),
        seconds=round(time.monotonic() - began, 3),
        repeated=repeated,
        log=log,
    )


_STATES: dict[str, Literal["started", "done", "cached", "failed"]] = {
    "started.json": "started",
    "result.json": "done",
    "cached.json": "cached",
    "error.json": "failed",
}


def _follow(store: Store, key: str, child: children.Child, progress: Callable[[Progress], None] | None) -> None:
    """Wait for the child, and tell each new record of its attempt."""
    prefix = ""
    seen: set[str] = set()
    pause = _POLL_SECONDS if store.url.startswith("file:") else _POLL_SECONDS_REMOTE
    while True:
        alive = child.running  # asked before the records are read, so that none written before its end is missed
        if progress is not None:
            if not prefix:
                prefix = _attempt_prefix(store, key, child.name)
            if prefix:
                tell(store, prefix, seen, progress)
        if not alive:
            return
        time.sleep(pause)


def _attempt_prefix(store: Store, key: str, run_id: str) -> str:
    from trimtab.core.store.keys import number

    mine = [a for a in runs.attempts(store, key) if a.run_id == run_id]
    return f"runs/{key}/attempts/{number(mine[-1].n)}/" if mine else ""


def tell(store: Store, prefix: str, seen: set[str], progress: Callable[[Progress], None]) -> None:
    """Tell the records below an attempt's prefix that are not in `seen` yet, in the order they were written."""
    fresh = [name for name in store.list(prefix) if name not in seen]
    found: list[tuple[float, int, Progress]] = []
    for name in fresh:
        seen.add(name)
        parts = name.removeprefix(prefix).split("/")
        if len(parts) != 3 or parts[2] not in _STATES:
            continue
        state = _STATES[parts[2]]
        record = decode(store.get(name), f"stage-{parts[2].removesuffix('.json')}", name)
        written = parse_time(str(record["written_at"])).timestamp()
        if state == "cached" and store.exists(f"{record['source']}/result.json"):
            source = decode(store.get(f"{record['source']}/result.json"), "stage-result")
            record = {**source, "cached": record}
        found.append((written, len(found), Progress(Step.parse(parts[0]), state, record)))
    for _, _, told in sorted(found, key=lambda f: f[:2]):
        progress(told)


def _say_cancelled(store: Store, key: str, child: children.Child) -> None:
    for attempt in runs.attempts(store, key):
        if attempt.run_id == child.name:
            runs.end(store, key, attempt.n, "cancelled")


def _failure(store: Store, key: str, child: children.Child) -> TrimtabError:
    """Why the child ended without a result."""
    from trimtab.pipelines.runner import revive

    attempt = runs.newest(store, key)
    facts = attempt.error if attempt is not None and attempt.run_id == child.name else None
    if facts is None and child.failure.exists():
        facts = json.loads(child.failure.read_text())
    if facts is not None:
        error = revive(facts)
        return RunError(error.message, hint=f"its log is {child.log}") if type(error) is RunError else error
    return RunError(
        "the run was ended from outside",
        object=key,
        hint=f"start it again and it goes on where it stopped; its log is {child.log}",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The child's own entry: run one run to its end; 0 when it succeeded."""
    parser = argparse.ArgumentParser(prog="python -m trimtab.pipelines.local")
    for name in ("key", "store", "work"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--parent", default="")
    given = parser.parse_args(arguments)
    from trimtab.core.processes import local_id
    from trimtab.core.store import open_store
    from trimtab.pipelines.runner import end_group_on_sigterm, run_here
    from trimtab.pipelines.work import run_folder

    end_group_on_sigterm()
    if given.parent:
        children.end_with_parent(int(given.parent))
    try:
        run_here(open_store(given.store, environment.load()), given.key, Path(given.work))
    except TrimtabError as error:
        folder = run_folder(Path(given.work), given.key)
        (folder / f"{local_id()}.error.json").write_text(json.dumps(error.facts()))
        sys.stderr.write(error.sentence() + "\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
