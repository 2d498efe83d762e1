"""The PodDisruptionBudget of a model: a drain takes one pod at a time, and none of a model that has only one."""

from __future__ import annotations

from trimtab.monitoring.kserve.api import MANAGER, Object
from trimtab.monitoring.kserve.inference_service import GROUP, MODEL_LABEL

LABELS = {"app.kubernetes.io/managed-by": MANAGER, "app.kubernetes.io/part-of": "trimtab"}


def path(namespace: str, model: str) -> str:
    """The API's path of the budget."""
    return f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets/{model}-predictor"


def budget(model: str, namespace: str, owner: Object, replicas: int) -> Object | None:
    """The budget; None for a model with one pod, which a budget could only keep from being drained at all.

    Args:
        model: the model's name.
        namespace: where it is.
        owner: its InferenceService, with which the budget goes.
        replicas: pods of the champion, at least.
    """
    if replicas < 2:
        return None
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(f"{model}-predictor", model, namespace, owner),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": {f"{GROUP}/inferenceservice": model, "component": "predictor"}},
            # Pods that do not answer anyway may go: they would block the drain for ever.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def metadata(name: str, model: str, namespace: str, owner: Object) -> Object:
    """Metadata of an object that goes when the model's InferenceService goes."""
    return {
        "name": name,
        "namespace": namespace,
        "labels": {**LABELS, MODEL_LABEL: model},
        "ownerReferences": [
            {
                "apiVersion": owner["apiVersion"],
                "kind": owner["kind"],
                "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"],
            }
        ],
    }
