"""Why a run failed: the backend itself says FAILED and no more.

Asked in this order, and the first that knows is believed: the stages' own error records in the store, the log that
KFP keeps beside a task's artifacts, the node's log by the API, Argo's messages and the pods' events.
"""

from __future__ import annotations

import re
from collections.abc import Collection
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

# Of a run that names none: what manifests/components/kfp-launcher says, and Kubeflow's own default.
ROOTS = ("minio://trimtab-artifacts/runs/trimtab", "minio://mlpipeline/v2/artifacts")
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
    found = _executor_log(run, _pipeline(store, key), settings) or _node_log(kubeflow, run)
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


def _pipeline(store: Store, key: str) -> str:
    """The name of a key's pipeline, which is its project's; empty where its request is lost."""
    try:
        return runs.read_request(store, key).model
    except TrimtabError:
        return ""


def failed_tasks(run: BackendRun) -> list[str]:
    """Names of a run's failed tasks; retry nodes (`train(1)`) count for their task.

    >>> from trimtab.pipelines.kubeflow_models import BackendRun, Task
    >>> tasks = (Task("say", "FAILED", ()), Task("say(1)", "FAILED", ()), Task("", "FAILED", ()))
    >>> failed_tasks(BackendRun("r", "n", "FAILED", tasks=tasks))
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


def _executor_log(run: BackendRun, pipeline: str, settings: Settings) -> Reason | None:
    failed = {stage_of(name) for name in failed_tasks(run)}
    logs = executor_logs(run, pipeline, settings, failed) if failed else {}
    # Of several candidates' tasks the API's names do not say which one a folder is of; its traceback does.
    said = [name for name, text in logs.items() if _raised(text)] or list(logs)
    return Reason("executor log", said[-1], gist(logs[said[-1]])) if said else None


def executor_logs(
    run: BackendRun, pipeline: str, settings: Settings, stages: Collection[str] | None = None
) -> dict[str, str]:
    """The logs that KFP keeps of a run's tasks (`<root>/<pipeline>/<run>/<task>/<uuid>/executor-logs-0`).

    Args:
        run: as the backend sees it.
        pipeline: the pipeline's name.
        settings: how to reach S3.
        stages: the stages that are wanted, by `stage_of`; None for all.

    Returns:
        The end of each task's log by the task's name in the path, the oldest first; of a task that was tried again
        one after the other. Empty where the bucket cannot be read.
    """
    for root in (run.root,) if run.root else ROOTS:
        if found := _logs_below(root, f"{pipeline}/{run.id}/", settings, stages) if pipeline else {}:
            return found
    return {}


def _logs_below(root: str, of_run: str, settings: Settings, stages: Collection[str] | None) -> dict[str, str]:
    """The logs of one run below one place of artifacts."""
    from trimtab.core.store.retry import Retry
    from trimtab.core.store.s3 import open_s3

    scheme, _, place = root.partition("://")
    bucket, _, prefix = place.rstrip("/").partition("/")
    if scheme not in ("minio", "s3") or not bucket:
        return {}
    here = f"{prefix}/{of_run}".lstrip("/")  # the whole root holds every artifact that was ever made

    def wanted(path: str) -> bool:
        task, *_, name = path.split("/")
        return name.startswith("executor-logs") and (stages is None or stage_of(task) in stages)

    found: dict[str, str] = {}
    try:
        artifacts = open_s3(f"s3://{bucket}", settings.s3, retry=Retry(attempts=2), read_seconds=15)
        for path, body in artifacts.foreign(here, wanted, _LOG_BYTES):
            task = path.partition("/")[0]
            found[task] = found.get(task, "") + body.decode(errors="replace")
    except TrimtabError:
        return {}  # another S3 keeps them, or these credentials may not read there
    return found


def stage_of(name: str) -> str:
    """The stage of a task, as the API names it (`train-2`, `train(1)`) or as paths do, which have its display name.

    >>> [stage_of(name) for name in ("train", "train-2", "train mlp", "train(1)")]
    ['train', 'train', 'train', 'train']
    """
    return re.split(r"[^a-z0-9_]", name.lower(), maxsplit=1)[0]


def gist(log: str) -> str:
    r"""What a log says went wrong: a Python traceback's last line, else its last lines.

    >>> gist("Traceback (most recent call last):\n  File ...\nValueError: no such column\n")
    'ValueError: no such column'
    """
    lines = [line.rstrip() for line in log.splitlines() if line.strip()]
    raised = _raised(log)
    if raised:
        return re.sub(r"^(?:trimtab\.[\w.]*\.)", "", raised[-1])[:600]
    return "\n".join(lines[-_LOG_LINES:])[-1500:]


def _raised(log: str) -> list[str]:
    """The lines that end tracebacks."""
    pattern = r"^(?:\w+\.)*\w*(?:Error|Exception|Run|Found|Refused)\b.*:"
    return [line.rstrip() for line in log.splitlines() if re.match(pattern, line)]
