"""An `Executor` of the stand-in that runs each task as a pod of a node, by its own compiled command.

What KFP's driver and Argo make of a task is made here: pod-level settings from the platform document (secrets, field
paths, selectors, tolerations, time limit, image pull policy), resources from the IR, the run's ServiceAccount, the
security context of a hardened backend. `launch.py` plays KFP's launcher inside the pod. There are no driver pods.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.servers.kubeflow.executors import Outcome, TaskSpec, task_root

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, CoreV1Api

LAUNCHER = Path(__file__).with_name("launch.py")
# Folders in which KFP's SDK looks for artifacts, as the backend mounts them.
ARTIFACT_FOLDERS = ("/minio", "/s3", "/gcs")
POLL_SECONDS = 0.25
# Waiting reasons that pass by themselves are not reported as the pod's message.
_PASSING = frozenset({"ContainerCreating", "PodInitializing"})


class ClusterPods:
    """Runs tasks as pods.

    Args:
        client: of the Kubernetes API, as its administrator.
        namespace: where runs execute.
        read: gives the bytes of an object that a pod left, by URI.
        root: the backend's pipeline root, where tasks without artifacts leave their log.
        account: ServiceAccount of the pods.
        user: numeric user and group of a hardened backend; 0 leaves the image's.
        seconds: a pod that takes longer is ended.

    Attributes:
        started: names of the pods, in order.
        seconds: wall seconds by pod, from creation to end.
    """

    def __init__(
        self,
        client: ApiClient,
        namespace: str,
        read: Callable[[str], bytes],
        root: str,
        *,
        account: str = "pipeline-runner",
        user: int = 10001,
        seconds: float = 600.0,
    ) -> None:
        self.namespace, self.account, self.user = namespace, account, user
        self.started: list[str] = []
        self.seconds: dict[str, float] = {}
        self._client, self._read, self._root, self._limit = client, read, root.rstrip("/"), seconds
        self._lock = threading.Lock()

    def run(self, task: TaskSpec, cancelled: threading.Event) -> Outcome:
        """See `Executor.run`."""
        from kubernetes.client import ApiException, CoreV1Api

        api = CoreV1Api(self._client)
        began = time.monotonic()
        try:
            pod = self.pod(task)
            with self._lock:
                self.started.append(task.pod)
            api.create_namespaced_config_map(self.namespace, self.settings(task))
            api.create_namespaced_pod(self.namespace, pod)
            return self._follow(api, task, cancelled, began)
        except ApiException as error:
            return Outcome("FAILED", message=f"pod {task.pod}: {error.reason}: {str(error.body)[:500]}")
        finally:
            self.seconds[task.pod] = time.monotonic() - began
            self._remove(api, task.pod)

    def settings(self, task: TaskSpec) -> dict[str, Any]:
        """The ConfigMap that a task's pod mounts: the launcher and what it is to do."""
        told = {
            "command": task.command(),
            "executor_input": task.executor_input,
            "root": self.root(task),
            "namespace": self.namespace,
        }
        return {
            "metadata": {"name": task.pod, "labels": self._labels(task)},
            "data": {"launch.py": LAUNCHER.read_text(), "task.json": json.dumps(told)},
        }

    def pod(self, task: TaskSpec) -> dict[str, Any]:
        """The manifest of a task's pod."""
        extra = dict(task.kubernetes)
        folders = [{"name": f"artifacts-{n}", "emptyDir": {}} for n, _ in enumerate(ARTIFACT_FOLDERS)]
        mounts: list[dict[str, Any]] = [
            {"name": f"artifacts-{n}", "mountPath": folder} for n, folder in enumerate(ARTIFACT_FOLDERS)
        ]
        volumes: list[dict[str, Any]] = [
            {
                "name": f"secret-{n}",
                "secret": {"secretName": _secret(entry), "optional": bool(entry.get("optional")), "defaultMode": 0o440},
            }
            for n, entry in enumerate(extra.get("secretAsVolume", []))
        ]
        mounts += [
            {"name": f"secret-{n}", "mountPath": entry["mountPath"], "readOnly": True}
            for n, entry in enumerate(extra.get("secretAsVolume", []))
        ]
        maps = extra.get("configMapAsVolume", [])
        volumes += [
            {"name": f"map-{n}", "configMap": {"name": _config_map(entry), "optional": bool(entry.get("optional"))}}
            for n, entry in enumerate(maps)
        ]
        mounts += [
            {"name": f"map-{n}", "mountPath": entry["mountPath"], "readOnly": True} for n, entry in enumerate(maps)
        ]
        container = {
            "name": "main",
            "image": task.container["image"],
            "imagePullPolicy": extra.get("imagePullPolicy") or "IfNotPresent",
            "command": ["python3", "/kfp-launcher/launch.py", "/kfp-launcher/task.json"],
            "env": _environment(task),
            "resources": _resources(task.container.get("resources") or {}),
            "volumeMounts": [{"name": "launcher", "mountPath": "/kfp-launcher", "readOnly": True}, *mounts],
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
        spec: dict[str, Any] = {
            "restartPolicy": "Never",
            "serviceAccountName": self.account,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 5,
            "activeDeadlineSeconds": round(float(extra.get("activeDeadlineSeconds") or self._limit)),
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": [{"name": "launcher", "configMap": {"name": task.pod}}, *folders, *volumes],
        }
        if self.user:
            spec["securityContext"] |= {"runAsUser": self.user, "runAsGroup": self.user, "fsGroup": self.user}
        if selector := (extra.get("nodeSelector") or {}).get("labels"):
            spec["nodeSelector"] = selector
        if tolerations := [_toleration(t) for t in extra.get("tolerations", [])]:
            spec["tolerations"] = tolerations
        told = extra.get("podMetadata") or {}
        return {
            "metadata": {
                "name": task.pod,
                "labels": {**(told.get("labels") or {}), **self._labels(task)},
                "annotations": {
                    **(told.get("annotations") or {}),
                    "workflows.argoproj.io/node-name": f"{task.run_id}.{task.name}",
                },
            },
            "spec": spec,
        }

    def root(self, task: TaskSpec) -> str:
        """Where a task's artifacts, log and output go."""
        found = task_root(task)
        return found if "://" in found else f"{self._root}/{found}"

    def _labels(self, task: TaskSpec) -> dict[str, str]:
        return {"pipeline/runid": task.run_id, "workflows.argoproj.io/workflow": f"run-{task.run_id[:8]}"}

    def _follow(self, api: CoreV1Api, task: TaskSpec, cancelled: threading.Event, began: float) -> Outcome:
        while True:
            pod = api.read_namespaced_pod(task.pod, self.namespace)
            phase = pod.status.phase
            if phase == "Succeeded":
                output = json.loads(self._read(f"{self.root(task)}/executor_output.json"))
                return Outcome("SUCCEEDED", output, log=self._log(api, task.pod))
            if phase == "Failed":
                return Outcome("FAILED", log=self._log(api, task.pod), message=_why(pod))
            if cancelled.wait(POLL_SECONDS):
                log = self._log(api, task.pod)
                return Outcome("FAILED", log=log, message="workflow shutdown with strategy:  Terminate")
            if time.monotonic() > began + self._limit:
                return Outcome("FAILED", log=self._log(api, task.pod), message=f"it took too long: {_why(pod)}")

    def _log(self, api: CoreV1Api, name: str) -> str:
        from kubernetes.client import ApiException

        with contextlib.suppress(ApiException):
            return str(api.read_namespaced_pod_log(name, self.namespace))
        return ""

    def _remove(self, api: CoreV1Api, name: str) -> None:
        from kubernetes.client import ApiException

        with contextlib.suppress(ApiException):
            api.delete_namespaced_config_map(name, self.namespace)
        with contextlib.suppress(ApiException):
            api.delete_namespaced_pod(name, self.namespace, grace_period_seconds=1)


def _environment(task: TaskSpec) -> list[dict[str, Any]]:
    """The variables of a task's container: constants of the IR, field paths and secrets of the platform document."""
    found: list[dict[str, Any]] = [dict(e) for e in task.container.get("env", [])]
    found += [
        {"name": entry["name"], "valueFrom": {"fieldRef": {"fieldPath": entry["fieldPath"]}}}
        for entry in task.kubernetes.get("fieldPathAsEnv", [])
    ]
    for entry in task.kubernetes.get("secretAsEnv", []):
        for pair in entry["keyToEnv"]:
            reference = {"name": _secret(entry), "key": pair["secretKey"], "optional": bool(entry.get("optional"))}
            found.append({"name": pair["envVar"], "valueFrom": {"secretKeyRef": reference}})
    return found


def _secret(entry: dict[str, Any]) -> str:
    return str(entry.get("secretName") or entry["secretNameParameter"]["runtimeValue"]["constant"])


def _config_map(entry: dict[str, Any]) -> str:
    return str(entry.get("configMapName") or entry["configMapNameParameter"]["runtimeValue"]["constant"])


def _resources(told: dict[str, Any]) -> dict[str, Any]:
    requests = {"cpu": told.get("resourceCpuRequest"), "memory": told.get("resourceMemoryRequest")}
    limits = {"cpu": told.get("resourceCpuLimit"), "memory": told.get("resourceMemoryLimit")}
    accelerator = told.get("accelerator") or {}
    if accelerator.get("resourceCount"):
        limits[accelerator["resourceType"]] = str(accelerator["resourceCount"])
    named = {"requests": requests, "limits": limits}
    return {kind: {k: v for k, v in values.items() if v} for kind, values in named.items()}


def _toleration(entry: dict[str, Any]) -> dict[str, Any]:
    named = {k: entry.get(k) for k in ("key", "operator", "value", "effect", "tolerationSeconds")}
    return {k: v for k, v in named.items() if v not in (None, "")}


def _why(pod: Any) -> str:
    """Why a pod has failed, or does not run, in Argo's way of saying it."""
    status = pod.status
    for one in status.container_statuses or ():
        ended, waiting = one.state.terminated, one.state.waiting
        if ended is not None:
            return f"{one.name}: {ended.reason or 'Error'} (exit code {ended.exit_code})"
        if waiting is not None and waiting.reason not in _PASSING:
            return f"{one.name}: {waiting.reason}: {waiting.message or ''}"
    for condition in status.conditions or ():
        if condition.status == "False" and condition.message:
            return f"{condition.reason}: {condition.message}"
    return f"{status.reason or status.phase}: {status.message or ''}"
