"""Starting a run on Kubeflow, so that one run works per key.

The backend would start as many runs of one name as it is asked for. So a key is looked up first: its result, the
backend's run that owns it, runs that bear its name and have not ended. What a race or a death starts all the same is
stopped by the claim of its first task, before any work, and `submit` follows the owner.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from trimtab.core import runs
from trimtab.core.errors import RunError
from trimtab.core.records import canonical
from trimtab.pipelines.compile_check import PARAMETER_BYTES, check_arguments
from trimtab.pipelines.kubeflow_http import KubeflowError
from trimtab.pipelines.kubeflow_records import Started, conclude, forgotten, lost_or, owner, put_started
from trimtab.pipelines.kubeflow_upload import Uploaded, package_of, portable_source, uncached, upload

if TYPE_CHECKING:
    from trimtab.core.project import Project
    from trimtab.core.runs import RunRequest
    from trimtab.core.store import Store
    from trimtab.pipelines.kubeflow_api import Kubeflow
    from trimtab.pipelines.kubeflow_models import BackendRun

EXPERIMENT = "trimtab"
_PAUSES = (0.0, 1.0, 3.0)  # before each try to start a run, seconds


@dataclass(frozen=True)
class Submitted:
    """A run that was asked for.

    Attributes:
        key: the run's key.
        run_id: the backend's run that works on it; empty where it has succeeded before.
        url: where people look at it.
        version: name of the pipeline's version.
        run_seconds: how long the run may take; 0 without limit.
        found: `new`, `running` (it was at work already) or `done` (it has succeeded before).
    """

    key: str
    run_id: str
    url: str
    version: str
    found: Literal["new", "running", "done"]
    run_seconds: float = 0.0


def submit(
    kubeflow: Kubeflow,
    store: Store,
    project: Project,
    *,
    image: str,
    data: Any = None,
    reason: str = "",
    release: Literal["ask", "hold"] = "ask",
    again: bool = False,
    experiment: str = "",
    service_account: str = "",
    s3_ca: str = "",
    told: Callable[[str], None] = lambda _: None,
) -> Submitted:
    """Run a project on a cluster; what runs already is found, and what has succeeded is not repeated.

    Args:
        kubeflow: the backend.
        store: the store that the stages use.
        project: the project file.
        image: the stages' image, pinned.
        data: a source in place of the file's own.
        reason: why, in words.
        release: `ask` for a rollout of what passes, or `hold`.
        again: run once more what has succeeded before, without the backend's cache.
        experiment: the experiment's name, made where there is none.
        service_account: of the run's pods; empty for the installation's default.
        s3_ca: the ConfigMap with the CA of the store's S3; see `compile_project`.
        told: given each step in words.

    Raises:
        RunRefused: there is no image, or the backend refuses.
        ProjectError: project, image or data are wrong, or the reason is too long.
        KubeflowError: the backend cannot be reached or fails.
    """
    from trimtab.pipelines.local import make_request

    package = package_of(project, image=image, store_url=store.url, s3_ca=s3_ca)
    # Key and data are always small enough: data that are not are left in the store.
    check_arguments(package.content, {"reason": reason, "release": release})
    health = kubeflow.health()
    told(f"Kubeflow Pipelines {health.version} at {kubeflow.access.host}")
    request = dataclasses.replace(
        make_request(project, store, data=portable_source(project, store, data), reason=reason, release=release),
        image=image,
    )
    key = runs.open_run(store, request, again=again)
    request = runs.read_request(store, key)
    if runs.result(store, key) is not None:
        return Submitted(key, "", "", package.version, "done")
    uploaded = upload(kubeflow, package, project.task.statement)
    return start(
        kubeflow,
        store,
        key,
        request,
        uploaded,
        experiment=experiment,
        service_account=service_account,
        # What has not succeeded yet is gone on with, and may take finished stages from the cache.
        spec=uncached(package) if again and request.salt else None,
    )


def start(
    kubeflow: Kubeflow,
    store: Store,
    key: str,
    request: RunRequest,
    uploaded: Uploaded,
    *,
    experiment: str = "",
    service_account: str = "",
    spec: Mapping[str, Any] | None = None,
) -> Submitted:
    """Start a recorded request as a run of a version, unless it is at work.

    Args:
        kubeflow: the backend.
        store: the store that the stages use.
        key: the run.
        request: what was asked for.
        uploaded: the version.
        experiment: the experiment's name, made where there is none.
        service_account: of the run's pods; empty for the version's own.
        spec: the version's content with other options, which the run gets as a spec of its own.

    Raises:
        RunError: a local process is at work on it.
        KubeflowError: the backend cannot be reached or fails.
    """
    found = at_work(kubeflow, store, key)
    if found is not None:
        return _submitted(kubeflow, key, found, uploaded, "running")
    experiment_id = kubeflow.ensure_experiment(experiment or EXPERIMENT)
    parameters = {
        "data": canonical(request.data).decode(),
        "key": key,
        "reason": request.reason,
        "release": request.release,
    }
    if len(json.dumps(parameters).encode()) > PARAMETER_BYTES:
        parameters["data"] = ""  # the run's first task reads it from the request in the store
    account = service_account or uploaded.service_account
    made = _started_once(
        kubeflow,
        key,
        lambda: kubeflow.create_run(
            key,
            experiment_id,
            uploaded.pipeline_id,
            uploaded.version_id,
            parameters,
            description=request.reason,
            service_account=account,
            spec=spec,
        ),
    )
    put_started(
        store,
        key,
        Started(
            run_id=made.id,
            host=kubeflow.access.host,
            namespace=kubeflow.access.namespace,
            pipeline_id=uploaded.pipeline_id,
            version_id=uploaded.version_id,
            version=uploaded.version,
            experiment_id=experiment_id,
            service_account=account,
            run_seconds=uploaded.run_seconds,
            url=kubeflow.access.run_url(made.id),
        ),
    )
    return _submitted(kubeflow, key, made, uploaded, "new")


def at_work(kubeflow: Kubeflow, store: Store, key: str) -> BackendRun | None:
    """The backend's run that works on a key, or is about to; ends of others that nobody put down are put down.

    Raises:
        RunError: a process of some machine is at work on it.
    """
    last = runs.newest(store, key)
    if last is not None and not last.ended:
        if owner(store, key) is None:
            raise RunError(
                f"run {key} is at work on {last.host}", object=key, hint=f"trimtab cancel {key} ends it there"
            )
        run = lost_or(kubeflow, last.run_id)
        if run is None:
            forgotten(store, key, last)
        elif run.ended:
            conclude(store, key, run)
        else:
            return run
    # A run that has not claimed yet bears the key as its name. Of several the oldest will be first.
    waiting = [r for r in kubeflow.runs(name=key) if not r.ended]
    return waiting[-1] if waiting else None


def _started_once(kubeflow: Kubeflow, key: str, create: Callable[[], BackendRun]) -> BackendRun:
    """Start a run; where no answer came, look whether it was started all the same, before trying once more."""
    last: KubeflowError | None = None
    before = {r.id for r in kubeflow.runs(name=key)}
    for pause in _PAUSES:
        time.sleep(pause)
        if last is not None:
            fresh = [r for r in kubeflow.runs(name=key) if r.id not in before]
            if fresh:
                return fresh[-1]
        try:
            return create()
        except KubeflowError as error:
            if error.exit_code == 2:
                raise
            last = error
    assert last is not None
    raise last


def _submitted(
    kubeflow: Kubeflow, key: str, run: BackendRun, uploaded: Uploaded, found: Literal["new", "running"]
) -> Submitted:
    return Submitted(key, run.id, kubeflow.access.run_url(run.id), uploaded.version, found, uploaded.run_seconds)
