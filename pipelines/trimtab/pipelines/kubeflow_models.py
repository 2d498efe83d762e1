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
        version_id: the pipeline version that it is of; empty where it has a spec of its own.
        root: where its artifacts go, where the run says so.
    """

    id: str
    name: str
    state: str
    version_id: str = ""
    created_at: datetime | None = None
    finished_at: datetime | None = None
    error: str = ""
    root: str = ""
    tasks: tuple[Task, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen in it."""
        return self.state in ENDED


MADE_BY = {"made-by": "trimtab"}


@dataclass(frozen=True)
class Version:
    """A version of a pipeline.

    Attributes:
        ours: whether it bears our tag (`MADE_BY`); older backends keep none.
    """

    id: str
    name: str
    pipeline_id: str
    ours: bool
    created_at: datetime | None = None


@dataclass(frozen=True)
class Recurring:
    """A schedule of runs.

    Attributes:
        version_id: what it starts; empty where it has a spec of its own, or takes its pipeline's newest version.
        when: in words, `cron …` or `every … s`.
    """

    id: str
    name: str
    enabled: bool
    pipeline_id: str
    version_id: str
    when: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    service_account: str = ""


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
    details = (item.get("run_details") or {}).get("task_details") or []
    return BackendRun(
        id=str(item["run_id"]),
        name=str(item.get("display_name") or ""),
        state=str(item.get("state") or "PENDING").replace("RUNTIME_STATE_UNSPECIFIED", "PENDING"),
        version_id=str(reference.get("pipeline_version_id") or item.get("pipeline_version_id") or ""),
        created_at=_when(item.get("created_at")),
        finished_at=_when(item.get("finished_at")),
        error=_error(item.get("error")),
        root=str((item.get("runtime_config") or {}).get("pipeline_root") or ""),
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
    reference = item.get("pipeline_version_reference") or {}
    cron = (trigger.get("cron_schedule") or {}).get("cron")
    seconds = (trigger.get("periodic_schedule") or {}).get("interval_second")
    return Recurring(
        id=str(item["recurring_run_id"]),
        name=str(item.get("display_name") or ""),
        enabled=item.get("status") != "DISABLED" and item.get("mode") != "DISABLE",
        pipeline_id=str(reference.get("pipeline_id") or ""),
        version_id=str(reference.get("pipeline_version_id") or item.get("pipeline_version_id") or ""),
        when=f"cron {cron}" if cron else f"every {seconds} s",
        parameters=dict((item.get("runtime_config") or {}).get("parameters") or {}),
        service_account=str(item.get("service_account") or ""),
    )


def version_of(item: Any) -> Version:
    """A pipeline's version as the API gives it.

    Raises:
        KubeflowError: it is none.
    """
    if not isinstance(item, dict) or not item.get("pipeline_version_id"):
        raise KubeflowError("the API's answer is no pipeline version", got=str(item)[:80])
    return Version(
        id=str(item["pipeline_version_id"]),
        name=str(item.get("name") or item.get("display_name") or ""),
        pipeline_id=str(item.get("pipeline_id") or ""),
        ours=MADE_BY.items() <= (item.get("tags") or {}).items(),
        created_at=_when(item.get("created_at")),
    )
