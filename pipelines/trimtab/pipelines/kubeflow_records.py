"""What the store knows of runs on a cluster: where each was started, that it is to be cancelled, how it ended.

Keys below `runs/<key>/`::

    kubeflow/<backend id>/started.json     where it runs: host, namespace, pipeline, version, address
    kubeflow/<backend id>/cancel.json      somebody asked for its end: the FAILED that follows means cancelled
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from trimtab.core import runs
from trimtab.core.errors import RunError
from trimtab.core.processes import pid_of
from trimtab.core.records import create_record, read_record
from trimtab.core.run_starts import failed_start

if TYPE_CHECKING:
    from trimtab.core.store import Store
    from trimtab.pipelines.kubeflow_api import Kubeflow
    from trimtab.pipelines.kubeflow_models import BackendRun


@dataclass(frozen=True)
class Started:
    """One run of a backend for a key.

    Attributes:
        run_id: the backend's id.
        host, namespace: where it is.
        pipeline_id, version_id, version: what it runs; the version's name is made from its content.
        service_account, run_seconds: of its pods, and how long it may take; empty and 0 where nothing is said.
        url: where people look at it.
    """

    run_id: str
    host: str
    namespace: str = ""
    pipeline_id: str = ""
    version_id: str = ""
    version: str = ""
    experiment_id: str = ""
    service_account: str = ""
    run_seconds: float = 0.0
    url: str = ""


def put_started(store: Store, key: str, started: Started) -> None:
    """Keep where a run was started."""
    create_record(store, f"runs/{key}/kubeflow/{started.run_id}/started.json", "kubeflow-run", asdict(started))


def started(store: Store, key: str) -> list[Started]:
    """The backend's runs for a key, oldest first."""
    known = {f.name for f in fields(Started)}
    found = []
    for name in store.list(f"runs/{key}/kubeflow/"):
        if name.endswith("/started.json"):
            record = read_record(store, name, "kubeflow-run")
            made = Started(**{k: v for k, v in record.items() if k in known})
            found.append((str(record["written_at"]), made))
    return [made for _, made in sorted(found, key=lambda f: f[0])]


def failed_starts(store: Store, key: str) -> list[dict[str, Any]]:
    """Why starts of a key came to no attempt, in the fields of an error record with `run_id`, oldest first."""
    found = [(s.run_id, failed_start(store, s.run_id)) for s in started(store, key)]
    return [{**error, "run_id": run_id} for run_id, error in found if error is not None]


def ask_cancel(store: Store, key: str, run_id: str, who: str = "") -> None:
    """Say that a run is to end, before the backend is told."""
    create_record(store, f"runs/{key}/kubeflow/{run_id}/cancel.json", "kubeflow-cancel", {"who": who})


def cancel_asked(store: Store, key: str, run_id: str) -> bool:
    """Whether somebody asked for a run's end."""
    return store.exists(f"runs/{key}/kubeflow/{run_id}/cancel.json")


def owner(store: Store, key: str) -> runs.Attempt | None:
    """The newest attempt, where a backend's run owns it; None where nobody or a process of some machine does."""
    last = runs.newest(store, key)
    return last if last is not None and pid_of(last.run_id) is None else None


def key_of(store: Store, run_id: str) -> str:
    """The key that a backend's run claimed; empty while it has claimed none."""
    try:
        return runs.by_id(store, run_id)[0]
    except RunError:
        return ""


def conclude(store: Store, key: str, run: BackendRun, error: Mapping[str, Any] | None = None) -> str:
    """Put down how a run of the backend ended, where it owns an attempt; may be repeated.

    Args:
        store: where runs are recorded.
        key: the run.
        run: as the backend sees it; it has ended.
        error: why it failed, in the fields of an error record; by default its stages' own.

    Returns:
        `succeeded`, `failed` or `cancelled`.
    """
    mine = next((a for a in runs.attempts(store, key) if a.run_id == run.id), None)
    if run.state in ("SUCCEEDED", "SKIPPED"):
        if mine is not None:
            from trimtab.core.run_end import outcome

            spent = (run.finished_at - run.created_at).total_seconds() if run.finished_at and run.created_at else None
            runs.finish(store, key, {**outcome(store, key), "attempt": mine.n, "seconds": spent})
            runs.end(store, key, mine.n, "succeeded")
        return "succeeded"
    # The backend says FAILED of a run that was terminated.
    cancelled = run.state == "CANCELED" or cancel_asked(store, key, run.id)
    state = "cancelled" if cancelled else "failed"
    if mine is not None:
        if mine.state:
            return mine.state
        left = runs.errors(store, key)
        found = None if cancelled else dict(error or {}) or (left[-1] if left else None)
        runs.end(store, key, mine.n, state, found)
    return state


def lost_or(kubeflow: Kubeflow, run_id: str) -> BackendRun | None:
    """A run as the backend sees it; None where it knows of none.

    Raises:
        KubeflowError: it cannot be asked.
    """
    from trimtab.pipelines.kubeflow_http import KubeflowError

    try:
        return kubeflow.run(run_id)
    except KubeflowError as error:
        if error.status == 404 or (error.status == 500 and "not found" in error.said.lower()):
            return None
        raise


def forgotten(store: Store, key: str, last: runs.Attempt) -> None:
    """Put down that the backend has lost a run, which therefore works no more."""
    runs.end(store, key, last.n, "failed", {"kind": "RunError", "message": "the backend has forgotten the run"})


def refresh(kubeflow: Kubeflow, store: Store) -> None:
    """Ask the backend about every run that is at work by the store, and put down the ends that nobody did.

    Only runs that this backend was given by us: another one's would be unknown to it.

    Raises:
        KubeflowError: it cannot be asked.
    """
    for key in runs.list_runs(store):
        if runs.result(store, key) is not None:
            continue
        last = owner(store, key)
        if last is None or last.ended:
            continue
        run = lost_or(kubeflow, last.run_id)
        if run is not None and run.ended:
            conclude(store, key, run)


def last_started(store: Store, key: str) -> Started | None:
    """The newest place where a key ran; None where it ran on no cluster of ours."""
    found = started(store, key)
    return found[-1] if found else None
