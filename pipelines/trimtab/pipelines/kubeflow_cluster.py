"""What the cluster itself tells of a run's pods, where one may ask: events, pod states, Argo's Workflow.

Only here does it stand that an image cannot be pulled, that no node takes a pod, or that a service account is
missing: the backend shows such a run as RUNNING until its time limit. Whoever may not read pods learns less, and no
error says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

RUN_LABEL = "pipeline/runid"
_TIMEOUT = (3.0, 10.0)
# Why a container does not start, and goes on not starting.
_STUCK = {
    "ErrImagePull": "its image cannot be pulled",
    "ImagePullBackOff": "its image cannot be pulled",
    "InvalidImageName": "its image's name is none",
    "ErrImageNeverPull": "its image is not on the node, and may not be pulled",
    "CreateContainerConfigError": "its container cannot be made",
    "CreateContainerError": "its container cannot be made",
    "RunContainerError": "its container cannot be started",
}
_EVENTS = {
    "FailedMount": "a volume cannot be mounted",
    "FailedCreatePodSandBox": "the pod's sandbox cannot be made",
    "FailedCreate": "the pod cannot be made",
}
_FORBIDDEN = re.compile(r"serviceaccount|service account|is forbidden|exceeded quota|violates PodSecurity", re.I)


@dataclass(frozen=True)
class Trouble:
    """Something that keeps a run from going on.

    Attributes:
        kind: `image`, `config`, `schedule`, `forbidden`, `volume`.
        pod: the pod that it is about, or the Workflow.
        message: in words.
        passing: it may end by itself: a node is on its way.
    """

    kind: str
    pod: str
    message: str
    passing: bool = False


class Cluster:
    """The cluster's API, by the same rights that kubectl would have here.

    Args:
        namespace: where the pods are.
        client: a `kubernetes.client.ApiClient`; by default one of this pod or of the user's kubeconfig.
    """

    def __init__(self, namespace: str = "", client: Any = None) -> None:
        self.namespace = namespace or "kubeflow"
        self._client = client if client is not None else _find_client()

    @property
    def there(self) -> bool:
        """Whether there is a cluster to ask."""
        return self._client is not None

    def troubles(self, run_id: str) -> list[Trouble]:
        """What keeps a run's pods from going on; empty where nothing does, or nothing may be read."""
        found: list[Trouble] = []
        for pod in self._list("pods", run_id):
            found += self._of_pod(pod)
        for message in self.messages(run_id):
            if _FORBIDDEN.search(message):
                found.append(Trouble("forbidden", "", message))
        return found

    def messages(self, run_id: str) -> list[str]:
        """What Argo says about a run and its nodes (gone an hour after its end)."""
        said: list[str] = []
        for workflow in self._list("workflows", run_id):
            status = workflow.get("status") or {}
            nodes = list((status.get("nodes") or {}).values())
            if status.get("message"):
                said.append(str(status["message"]))
            said += [
                f"{n.get('displayName', '')}: {n['message']}"
                for n in nodes
                if n.get("message") and n.get("phase") in ("Error", "Failed", "Pending")
            ]
        return list(dict.fromkeys(said))

    def _of_pod(self, pod: dict[str, Any]) -> list[Trouble]:
        name = str(pod["metadata"]["name"])
        status = pod.get("status") or {}
        found = []
        for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in _STUCK:
                kind = "image" if "mage" in waiting["reason"] else "config"
                found.append(
                    Trouble(kind, name, f"{_STUCK[waiting['reason']]}: {waiting.get('message') or 'no words'}")
                )
        if found or status.get("phase") not in ("Pending", None, ""):
            return found
        events = self._events(name)
        scaling = any(e.get("reason") == "TriggeredScaleUp" for e in events)
        found += [
            Trouble("schedule", name, f"no node takes it: {condition.get('message') or 'no words'}", scaling)
            for condition in status.get("conditions") or []
            if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable"
        ]
        if not found:
            for event in events:
                if event.get("reason") in _EVENTS:
                    kind = "volume" if event["reason"] == "FailedMount" else "config"
                    found.append(Trouble(kind, name, f"{_EVENTS[event['reason']]}: {event.get('message', '')}"))
        return found[:2]

    def _events(self, pod: str) -> list[dict[str, Any]]:
        path = f"/api/v1/namespaces/{self.namespace}/events"
        return self._get(path, [("fieldSelector", f"involvedObject.kind=Pod,involvedObject.name={pod}")])

    def _list(self, kind: str, run_id: str) -> list[dict[str, Any]]:
        group = "/api/v1" if kind == "pods" else "/apis/argoproj.io/v1alpha1"
        return self._get(f"{group}/namespaces/{self.namespace}/{kind}", [("labelSelector", f"{RUN_LABEL}={run_id}")])

    def _get(self, path: str, query: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
        if self._client is None:
            return []
        from kubernetes.client.exceptions import ApiException
        from kubernetes.config import ConfigException
        from urllib3.exceptions import HTTPError

        try:
            told, _, _ = self._client.call_api(
                path, "GET", query_params=list(query), response_type="object",
                header_params={"Accept": "application/json"}, auth_settings=["BearerToken"], _request_timeout=_TIMEOUT,
            )  # fmt: skip
        except (ApiException, ConfigException, HTTPError, OSError, ValueError):
            return []  # one may not ask, or nobody answers: then these reasons stay unknown
        items = told.get("items") if isinstance(told, dict) else None
        return [i for i in items or [] if isinstance(i, dict)]


def _find_client() -> Any:
    """A client by this pod's or the user's rights; None where there is no cluster or no client library."""
    try:
        from kubernetes import client, config

        configuration: Any = client.Configuration()
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            config.load_kube_config(client_configuration=configuration)
        configuration.retries = False
        return client.ApiClient(configuration)
    except Exception:  # noqa: BLE001 - whatever is missing, there is nobody to ask
        return None
