"""Running a pipeline in this process with KFP's local runner: what the child process of a local run does."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.core import runs
from trimtab.core.errors import RunError, TrimtabError
from trimtab.core.processes import local_id
from trimtab.core.run_end import outcome
from trimtab.core.stage_records import folder
from trimtab.pipelines import work as places
from trimtab.pipelines.steps import Step
from trimtab.pipelines.warm import LIGHT, WarmProcess, load

__all__ = ["end_group_on_sigterm", "outcome", "revive", "run_here"]

if TYPE_CHECKING:
    from trimtab.core.runs import RunRequest
    from trimtab.core.store import Store

_WHY = "the same code, settings, inputs and environment"


def run_here(store: Store, key: str, work: Path) -> None:
    """Run a recorded request to its end, and record how it ended.

    Args:
        store: the store; its URL is handed to the stages.
        key: the run, opened before.
        work: the local work folder.

    Raises:
        DuplicateRun: another process runs it, or it has succeeded.
        TrimtabError: a stage failed, with its own error.
    """
    began = time.monotonic()
    request = runs.read_request(store, key)
    me = local_id()
    attempt = runs.claim(store, key, me)
    try:
        _environment(store, work, key, me, request)
        _execute(store, key, attempt, request, work)
        shutil.rmtree(_scratch(work, key), ignore_errors=True)
    except Exception as error:
        known = _failure(store, key, error)
        runs.end(store, key, attempt, "failed", known.facts())
        raise known from error
    runs.finish(store, key, {**outcome(store, key), "attempt": attempt, "seconds": round(time.monotonic() - began, 3)})
    runs.end(store, key, attempt, "succeeded")


def _environment(store: Store, work: Path, key: str, run_id: str, request: RunRequest) -> None:
    """What every task inherits. Threads are part of what makes a fit repeatable, so they are pinned."""
    from trimtab.core.project import Project

    threads = str(Project.from_canonical(request.project).resources.threads)
    scratch = _scratch(work, key)
    scratch.mkdir(parents=True, exist_ok=True)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.update(
        {
            "TRIMTAB_STORE": store.url,
            "TRIMTAB_RUN_ID": run_id,
            "OMP_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "TOKENIZERS_PARALLELISM": "false",
            "DO_NOT_TRACK": "1",
            "TMPDIR": str(scratch),
        }
    )


def _scratch(work: Path, key: str) -> Path:
    return places.run_folder(work, key) / "scratch"


def _execute(store: Store, key: str, attempt: int, request: RunRequest, work: Path) -> None:
    # Forking is only safe where the system's libraries allow it; elsewhere KFP starts a fresh Python for each task.
    warm = WarmProcess() if sys.platform == "linux" else None
    try:
        _run_graph(store, key, attempt, request, work, warm)
    finally:
        if warm is not None:
            warm.close()


def _run_graph(store: Store, key: str, attempt: int, request: RunRequest, work: Path, warm: WarmProcess | None) -> None:
    from kfp import local

    from trimtab.core.project import Project
    from trimtab.core.records import canonical
    from trimtab.core.run_sources import MOST_BYTES
    from trimtab.pipelines import handler
    from trimtab.pipelines.cache import ProvenanceCache, install
    from trimtab.pipelines.training import build, component_steps
    from trimtab.pipelines.versions import code_version

    graph = build(
        Project.from_canonical(request.project),
        image=f"trimtab-stage-python:{code_version().replace('+', '-')}",
        code_version=request.code_version,
        seed=request.seed,
        candidates=request.candidates,
        salt=request.salt,
    )
    steps_of = component_steps(graph)

    def record_of(component: str) -> str:
        step = steps_of.get(component, Step(component.removeprefix("comp-")))
        results = sorted(store.list(folder(key, attempt, step.stage, step.candidate) + "/"))
        return results[-1].rpartition("/")[0] if results else ""

    def on_hit(component: str, source: str) -> None:
        step = steps_of.get(component, Step(component.removeprefix("comp-")))
        runs.mark_cached(store, key, attempt, step.stage, step.candidate, source, _WHY)

    warnings.simplefilter("ignore")  # the local runner's remarks on settings that only a cluster heeds
    places.discard_if_stale(work, store)
    root = places.cache(work)
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(places.artifacts(work)),
        workspace_root=str(_scratch(work, key) / "workspace"),
        enable_caching=True,
        cache_root=str(root),
    )
    install(ProvenanceCache(root, record_of, on_hit), root)
    if warm is not None:
        handler.install(warm)
        load(LIGHT)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    data = canonical(request.data).decode()
    # What is too long for a command line, define reads from the request.
    data = data if len(data) <= MOST_BYTES else ""
    graph(data=data, key=key, reason=request.reason, release=request.release)


def _failure(store: Store, key: str, error: Exception) -> TrimtabError:
    """The typed error behind a failed pipeline: the stage's own, where it left one."""
    if isinstance(error, TrimtabError):
        return error
    found = runs.errors(store, key)
    if found:
        return revive(found[-1])
    task = re.search(r"Inner task failed: (.*)\.$", str(error))
    if task is None:
        hint = "pip install 'trimtab[pipelines,train]'" if isinstance(error, ModuleNotFoundError) else ""
        return RunError(f"the pipeline could not be run: {type(error).__name__}: {error}", object=key, hint=hint)
    stage = re.sub(r"\x1b\[[0-9;]*m|'", "", task[1])
    return RunError(
        f"stage {stage} ended without saying why",
        object=key,
        hint="it was killed, most likely for memory",
    )


def revive(facts: dict[str, Any]) -> TrimtabError:
    """The error that a record's facts describe, of its own class where we have it (so that its exit code holds)."""
    classes: dict[str, type[TrimtabError]] = {}
    stack: list[type[TrimtabError]] = [TrimtabError]
    while stack:
        found = stack.pop()
        classes[found.__name__] = found
        stack += found.__subclasses__()
    message = str(facts.get("message", "a stage failed"))
    kind = classes.get(str(facts.get("kind")), RunError)
    if kind.__name__ == "RequestError":
        kind = RunError
    if facts.get("kind") == "InternalError":
        stage = facts.get("stage", "")
        return RunError(f"stage {stage} failed by a fault of its own: {message}")
    return kind(message)


def end_group_on_sigterm() -> None:
    """Take the running stage along when this process is told to end; the run counts as killed and can go on."""

    def handler(_signal: int, _frame: object) -> None:
        os.killpg(0, signal.SIGKILL)

    signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGINT, handler)
