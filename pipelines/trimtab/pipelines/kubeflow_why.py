"""Why a run failed: the backend itself says FAILED and no more.

Asked in this order, and the first that knows is believed: the stages' own error records in the store, the log that
KFP keeps beside a task's artifacts, the node's log by the API, Argo's messages and the pods' events.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trimtab.core import runs
from trimtab.core.errors import RunError, TrimtabError
from trimtab.core.run_starts import failed_start

if TYPE_CHECKING:
    from trimtab.core.settings import Settings
    from trimtab.core.store import Store
    from trimtab.pipelines.kubeflow_api import Kubeflow
    from trimtab.pipelines.kubeflow_cluster import Cluster
    from trimtab.pipelines.kubeflow_models import BackendRun, Task

DEFAULT_ROOT = "minio://mlpipeline/v2/artifacts"
_LOG_LINES = 20
_LOG_BYTES = 200_000


@dataclass(frozen=True)
class Reason:
    """Why a run failed.

    Attributes:
        source: `record`, `executor log`, `node log`, `workflow`, `pod`, `backend`.
        stage: the stage or task; empty where it is not known.
        text: in words.
        facts: the fields of an error record, where a stage left one.
    """

    source: str
    stage: str
    text: str
    facts: dict[str, Any] | None = None

    def error(self, key: str, url: str) -> TrimtabError:
        """As an error of its own class, so that the exit code tells whose mistake it was."""
        if self.facts is not None:
            from trimtab.pipelines.runner import revive

            found = revive(self.facts)
            found.args = (f"stage {self.stage}: {found.sentence()}",)
            found.message = f"stage {self.stage}: {found.message}"
            return found
        where = f"stage {self.stage} failed" if self.stage else "the run failed"
        return RunError(f"{where} ({self.source}): {self.text}", object=key, hint=f"see {url}, or trimtab logs {key}")


def reason(
    kubeflow: Kubeflow, store: Store, key: str, run: BackendRun, settings: Settings, cluster: Cluster | None = None
) -> Reason:
    """Why a run of the backend failed.

    Args:
        kubeflow: the backend.
        store: where stages leave their records.
        key: the run.
        run: as the backend sees it, with its tasks.
        settings: how to reach S3, where KFP's own artifacts are.
        cluster: the cluster's API, where one may ask.
    """
    record = _record(store, key, run)
    if record is not None:
        return record
    for found in (_executor_log(run, settings), _node_log(kubeflow, run)):
        if found is not None:
            return found
    if cluster is not None:
        troubles = cluster.troubles(run.id)
        if troubles:
            return Reason("pod", "", f"{troubles[0].pod}: {troubles[0].message}".removeprefix(": "))
        messages = cluster.messages(run.id)
        if messages:
            return Reason("workflow", "", messages[0])
    said = run.error or next((t.error for t in run.tasks if t.error), "")
    names = [n for n in failed_tasks(run) if n]
    return Reason(
        "backend", names[0] if names else "", said or "the backend gives no reason, and no log of it can be read here"
    )


def _record(store: Store, key: str, run: BackendRun) -> Reason | None:
    """The error record of the attempt that this run owns, or of a start that came to no attempt."""
    if not any(a.run_id == run.id for a in runs.attempts(store, key)):
        early = failed_start(store, run.id)
        return None if early is None else Reason("record", str(early["stage"]), str(early["message"]), early)
    found = runs.errors(store, key)
    if not found:
        return None
    return Reason("record", str(found[-1]["stage"]), str(found[-1]["message"]), found[-1])


def failed_tasks(run: BackendRun) -> list[str]:
    """Names of a run's failed tasks; retry nodes (`train(1)`) count for their task.

    >>> from trimtab.pipelines.kubeflow_models import BackendRun, Task
    >>> tasks = (Task("say", "FAILED", ()), Task("say(1)", "FAILED", ()), Task("", "FAILED", ()))
    >>> failed_tasks(BackendRun("r", "n", "FAILED", "e", tasks=tasks))
    ['say']
    """
    return list(dict.fromkeys(task_of(t) for t in run.tasks if t.state == "FAILED" and t.name))


def task_of(task: Task) -> str:
    """The task that an entry is of: `train` for its retry node `train(1)`; empty for an entry without a name."""
    return re.sub(r"\(\d+\)$", "", task.name)


def _node_log(kubeflow: Kubeflow, run: BackendRun) -> Reason | None:
    for task in reversed([t for t in run.tasks if t.state == "FAILED"]):
        for pod in reversed(task.pods):
            text = kubeflow.node_log(run.id, pod)
            if text.strip():
                return Reason("node log", task_of(task), gist(text))
    return None


def _executor_log(run: BackendRun, settings: Settings) -> Reason | None:
    failed = failed_tasks(run)
    for task, text in executor_logs(run, settings):
        if task in failed:
            return Reason("executor log", task, gist(text))
    return None


def executor_logs(run: BackendRun, settings: Settings) -> list[tuple[str, str]]:
    """The logs that KFP keeps of a run's tasks (`<root>/<pipeline>/<run>/<task>/<uuid>/executor-logs-0`).

    Returns:
        Name of the task and the end of its log, the newest last; empty where the bucket cannot be read.
    """
    from trimtab.core.store.s3 import open_s3

    root = run.root or DEFAULT_ROOT
    scheme, _, place = root.partition("://")
    bucket, _, prefix = place.partition("/")
    if scheme not in ("minio", "s3") or not bucket:
        return []
    try:
        from trimtab.core.store.retry import Retry

        artifacts = open_s3(f"s3://{bucket}", settings.s3, retry=Retry(attempts=2), read_seconds=15)
        found = []
        for key in artifacts.list(f"{prefix.strip('/')}/" if prefix else ""):
            parts = key.split("/")
            if run.id in parts and parts[-1].startswith("executor-logs"):
                task = parts[parts.index(run.id) + 1]
                found.append((task, artifacts.get(key)[-_LOG_BYTES:].decode(errors="replace")))
    except TrimtabError:
        return []  # another S3 keeps them, or these credentials may not read there
    return found


def gist(log: str) -> str:
    r"""What a log says went wrong: a Python traceback's last line, else its last lines.

    >>> gist("Traceback (most recent call last):\n  File ...\nValueError: no such column\n")
    'ValueError: no such column'
    """
    lines = [line.rstrip() for line in log.splitlines() if line.strip()]
    raised = [line for line in lines if re.match(r"^(?:\w+\.)*\w*(?:Error|Exception|Run|Found|Refused)\b.*:", line)]
    if raised:
        return re.sub(r"^(?:trimtab\.[\w.]*\.)", "", raised[-1])[:600]
    return "\n".join(lines[-_LOG_LINES:])[-1500:]
