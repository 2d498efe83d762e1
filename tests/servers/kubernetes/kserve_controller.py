"""Plays KServe's controller: InferenceServices become Deployments, Services and HTTPRoutes, as KServe 0.20 makes them.

What it stands for was read in KServe's sources and seen on a real one: names, canaries filled in from the stable
predictor, their pods taken from the stable one's, weights for canaries that have an available pod, orphans removed,
pods rolled whenever labels or annotations of the resource change. It has no webhooks (so it refuses nothing), no
autoscaler of its own, and no storage-initializer: the server is given the storageUri in place of `/mnt/models`.

Its Deployments are real. Where nothing runs them `played_pods` does; on a whole node the node does.
"""

from __future__ import annotations

import copy
import json
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trimtab.monitoring.kserve.api import ApiError, KubernetesApi

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Object = dict[str, Any]
GROUP = "serving.kserve.io"
SOURCE = "internal.serving.kserve.io/storage-initializer-sourceuri"
MANAGER = "kserve-controller"
# Fields of a predictor that are its pods' (PodSpec), and of a model that are its container's.
_POD = (
    "serviceAccountName", "automountServiceAccountToken", "securityContext", "terminationGracePeriodSeconds",
    "topologySpreadConstraints", "nodeSelector", "tolerations", "affinity",
)  # fmt: skip
_CONTAINER = ("resources", "env", "args", "securityContext")


@dataclass
class Faults:
    """What goes wrong; any test may change it at any moment.

    Attributes:
        deaf: nothing is reconciled.
        keeps_weights: routes stay as they are.
        no_routes: the ingress is not the Gateway API.
    """

    deaf: bool = False
    keeps_weights: bool = False
    no_routes: bool = False


class KServeController:
    """Reconciles the InferenceServices of some namespaces; `with KServeController(…)` starts and ends it.

    Args:
        client: an administrator's client of the API.
        namespaces: whose resources.
        every: seconds between two looks.

    Attributes:
        faults: what goes wrong.
        trouble: what the last look failed with; empty when it did not.
    """

    def __init__(self, client: ApiClient, namespaces: Sequence[str], every: float = 0.1) -> None:
        self.api = KubernetesApi(client, manager=MANAGER)
        self.faults, self.trouble = Faults(), ""
        self._namespaces, self._every = list(namespaces), every
        self._applied: dict[str, Object] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="kserve-controller", daemon=True)

    def __enter__(self) -> KServeController:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(timeout=30)

    def _work(self) -> None:
        while not self._stopped.wait(self._every):
            try:
                self.look()
                self.trouble = ""
            except ApiError as error:
                self.trouble = error.sentence()

    def look(self) -> None:
        """Reconcile everything once."""
        for namespace in self._namespaces:
            for one in [] if self.faults.deaf else self.api.list(path(namespace, "inferenceservices")):
                self.reconcile(one)

    def reconcile(self, isvc: Object) -> None:
        """Bring one InferenceService's objects to what it says."""
        name, namespace = isvc["metadata"]["name"], isvc["metadata"]["namespace"]
        stable = isvc["spec"]["predictor"]
        canaries = list(isvc["spec"].get("canary") or [])
        usual = int(stable.get("minReplicas", 1))
        ready: dict[str, bool] = {}
        expected = {deployment_name(name, stable.get("name"))}
        taken = 0
        for canary in canaries:
            own = canary["predictor"]
            pods = int(own.get("minReplicas", math.ceil(usual * canary["trafficPercent"] / 100)))
            self._deploy(isvc, merged(stable, own), pods)
            expected.add(deployment_name(name, own["name"]))
            ready[own["name"]] = self._available(namespace, deployment_name(name, own["name"])) > 0
            taken += pods if ready[own["name"]] else 0
        self._deploy(isvc, stable, max(usual - taken, 1) if taken else usual)
        for kind in ("deployments", "services"):
            for found in self.api.list(path(namespace, kind), f"{GROUP}/inferenceservice={name},component=predictor"):
                if found["metadata"]["name"] not in expected:
                    where = f"{path(namespace, kind)}/{found['metadata']['name']}"
                    self.api.delete(where)
                    self._applied.pop(where, None)
        if not self.faults.keeps_weights and not self.faults.no_routes:
            self._route(isvc, canaries, ready)
        self._status(isvc, canaries, ready)

    def _apply(self, where: str, body: Object) -> None:
        """Apply what has changed since the last look; what others do to these objects stays."""
        if self._applied.get(where) != body:
            self.api.apply(where, body, force=True)
            self._applied[where] = copy.deepcopy(body)

    def _deploy(self, isvc: Object, predictor: Object, pods: int) -> None:
        meta = isvc["metadata"]
        namespace, name = meta["namespace"], deployment_name(meta["name"], predictor.get("name"))
        model = predictor["model"]
        runtime = self.api.get(f"{path(namespace, 'servingruntimes')}/{model.get('runtime', 'none')}")
        if runtime is None:  # the real one says so in status.modelStatus alone
            return
        labels = {
            **(meta.get("labels") or {}),
            "app": f"isvc.{name}",
            "component": "predictor",
            f"{GROUP}/inferenceservice": meta["name"],
        }
        notes = {**(meta.get("annotations") or {}), SOURCE: model["storageUri"]}
        notes.pop("kubectl.kubernetes.io/last-applied-configuration", None)
        annotated = {**notes, **(runtime["spec"].get("annotations") or {})}
        spec: Object = {
            "selector": {"matchLabels": {"app": f"isvc.{name}"}},
            "template": {
                "metadata": {"labels": {**(runtime["spec"].get("labels") or {}), **labels}, "annotations": annotated},
                "spec": self._pod(meta["name"], predictor, runtime),
            },
            "strategy": predictor.get("deploymentStrategy") or {"type": "RollingUpdate"},
        }
        if notes.get(f"{GROUP}/autoscalerClass") == "none":
            spec["replicas"] = pods
        common = {"namespace": namespace, "name": name, "labels": labels, "ownerReferences": [owner(isvc)]}
        deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": common, "spec": spec}
        self._apply(f"{path(namespace, 'deployments')}/{name}", deployment)
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": common,
            "spec": {
                "selector": {"app": f"isvc.{name}"},
                "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
            },
        }
        self._apply(f"{path(namespace, 'services')}/{name}", service)

    def _pod(self, name: str, predictor: Object, runtime: Object) -> Object:
        """The pod: the runtime's container, with what the resource says about it on top."""
        model = predictor["model"]
        container = json.loads(json.dumps(runtime["spec"]["containers"][0]).replace("{{.Name}}", name))
        container = merged(container, {key: model[key] for key in _CONTAINER if model.get(key)})
        container["name"] = model.get("name") or container["name"]
        given = f"--bundle={model['storageUri']}"
        container["args"] = [given if a == "--bundle=/mnt/models" else a for a in container["args"]]
        return {
            "containers": [container],
            "volumes": copy.deepcopy(runtime["spec"].get("volumes") or []),
            **{key: predictor[key] for key in _POD if key in predictor},
        }

    def _available(self, namespace: str, deployment: str) -> int:
        found = self.api.get(f"{path(namespace, 'deployments')}/{deployment}") or {}
        return int((found.get("status") or {}).get("availableReplicas") or 0)

    def _route(self, isvc: Object, canaries: list[Object], ready: dict[str, bool]) -> None:
        """The model's route and the predictor's, the second for a host of its own."""
        meta = isvc["metadata"]
        name, namespace = meta["name"], meta["namespace"]
        stable = deployment_name(name, isvc["spec"]["predictor"].get("name"))
        there = self.api.get(f"{path(namespace, 'httproutes')}/{name}")
        if not self._available(namespace, stable) and there is None:
            return
        refs = [_backend(stable, namespace)]
        if canaries:
            tried = [c for c in canaries if ready[c["predictor"]["name"]]]
            refs[0]["weight"] = 100 - sum(c["trafficPercent"] for c in tried)
            refs += [
                {
                    **_backend(deployment_name(name, c["predictor"]["name"]), namespace),
                    "weight": c["trafficPercent"],
                }
                for c in tried
            ]
        for route, host in ((name, f"{name}-{namespace}"), (f"{name}-predictor", f"{name}-predictor-{namespace}")):
            body = {
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "HTTPRoute",
                "metadata": {"name": route, "namespace": namespace, "ownerReferences": [owner(isvc)]},
                "spec": {
                    "hostnames": [f"{host}.example.com"],
                    "parentRefs": [{"name": "kserve-ingress-gateway", "namespace": "kserve"}],
                    "rules": [
                        {
                            "matches": [{"path": {"type": "RegularExpression", "value": "^/.*$"}}],
                            "backendRefs": refs,
                        }
                    ],
                },
            }
            self._apply(f"{path(namespace, 'httproutes')}/{route}", body)

    def _status(self, isvc: Object, canaries: list[Object], ready: dict[str, bool]) -> None:
        """As early and as rosy as the real one's: nobody should decide on it."""
        meta = isvc["metadata"]
        statuses = [
            {
                "name": c["predictor"]["name"],
                "ready": ready[c["predictor"]["name"]],
                "trafficPercent": c["trafficPercent"],
            }
            for c in canaries
        ]
        body = {
            "apiVersion": isvc["apiVersion"],
            "kind": isvc["kind"],
            "metadata": {"name": meta["name"], "namespace": meta["namespace"]},
            "status": {"deploymentMode": "Standard", **({"canaryStatuses": statuses} if statuses else {})},
        }
        where = f"{path(meta['namespace'], 'inferenceservices')}/{meta['name']}/status"
        self._apply(where, body)


def path(namespace: str, plural: str) -> str:
    """The API's path of a collection."""
    groups = {
        "inferenceservices": f"/apis/{GROUP}/v1beta1",
        "servingruntimes": f"/apis/{GROUP}/v1alpha1",
        "deployments": "/apis/apps/v1",
        "services": "/api/v1",
        "httproutes": "/apis/gateway.networking.k8s.io/v1",
    }
    return f"{groups[plural]}/namespaces/{namespace}/{plural}"


def deployment_name(name: str, predictor: str | None) -> str:
    """Name of a predictor's Deployment and Service."""
    return f"{name}-{predictor}-predictor" if predictor else f"{name}-predictor"


def merged(base: Object, over: Object) -> Object:
    """`over` on top of `base`, objects by their fields and lists as a whole; empty values change nothing."""
    out = copy.deepcopy(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merged(out[key], value)
        elif value not in (None, "", [], {}):
            out[key] = copy.deepcopy(value)
    return out


def owner(isvc: Object) -> Object:
    """The reference by which an object goes when the InferenceService goes."""
    meta = isvc["metadata"]
    return {
        "apiVersion": isvc["apiVersion"], "kind": isvc["kind"], "name": meta["name"], "uid": meta["uid"],
        "controller": True,
    }  # fmt: skip


def _backend(service: str, namespace: str) -> Object:
    return {"kind": "Service", "name": service, "namespace": namespace, "port": 80}
