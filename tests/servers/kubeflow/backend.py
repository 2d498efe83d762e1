"""What the stand-in remembers, and what it does: experiments, pipelines, runs, schedules."""

from __future__ import annotations

import datetime as dt
import json
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from tests.servers.kubeflow.dag import BrokenPipeline, Walk
from tests.servers.kubeflow.executors import Executor, Outcome, Scripted

ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
MOST_PARAMETER = 100_000  # a longer one fails the task
MOST_PARAMETERS = 2_000_000  # and this is a 500
Item = dict[str, Any]


class ApiError(Exception):
    """An answer that is none of success.

    Args:
        status: HTTP status.
        words: what is wrong.
        code: gRPC's code.
        upload: whether the upload service answers: it has fields of its own.
    """

    def __init__(self, status: int, words: str, code: int = 0, upload: bool = False) -> None:
        super().__init__(words)
        self.status = status
        codes = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 500: 13}
        self.body: Item = (
            {"error_message": words, "error_details": f"{words}: details"}
            if upload
            else {"code": code or codes.get(status, 2), "message": "", "details": [{"message": words}]}
        )


def now() -> str:
    """The time as the backend writes it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class NeverAnswers(Exception):
    """What a broken YAML does to the backend: the request is never answered."""


@dataclass
class _Run:
    item: Item
    cancelled: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    logs: dict[str, str] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    hidden_reads: int = 0


class Backend:
    """The backend's memory.

    Args:
        executor: plays tasks; may be changed at any time.
        multi_user: whether every experiment, pipeline and run belongs to a namespace.
        version: what healthz tells.
        root: pipeline root where a run names none.
        retries: whether retry policies are heeded (`kfp-hardening`); a stock install does not.
        cancel_seconds: how long a termination stays CANCELING.
        pending_reads: how often a new run is read before its state shows.
    """

    def __init__(
        self,
        executor: Executor | None = None,
        *,
        multi_user: bool = False,
        version: str = "2.17.0",
        root: str = "minio://mlpipeline/v2/artifacts",
        retries: bool = False,
        cancel_seconds: float = 0.0,
        pending_reads: int = 1,
    ) -> None:
        self.executor: Executor = executor or Scripted()
        self.multi_user = multi_user
        self.version = version
        self.root = root
        self.retries = retries
        self.cancel_seconds = cancel_seconds
        self.pending_reads = pending_reads
        self.lock = threading.RLock()
        self.experiments: dict[str, Item] = {}
        self.pipelines: dict[str, Item] = {}
        self.versions: dict[str, Item] = {}
        self.packages: dict[str, tuple[Item, Item]] = {}
        self.runs: dict[str, _Run] = {}
        self.recurring: dict[str, Item] = {}

    # Experiments

    def create_experiment(self, body: Item) -> Item:
        with self.lock:
            name, namespace = body.get("display_name") or "", body.get("namespace") or ""
            self._namespaced(namespace)
            if not name:
                raise ApiError(400, "Experiment name is empty")
            if any(e["display_name"] == name and e["namespace"] == namespace for e in self.experiments.values()):
                raise ApiError(409, f"Failed to create a new experiment. The name {name} already exists")
            item: Item = {
                "experiment_id": str(uuid.uuid4()), "display_name": name, "namespace": namespace,
                "description": body.get("description") or "", "created_at": now(), "storage_state": "AVAILABLE",
                "last_run_created_at": "1970-01-01T00:00:00Z",
            }  # fmt: skip
            self.experiments[item["experiment_id"]] = item
            return item

    # Pipelines

    def create_pipeline(self, body: Item, upload: bool = False) -> Item:
        with self.lock:
            name = body.get("name") or body.get("display_name") or ""
            if not name:
                raise ApiError(400, "pipeline's name cannot be empty", upload=upload)
            if any(p["name"] == name for p in self.pipelines.values()):
                raise ApiError(409, f"Failed to create a new pipeline. The name {name} already exists", upload=upload)
            item: Item = {
                "pipeline_id": str(uuid.uuid4()), "name": name, "display_name": body.get("display_name") or name,
                "description": body.get("description") or "", "created_at": now(),
                "namespace": body.get("namespace") or "", "tags": body.get("tags") or {},
            }  # fmt: skip
            self.pipelines[item["pipeline_id"]] = item
            return item

    def upload_version(self, pipeline_id: str, name: str, package: bytes, query: Mapping[str, str]) -> Item:
        ir, platform = parse_package(package)
        with self.lock:
            if pipeline_id not in self.pipelines:
                raise ApiError(404, f"Pipeline {pipeline_id} not found", upload=True)
            name = name or f"version {now()}"
            if any(v["pipeline_id"] == pipeline_id and v["name"] == name for v in self.versions.values()):
                raise ApiError(409, f"Failed to create a new pipeline version. The name {name} already exists",
                               upload=True)  # fmt: skip
            item = {
                "pipeline_id": pipeline_id, "pipeline_version_id": str(uuid.uuid4()), "name": name,
                "display_name": query.get("display_name") or name, "description": query.get("description", ""),
                "created_at": now(), "tags": json.loads(query["tags"]) if query.get("tags") else {},
                "pipeline_spec": {"pipeline_spec": ir, "platform_spec": platform} if platform else ir,
            }  # fmt: skip
            self.versions[item["pipeline_version_id"]] = item
            self.packages[item["pipeline_version_id"]] = (ir, platform)
            return item

    def delete_version(self, version_id: str) -> None:
        with self.lock:
            if version_id not in self.versions:
                raise ApiError(404, f"PipelineVersion {version_id} not found")
            del self.versions[version_id]

    # Runs

    def create_run(self, body: Item, recurring: str = "") -> Item:
        with self.lock:
            experiment = self.experiments.get(body.get("experiment_id") or "")
            if experiment is None:
                if body.get("experiment_id"):
                    raise ApiError(404, f"Experiment {body['experiment_id']} not found")
                experiment = self.default_experiment()
            if not body.get("display_name"):
                raise ApiError(400, "The run name is empty. Please specify a valid name")
            ir, platform = self._package(body)
            runtime = dict(body.get("runtime_config") or {})
            parameters = dict(runtime.get("parameters") or {})
            check_parameters(ir, parameters)
            item: Item = {
                "run_id": str(uuid.uuid4()), "display_name": body["display_name"],
                "experiment_id": experiment["experiment_id"], "storage_state": "AVAILABLE",
                "description": body.get("description") or "", "service_account": body.get("service_account") or "",
                "created_at": now(), "scheduled_at": now(), "finished_at": "1970-01-01T00:00:00Z",
                "state": None, "runtime_config": {**runtime, "parameters": parameters},
                "run_details": {"task_details": []}, "state_history": [],
            }  # fmt: skip
            if body.get("pipeline_version_reference"):
                item["pipeline_version_reference"] = dict(body["pipeline_version_reference"])
            else:
                item["pipeline_spec"] = body["pipeline_spec"]
            if recurring:
                item["recurring_run_id"] = recurring
            run = _Run(item, hidden_reads=self.pending_reads)
            self.runs[item["run_id"]] = run
            experiment["last_run_created_at"] = now()
            run.thread = threading.Thread(target=self._play, args=(run, ir, platform, parameters), daemon=True)
            run.thread.start()
            return dict(item)

    def get_run(self, run_id: str) -> Item:
        with self.lock:
            run = self.runs.get(run_id)
            if run is None:
                raise ApiError(404, f"Run {run_id} not found")
            item: Item = json.loads(json.dumps(run.item))
            if run.hidden_reads > 0 and item["state"] not in ENDED:
                run.hidden_reads -= 1
                item["state"] = None  # what has not been scheduled has no state
            return item

    def terminate(self, run_id: str) -> None:
        with self.lock:
            run = self.runs.get(run_id)
            if run is None:
                raise ApiError(404, f"Run {run_id} not found")
            if run.item["state"] in ENDED:
                raise ApiError(400, f"Failed to terminate the run {run_id}: it has finished")
            self._state(run, "CANCELING")
            if self.cancel_seconds:
                threading.Timer(self.cancel_seconds, run.cancelled.set).start()
            else:
                run.cancelled.set()

    def delete_run(self, run_id: str) -> None:
        with self.lock:
            run = self.runs.pop(run_id, None)
            if run is None:
                raise ApiError(404, f"Run {run_id} not found")
            run.cancelled.set()  # its pods go with it

    def default_experiment(self) -> Item:
        for item in self.experiments.values():
            if item["display_name"] == "Default":
                return item
        return self.create_experiment({"display_name": "Default", "namespace": ""})

    def wait(self, run_id: str, seconds: float = 60.0) -> Item:
        """Wait for the end of a run."""
        thread = self.runs[run_id].thread
        assert thread is not None
        thread.join(seconds)
        return self.runs[run_id].item

    def close(self) -> None:
        """End every run."""
        for run in list(self.runs.values()):
            run.cancelled.set()
        for run in list(self.runs.values()):
            if run.thread is not None:
                run.thread.join(10)

    # Schedules

    def create_recurring(self, body: Item) -> Item:
        with self.lock:
            if not body.get("display_name"):
                raise ApiError(400, "The recurring run name is empty")
            trigger = body.get("trigger") or {}
            if not (trigger.get("cron_schedule") or trigger.get("periodic_schedule")):
                raise ApiError(400, "The recurring run has no trigger")
            ir, _ = self._package(body)
            check_parameters(ir, dict((body.get("runtime_config") or {}).get("parameters") or {}))
            item = {
                **body, "recurring_run_id": str(uuid.uuid4()), "created_at": now(), "updated_at": now(),
                "status": "DISABLED" if body.get("mode") == "DISABLE" else "ENABLED",
            }  # fmt: skip
            self.recurring[item["recurring_run_id"]] = item
            return item

    def tick(self, recurring_id: str) -> Item:
        """The schedule's time has come: it starts a run."""
        item = self.recurring[recurring_id]
        body = {k: item[k] for k in (
            "experiment_id", "pipeline_version_reference", "pipeline_spec", "runtime_config", "service_account",
        ) if item.get(k)}  # fmt: skip
        stamp = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
        return self.create_run({**body, "display_name": f"{item['display_name']}-{stamp}"}, recurring_id)

    def _namespaced(self, namespace: str) -> None:
        if self.multi_user and not namespace:
            raise ApiError(400, "Invalid input error: In multi-user mode, namespace cannot be empty")

    def _package(self, body: Item) -> tuple[Item, Item]:
        reference = body.get("pipeline_version_reference")
        if reference:
            found = self.packages.get(reference.get("pipeline_version_id") or "")
            if found is None or reference["pipeline_version_id"] not in self.versions:
                raise ApiError(500, "Failed to fetch a pipeline version: ResourceNotFoundError", code=13)
            return found
        spec = body.get("pipeline_spec")
        if not isinstance(spec, dict):
            raise ApiError(400, "Neither pipeline version nor pipeline spec is given")
        if "pipeline_spec" in spec:
            return spec["pipeline_spec"], spec.get("platform_spec") or {}
        return spec, {}

    # Playing a run

    def _play(self, run: _Run, ir: Item, platform: Item, parameters: Item) -> None:
        with self.lock:
            if run.item["state"] is None:
                self._state(run, "RUNNING")
            name = ir.get("pipelineInfo", {}).get("name", "pipeline")
            self._detail(run, f"{name}-{run.item['run_id'][:5]}", "root-driver", "SUCCEEDED")
        root = str(run.item["runtime_config"].get("pipeline_root") or ir.get("defaultPipelineRoot") or self.root)
        good = False
        message = ""
        if any(len(json.dumps(v)) > MOST_PARAMETER for v in parameters.values()):
            message = "a parameter is too long"
        elif "://" not in root:
            message = "the pipeline root has no scheme"
        else:
            walk = Walk(ir, platform, run.item["run_id"], root, self.executor,
                        lambda *told: self._told(run, *told), run.cancelled, self.retries)  # fmt: skip
            try:
                good = walk.play(parameters)
            except (BrokenPipeline, KeyError) as error:
                message = f"broken pipeline: {error}"
        with self.lock:
            if message:
                run.messages["workflow"] = message
            run.item["finished_at"] = now()
            self._state(run, "SUCCEEDED" if good and not run.cancelled.is_set() else "FAILED")

    def _told(self, run: _Run, task: str, state: str, pod: str, outcome: Outcome | None) -> None:
        with self.lock:
            if state == "started":
                self._detail(run, f"{task}-driver", f"{pod}-driver", "SUCCEEDED", unnamed=True)
                self._detail(run, task, pod, "RUNNING")
                return
            for detail in run.item["run_details"]["task_details"]:
                if detail["child_tasks"][0]["pod_name"] == pod:
                    detail["state"], detail["end_time"] = state, now()
            if outcome is not None:
                run.logs[pod] = outcome.log
                if outcome.message:
                    run.messages[task] = outcome.message

    def _detail(self, run: _Run, name: str, pod: str, state: str, unnamed: bool = False) -> None:
        run.item["run_details"]["task_details"].append({
            "run_id": run.item["run_id"], "task_id": str(uuid.uuid4()), "display_name": None if unnamed else name,
            "create_time": now(), "start_time": now(), "end_time": "1970-01-01T00:00:00Z", "state": state,
            "pod_name": None, "child_tasks": [{"pod_name": pod}], "state_history": [],
        })  # fmt: skip

    def _state(self, run: _Run, state: str) -> None:
        run.item["state"] = state
        run.item["state_history"].append({"update_time": now(), "state": state})


def parse_package(package: bytes) -> tuple[Item, Item]:
    """Both documents of an uploaded YAML.

    Raises:
        NeverAnswers: it is no YAML; the real backend reads it for ever.
        ApiError: it is YAML of something else.
    """
    try:
        documents = [d for d in yaml.safe_load_all(package) if d]
    except (yaml.YAMLError, UnicodeDecodeError):
        raise NeverAnswers from None
    irs = [d for d in documents if isinstance(d, dict) and "pipelineInfo" in d]
    if len(irs) != 1:
        raise ApiError(400, "Failed to create a pipeline: unknown template format", upload=True)
    platforms = [d for d in documents if isinstance(d, dict) and "platforms" in d]
    return irs[0], platforms[0] if platforms else {}


def check_parameters(ir: Item, parameters: Item) -> None:
    """Refuse parameters that the pipeline does not have, or too much of them."""
    if len(json.dumps(parameters)) > MOST_PARAMETERS:
        raise ApiError(500, "Failed to create a run: the request is too large")
    root = ir.get("root") or {}
    known = (root.get("inputDefinitions") or {}).get("parameters") or {}
    for name in parameters:
        if name not in known:
            raise ApiError(400, f"Invalid input error: parameter {name} is not defined in the pipeline")
    for name, definition in known.items():
        if name not in parameters and not definition.get("isOptional") and "defaultValue" not in definition:
            raise ApiError(400, f"Invalid input error: parameter {name} is missing")
