"""What the cluster around the backend would tell about a run's pods: Kubernetes' API, three lists of it.

Only as much as reading reasons needs: pods by label, events of a namespace, Argo's Workflows by label. What a real
API server does with such requests is tested against one (`tests/cluster`).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from tests.servers.kubeflow.backend import ApiError

Item = dict[str, Any]


class ClusterObjects:
    """Objects that were put there.

    Attributes:
        allowed: whether one may read them; 403 otherwise.
    """

    def __init__(self) -> None:
        self.allowed = True
        self._pods: list[Item] = []
        self._events: list[Item] = []
        self._workflows: list[Item] = []
        self._lock = threading.Lock()

    def add_pod(
        self, name: str, run_id: str, *, namespace: str = "kubeflow", waiting: tuple[str, str] | None = None,
        unschedulable: str = "", task: str = "",
    ) -> None:  # fmt: skip
        """A pod of a run.

        Args:
            name: its name.
            run_id: the backend's run.
            namespace: where it is.
            waiting: reason and message of a container that does not start.
            unschedulable: message of the scheduler where no node takes it.
            task: display name of its task.
        """
        status: Item = {"phase": "Pending"}
        if waiting:
            status["containerStatuses"] = [{
                "name": "main", "ready": False, "restartCount": 0, "image": "x", "imageID": "",
                "state": {"waiting": {"reason": waiting[0], "message": waiting[1]}},
            }]  # fmt: skip
        if unschedulable:
            status["conditions"] = [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": unschedulable}
            ]
        with self._lock:
            self._pods.append({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": namespace, "labels": {"pipeline/runid": run_id},
                             "annotations": {"workflows.argoproj.io/node-name": f"w.{task}"} if task else {}},
                "spec": {"containers": [{"name": "main", "image": "x"}]},
                "status": status,
            })  # fmt: skip

    def add_event(
        self, about: str, reason: str, message: str, *, namespace: str = "kubeflow", kind: str = "Pod"
    ) -> None:
        """An event of an object."""
        with self._lock:
            self._events.append({
                "metadata": {"name": f"{about}.{len(self._events)}", "namespace": namespace},
                "involvedObject": {"kind": kind, "name": about, "namespace": namespace},
                "reason": reason, "message": message, "type": "Warning",
            })  # fmt: skip

    def add_workflow(
        self, run_id: str, *, namespace: str = "kubeflow", message: str = "", nodes: Mapping[str, str] | None = None
    ) -> None:
        """A run's Workflow with its own message and its nodes'."""
        with self._lock:
            self._workflows.append({
                "metadata": {"name": f"w-{run_id[:5]}", "namespace": namespace, "labels": {"pipeline/runid": run_id}},
                "status": {"phase": "Running", "message": message, "nodes": {
                    f"n{i}": {"displayName": name, "phase": "Error", "message": text, "type": "Pod"}
                    for i, (name, text) in enumerate((nodes or {}).items())
                }},
            })  # fmt: skip

    def answer(self, method: str, path: str, query: Mapping[str, str]) -> Item:
        """What the API server answers."""
        if not self.allowed or method != "GET":
            raise ApiError(403, "pods is forbidden: User cannot list resource")
        parts = path.strip("/").split("/")
        namespace, kind = parts[parts.index("namespaces") + 1], parts[-1]
        with self._lock:
            items = {"pods": self._pods, "events": self._events, "workflows": self._workflows}.get(kind)
            if items is None:
                raise ApiError(404, "not found")
            label, _, value = query.get("labelSelector", "").partition("=")
            found = [
                i for i in items
                if i["metadata"]["namespace"] == namespace
                and (not label or i["metadata"].get("labels", {}).get(label) == value)
            ]  # fmt: skip
            if "fieldSelector" in query:
                wanted = dict(p.partition("=")[::2] for p in query["fieldSelector"].split(","))
                name = wanted.get("involvedObject.name")
                found = [i for i in found if name in (None, i["involvedObject"]["name"])]
        return {"kind": "List", "apiVersion": "v1", "metadata": {}, "items": found}
