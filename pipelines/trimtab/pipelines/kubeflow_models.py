"""What Kubeflow's API tells, in our own words: read leniently, since the backend leaves out what it does not know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from trimtab.pipelines.kubeflow_http import KubeflowError

ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


@dataclass(frozen=True)
class Health:
    """What the API says about itself; the version may be `unknown`."""

    version: str
    multi_user: bool


@dataclass(frozen=True)
class Task:
    """One entry of a run's task details: a task, one of its retries, or a driver.

    Attributes:
        name: display name; empty where the backend gives none.
        state: as `BackendRun.state`.
        pods: names of its pods, as far as they are known.
        error: the backend's words, most often none.
    """

    name: str
    state: str
    pods: tuple[str, ...]
    error: str = ""


@dataclass(frozen=True)
class BackendRun:
    """A run as the backend sees it.

    Attributes:
        state: PENDING, RUNNING, SUCCEEDED, SKIPPED, FAILED, CANCELING, CANCELED or PAUSED; no state means PENDING.
        error: the backend's words, most often none.
        root: where its artifacts go, where the run says so.
    """

    id: str
    name: str
    state: str
    experiment_id: str
    pipeline_id: str = ""
    version_id: str = ""
    recurring_id: str = ""
    created_at: datetime | None = None
    finished_at: datetime | None = None
    error: str = ""
    root: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tasks: tuple[Task, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen in it."""
        return self.state in ENDED


@dataclass(frozen=True)
class Recurring:
    """A schedule of runs."""

    id: str
    name: str
    enabled: bool
    version_id: str
    when: str
    created_at: datetime | None


def _when(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment if moment.year > 1971 else None  # the backend's zero time


def _error(value: Any) -> str:
    return str(value.get("message") or "") if isinstance(value, dict) else ""


def run_of(item: Any) -> BackendRun:
    """A run as the API gives it.

    Raises:
        KubeflowError: it is none.
    """
    if not isinstance(item, dict) or not item.get("run_id"):
        raise KubeflowError("the API's answer is no run", got=str(item)[:80])
    reference = item.get("pipeline_version_reference") or {}
    runtime = item.get("runtime_config") or {}
    details = (item.get("run_details") or {}).get("task_details") or []
    return BackendRun(
        id=str(item["run_id"]),
        name=str(item.get("display_name") or ""),
        state=str(item.get("state") or "PENDING").replace("RUNTIME_STATE_UNSPECIFIED", "PENDING"),
        experiment_id=str(item.get("experiment_id") or ""),
        pipeline_id=str(reference.get("pipeline_id") or ""),
        version_id=str(reference.get("pipeline_version_id") or item.get("pipeline_version_id") or ""),
        recurring_id=str(item.get("recurring_run_id") or ""),
        created_at=_when(item.get("created_at")),
        finished_at=_when(item.get("finished_at")),
        error=_error(item.get("error")),
        root=str(runtime.get("pipeline_root") or ""),
        parameters=dict(runtime.get("parameters") or {}),
        tasks=tuple(_task(t) for t in details if isinstance(t, dict)),
    )


def _task(item: Mapping[str, Any]) -> Task:
    pods = [item.get("pod_name"), *((c or {}).get("pod_name") for c in item.get("child_tasks") or [])]
    return Task(
        name=str(item.get("display_name") or ""),
        state=str(item.get("state") or "PENDING"),
        pods=tuple(str(p) for p in pods if p),
        error=_error(item.get("error")),
    )


def recurring_of(item: Any) -> Recurring:
    """A schedule as the API gives it.

    Raises:
        KubeflowError: it is none.
    """
    if not isinstance(item, dict) or not item.get("recurring_run_id"):
        raise KubeflowError("the API's answer is no recurring run", got=str(item)[:80])
    trigger = item.get("trigger") or {}
    cron = (trigger.get("cron_schedule") or {}).get("cron")
    seconds = (trigger.get("periodic_schedule") or {}).get("interval_second")
    return Recurring(
        id=str(item["recurring_run_id"]),
        name=str(item.get("display_name") or ""),
        enabled=item.get("status") != "DISABLED" and item.get("mode") != "DISABLE",
        version_id=str((item.get("pipeline_version_reference") or {}).get("pipeline_version_id") or ""),
        when=f"cron {cron}" if cron else f"every {seconds} s",
        created_at=_when(item.get("created_at")),
    )
