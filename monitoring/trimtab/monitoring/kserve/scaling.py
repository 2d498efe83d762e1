"""The HorizontalPodAutoscaler of a model that sets `serving.max_replicas`: pods follow the requests in flight.

It is ours, one a model, and moves with the champion; KServe's own would stay behind at each promotion. Requests in
flight (`trimtab_server_in_flight`) reach Kubernetes through a custom metrics adapter, Prometheus Adapter for example.
"""

from __future__ import annotations

from trimtab.monitoring.kserve.api import Object
from trimtab.monitoring.kserve.disruption import metadata
from trimtab.monitoring.kserve.inference_service import Shape

METRIC = "trimtab_server_in_flight"
# One model run takes one thread: with more in flight than these, requests wait for each other.
IN_FLIGHT_PER_POD = 4
# Fewer pods only after so long without need, seconds: load that comes in waves keeps its pods.
CALM_SECONDS = 300


def path(namespace: str, model: str) -> str:
    """The API's path of the autoscaler."""
    return f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers/{model}-predictor"


def scale_path(namespace: str, deployment: str) -> str:
    """The API's path of a Deployment's scale."""
    return f"/apis/apps/v1/namespaces/{namespace}/deployments/{deployment}/scale"


def autoscaler(model: str, namespace: str, owner: Object, shape: Shape, deployment: str) -> Object | None:
    """The autoscaler of the champion's Deployment; None where the number of pods is fixed.

    Args:
        model: the model's name.
        namespace: where it is.
        owner: its InferenceService, with which the autoscaler goes.
        shape: what the champion's `serving` block says.
        deployment: the champion's Deployment.
    """
    if shape.max_replicas is None:
        return None
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(f"{model}-predictor", model, namespace, owner),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment},
            "minReplicas": shape.replicas,
            "maxReplicas": shape.max_replicas,
            "metrics": [
                {
                    "type": "Pods",
                    "pods": {
                        "metric": {"name": METRIC, "selector": {"matchLabels": {"model": model}}},
                        "target": {"type": "AverageValue", "averageValue": str(IN_FLIGHT_PER_POD)},
                    },
                }
            ],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": CALM_SECONDS}},
        },
    }
