"""Whether requests can be split here: canary shares, or one version replaced by the next.

`spec.canary` came with KServe 0.20, and only its Gateway API routes have weights; with Ingress or Knative the field is
taken and changes nothing. What cannot be split is replaced, and that is said, never half done.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any, Literal

from trimtab.monitoring.kserve.api import Api, ApiError, Object
from trimtab.monitoring.kserve.inference_service import API_VERSION, CONTAINER, FORMAT, GROUP, path

# Asked again after so long: an upgraded KServe is found without a restart.
ASK_AGAIN_SECONDS = 600.0
CONFIG = "/api/v1/namespaces/kserve/configmaps/inferenceservice-config"
_GATEWAY = "/apis/gateway.networking.k8s.io/v1"
_PROBE = "trimtab-probe"
# What an InferenceService before 0.20 does not have.
_LATE = ("spec.canary", "spec.predictor.name")


@dataclass(frozen=True)
class Strategy:
    """How a version takes over on this cluster.

    Attributes:
        kind: `canary` (shares), `replace` (one change of storageUri), or `none` (KServe is not there).
        why: the sentence for `replace` and `none`; empty for `canary`.
    """

    kind: Literal["canary", "replace", "none"]
    why: str = ""


class Chooser:
    """Finds out once in a while what a cluster can do.

    Args:
        api: the Kubernetes API.
        namespace: where the models are.
    """

    def __init__(self, api: Api, namespace: str) -> None:
        self._api, self._namespace = api, namespace
        self._known: tuple[float, Strategy] | None = None

    def strategy(self) -> Strategy:
        """What this cluster can do.

        Raises:
            ApiError: it does not answer, or refuses to be asked.
        """
        now = time.monotonic()
        if self._known is None or now - self._known[0] > ASK_AGAIN_SECONDS:
            self._known = now, choose(self._api, self._namespace)
        return self._known[1]


def choose(api: Api, namespace: str) -> Strategy:
    """Ask the cluster: the InferenceService's schema by a dry run, the Gateway API, KServe's settings where readable.

    Raises:
        ApiError: it does not answer, or refuses to be asked.
    """
    try:
        api.apply(path(namespace, _PROBE), _probe(namespace), dry_run=True)
    except ApiError as error:
        if error.status == 404:
            return Strategy("none", "KServe is not installed: there is no InferenceService (serving.kserve.io/v1beta1)")
        if error.status == 403:  # who may not make resources (on-call) goes by what is there
            return Strategy("canary")
        # A field that the schema lacks is named; server-side apply answers 500 to it, a strict decoder 400.
        if error.status not in {400, 422, 500} or not any(name in error.message for name in _LATE):
            raise
        return Strategy("replace", "KServe's InferenceService has no spec.canary, which came with 0.20")
    if api.get(_GATEWAY) is None:
        return Strategy("replace", "the Gateway API is not installed, and other ingresses do not split requests")
    return of_settings(_settings(api))


def of_settings(settings: Object | None) -> Strategy:
    """What KServe's own settings allow; what cannot be read allows all, and is watched.

    >>> of_settings({"data": {"ingress": '{"enableGatewayApi": false}'}}).kind
    'replace'
    """
    data = (settings or {}).get("data") or {}
    try:
        ingress: Any = json.loads(data.get("ingress") or "{}")
    except ValueError:
        ingress = {}
    if ingress and not ingress.get("enableGatewayApi", False):
        return Strategy(
            "replace", "KServe's ingress is not the Gateway API (enableGatewayApi), which alone has weights"
        )
    if ingress.get("disableIngressCreation", False):
        return Strategy("replace", "KServe makes no routes here (disableIngressCreation)")
    return Strategy("canary")


def of_mode(found: Object) -> Strategy | None:
    """What an InferenceService's own mode rules out; None where it rules out nothing."""
    mode = str((found.get("status") or {}).get("deploymentMode") or "Standard")
    if mode in {"Standard", "RawDeployment"}:
        return None
    return Strategy("replace", f"KServe runs it in the mode {mode}, where spec.canary is not followed")


def _settings(api: Api) -> Object | None:
    try:
        return api.get(CONFIG)
    except ApiError as error:
        if error.status == 403:  # KServe's namespace need not be ours to read
            return None
        raise


def _probe(namespace: str) -> Object:
    def predictor(name: str) -> Object:
        model = {"name": CONTAINER, "modelFormat": {"name": FORMAT}, "storageUri": f"s3://{_PROBE}/{name}"}
        return {"name": name, "minReplicas": 1, "model": model}

    return {
        "apiVersion": API_VERSION,
        "kind": "InferenceService",
        "metadata": {
            "name": _PROBE,
            "namespace": namespace,
            "annotations": {f"{GROUP}/deploymentMode": "Standard", f"{GROUP}/autoscalerClass": "none"},
        },
        "spec": {"predictor": predictor("a"), "canary": [{"predictor": predictor("b"), "trafficPercent": 0}]},
    }
