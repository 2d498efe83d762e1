"""The InferenceService of a model: written from the `serving` block and the ledger, and read back.

It is applied as field manager `trimtab-rollout`, with the fields named here and no others: labels, resources and
whatever else another manager applies stay theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trimtab.core.errors import ProjectError
from trimtab.monitoring.kserve.api import MANAGER, Object
from trimtab.monitoring.kserve.plan import Live, Track

if TYPE_CHECKING:
    from trimtab.core.store import Store

GROUP = "serving.kserve.io"
API_VERSION = f"{GROUP}/v1beta1"
MODEL_LABEL = "trimtab.dev/model"
FORMAT = "trimtab"
SERVICE_ACCOUNT = "trimtab-server"
CONTAINER = "kserve-container"
_RUNTIME = re.compile(r"trimtab-server-v([0-9]{1,6})")
# Requests in flight get so long to end, the preStop pause of the runtime included.
GRACE_SECONDS = 60
# KServe's host `<name>-<namespace>` and the like have to be DNS labels.
NAME_AND_NAMESPACE = 52


@dataclass(frozen=True)
class Shape:
    """What a version's `serving` block says about its pods.

    Attributes:
        replicas: pods, at least.
        max_replicas: pods at most, where they follow the load; None keeps `replicas`.
        cpu: cores of one pod; None leaves it to the runtime.
        memory: memory of one pod, as Kubernetes writes it; empty leaves it to the runtime.
    """

    replicas: int = 1
    max_replicas: int | None = None
    cpu: float | None = None
    memory: str = ""

    @classmethod
    def of(cls, project: Mapping[str, Any]) -> Shape:
        """Read the `serving` block of a canonical project.

        >>> Shape.of({"serving": {"replicas": 2, "cpu": 0.5}})
        Shape(replicas=2, max_replicas=None, cpu=0.5, memory='')
        """
        block = project.get("serving") or {}
        replicas = int(block.get("replicas") or 1)
        most = block.get("max_replicas")
        cpu = block.get("cpu")
        return cls(
            replicas=replicas,
            max_replicas=int(most) if most and int(most) > replicas else None,
            cpu=float(cpu) if cpu else None,
            memory=str(block.get("memory") or ""),
        )

    @property
    def resources(self) -> Object:
        """Kubernetes' `resources`; requests and limits are the same, so that a pod is not the first to be evicted."""
        named = {"cpu": f"{self.cpu:g}"} if self.cpu else {}
        named |= {"memory": self.memory} if self.memory else {}
        return {"requests": dict(named), "limits": dict(named)} if named else {}


def newest_runtime(names: Iterable[str]) -> str | None:
    """The newest ServingRuntime of the model server; None where there is none.

    A runtime is never edited, for that would restart every pod on it: a changed one has a higher number, and the next
    version of each model is put on it.

    >>> newest_runtime(["trimtab-server-v9", "trimtab-server-v10", "other-v11"])
    'trimtab-server-v10'
    """
    found = [(int(match[1]), name) for name in names if (match := _RUNTIME.fullmatch(name))]
    return max(found)[1] if found else None


def path(namespace: str, name: str) -> str:
    """The API's path of an InferenceService."""
    return f"/apis/{API_VERSION}/namespaces/{namespace}/inferenceservices/{name}"


def runtimes_path(namespace: str) -> str:
    """The API's path of a namespace's ServingRuntimes."""
    return f"/apis/{GROUP}/v1alpha1/namespaces/{namespace}/servingruntimes"


def check_names(model: str, namespace: str) -> None:
    """Refuse names that KServe cannot make a host of.

    Raises:
        ProjectError: together they are too long.
    """
    if len(model) + len(namespace) > NAME_AND_NAMESPACE:
        raise ProjectError(
            "the names of model and namespace are too long for KServe's host names",
            object=f"{model} in {namespace}",
            expected=f"at most {NAME_AND_NAMESPACE} characters together",
            got=str(len(model) + len(namespace)),
        )


def storage_uri(store: Store, model: str, version: str) -> str:
    """Where a pod finds a version."""
    return f"{store.url.rstrip('/')}/models/{model}/versions/{version}"


def resource(model: str, namespace: str, live: Live, shapes: Mapping[str, Shape], store: Store, runtime: str) -> Object:
    """The InferenceService that has these versions, as it is applied.

    Args:
        model: the model's name, which is the resource's too.
        namespace: where it is.
        live: what is to be there.
        shapes: version → what its `serving` block says.
        store: where the bundles are.
        runtime: the ServingRuntime of versions that have none yet.
    """
    assert live.stable is not None
    scaled = shapes[live.stable.version].max_replicas is not None
    spec: Object = {
        "predictor": {
            **_predictor(model, live.stable, shapes[live.stable.version], store, runtime),
            "serviceAccountName": SERVICE_ACCOUNT,
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "deploymentStrategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
            },
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": "kubernetes.io/hostname",
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": {f"{GROUP}/inferenceservice": model}},
                    "matchLabelKeys": ["pod-template-hash"],
                }
            ],
        }
    }
    if live.canary is not None:
        tried = _predictor(model, live.canary, shapes[live.canary.version], store, runtime)
        # KServe fills in the rest from the stable predictor, other managers' fields included.
        spec["canary"] = [{"predictor": tried, "trafficPercent": live.canary.percent}]
    return {
        "apiVersion": API_VERSION,
        "kind": "InferenceService",
        "metadata": {
            "name": model,
            "namespace": namespace,
            "labels": {
                "app.kubernetes.io/managed-by": MANAGER,
                "app.kubernetes.io/part-of": "trimtab",
                MODEL_LABEL: model,
            },
            "annotations": {
                f"{GROUP}/deploymentMode": "Standard",
                # Each promotion would leave an HPA of KServe's behind; where pods follow the load the HPA is ours.
                f"{GROUP}/autoscalerClass": "external" if scaled else "none",
            },
        },
        "spec": spec,
    }


def _predictor(model: str, track: Track, shape: Shape, store: Store, runtime: str) -> Object:
    container: Object = {
        "name": CONTAINER,
        "modelFormat": {"name": FORMAT},
        "runtime": track.runtime or runtime,
        "storageUri": storage_uri(store, model, track.version),
    }
    if shape.resources:
        container["resources"] = shape.resources
    return {**({"name": track.name} if track.name else {}), "minReplicas": track.replicas, "model": container}


def read(found: Object | None) -> Live:
    """The versions that an InferenceService has.

    >>> read({"spec": {"predictor": {"model": {"storageUri": "s3://b/models/m/versions/v1-0a1b2c3d"}}}}).stable.version
    'v1-0a1b2c3d'
    """
    if found is None:
        return Live()
    spec = found.get("spec") or {}
    canaries = spec.get("canary") or []
    canary = None
    if canaries:
        canary = _track(canaries[0].get("predictor") or {}, int(canaries[0].get("trafficPercent") or 0))
    return Live(_track(spec.get("predictor") or {}), canary)


def _track(predictor: Object, percent: int = 0) -> Track:
    model = predictor.get("model") or {}
    return Track(
        version=version_of(str(model.get("storageUri") or "")),
        name=str(predictor.get("name") or ""),
        replicas=int(predictor.get("minReplicas", 1)),
        percent=percent,
        runtime=str(model.get("runtime") or ""),
    )


def version_of(uri: str) -> str:
    """The version that a storageUri names: its last part.

    >>> version_of("s3://bucket/models/m/versions/v1-0a1b2c3d/")
    'v1-0a1b2c3d'
    """
    return uri.rstrip("/").rpartition("/")[2]


def is_ours(found: Object, model: str) -> bool:
    """Whether this controller made a resource; one restored from a backup has lost its managers and kept its labels."""
    metadata = found.get("metadata") or {}
    managers = {m.get("manager") for m in metadata.get("managedFields") or []}
    labels = metadata.get("labels") or {}
    return MANAGER in managers or (
        labels.get(MODEL_LABEL) == model and labels.get("app.kubernetes.io/managed-by") == MANAGER
    )


def deployment_name(model: str, name: str) -> str:
    """KServe's name of a predictor's Deployment and Service.

    >>> deployment_name("digits", "v1-0a1b2c3d"), deployment_name("digits", "")
    ('digits-v1-0a1b2c3d-predictor', 'digits-predictor')
    """
    return f"{model}-{name}-predictor" if name else f"{model}-predictor"
