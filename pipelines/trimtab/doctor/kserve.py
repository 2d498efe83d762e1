"""KServe: CRDs, whether canaries work in its mode, the gateway, restricted namespaces, our runtime, autoscaling."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from trimtab.doctor.checks import Finding
from trimtab.doctor.cluster import APPLY
from trimtab.doctor.kube import Kube, Unreachable, Unseen, core, custom

if TYPE_CHECKING:
    from trimtab.doctor.checks import Where

GROUP = "serving.kserve.io"
GATEWAYS = "gateway.networking.k8s.io"
CONFIG = "inferenceservice-config"
STANDARD = ("Standard", "RawDeployment")
# Those that autoscalers ask, newest first.
METRICS_APIS = ("custom.metrics.k8s.io/v1beta2", "custom.metrics.k8s.io/v1beta1")
ADAPTER = "manifests/cluster/prometheus-adapter/values.yaml"
REPLACE = "`rollout.strategy: replace` is used: judged by replay of the log, then one change of storageUri"


def check_crds(_: Where, kube: Kube) -> Iterator[Finding]:
    """InferenceService is there, and has canaries."""
    name = f"inferenceservices.{GROUP}"
    try:
        crd = kube.get(custom("apiextensions.k8s.io", "v1", "customresourcedefinitions", name))
        served = [one for one in (crd or {}).get("spec", {}).get("versions", []) if one["name"] == "v1beta1"]
        has = bool(served) and "canary" in _properties(served[0])
    except Unseen:
        schema = kube.get(f"/openapi/v3/apis/{GROUP}/v1beta1")
        crd, has = schema, '"canary":' in json.dumps(schema or {})
    if crd is None:
        hint = "install KServe (manifests/versions.env has the release that is tried)"
        yield Finding("KServe", "failed", "there is no InferenceService", hint)
    elif not has:
        yield Finding("KServe", "warning", "InferenceService has no spec.canary", f"{REPLACE}; KServe 0.20 brings it")
    else:
        yield Finding("KServe", "ok", "InferenceService has spec.canary")


def _properties(version: dict[str, Any]) -> dict[str, Any]:
    schema = version.get("schema", {}).get("openAPIV3Schema", {})
    found: dict[str, Any] = schema.get("properties", {}).get("spec", {}).get("properties", {})
    return found


def check_mode(where: Where, kube: Kube) -> Iterator[Finding]:
    """Standard mode with the Gateway API, and a gateway that takes our namespace's routes."""
    config = kube.get(core(where.kserve_in, "configmaps", CONFIG))
    if config is None:
        hint = f"its controller reads {CONFIG} in namespace {where.kserve_in}: is KServe installed elsewhere?"
        yield Finding("KServe mode", "warning", f"no ConfigMap {CONFIG} in {where.kserve_in}", hint)
        return
    deploy, ingress = _json(config, "deploy"), _json(config, "ingress")
    mode = str(deploy.get("defaultDeploymentMode") or "Serverless")
    if mode not in STANDARD:
        hint = f"set defaultDeploymentMode: Standard in {where.kserve_in}/{CONFIG}; until then {REPLACE}"
        yield Finding("KServe mode", "warning", f"services are made in mode {mode}", hint)
    elif not ingress.get("enableGatewayApi"):
        hint = f"set enableGatewayApi: true in {where.kserve_in}/{CONFIG}; until then {REPLACE}"
        yield Finding("KServe mode", "warning", f"{mode} without the Gateway API honours no canary's share", hint)
    else:
        yield Finding("KServe mode", "ok", f"{mode} with the Gateway API")
        yield from _gateway(
            where, kube, str(ingress.get("kserveIngressGateway") or f"{where.kserve_in}/kserve-ingress-gateway")
        )


def _json(config: dict[str, Any], name: str) -> dict[str, Any]:
    try:
        found = json.loads((config.get("data") or {}).get(name) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _gateway(where: Where, kube: Kube, named: str) -> Iterator[Finding]:
    namespace, _, name = named.rpartition("/")
    found = kube.get(custom(GATEWAYS, "v1", "gateways", name, namespace or where.kserve_in))
    if found is None:
        hint = f"make it, or name yours as kserveIngressGateway in {where.kserve_in}/{CONFIG}"
        yield Finding("gateway", "failed", f"there is no Gateway {named}", hint)
        return
    conditions = {one["type"]: one for one in (found.get("status") or {}).get("conditions") or []}
    programmed = conditions.get("Programmed", {}).get("status") == "True"
    froms = {
        ((listener.get("allowedRoutes") or {}).get("namespaces") or {}).get("from", "Same")
        for listener in found["spec"].get("listeners", [])
    }
    if not programmed:
        why = conditions.get("Programmed", {}).get("message") or "no controller has taken it up"
        hint = f"is there a controller for GatewayClass {found['spec'].get('gatewayClassName')}?"
        yield Finding("gateway", "failed", f"{named} is not programmed: {why}", hint)
    elif namespace != where.namespace and not froms & {"All", "Selector"}:
        hint = "set allowedRoutes.namespaces.from to All or Selector on its listener"
        yield Finding("gateway", "failed", f"{named} takes no routes of {where.namespace}", hint)
    else:
        yield Finding("gateway", "ok", f"{named} is programmed")


def check_storage(_: Where, kube: Kube) -> Iterator[Finding]:
    """The storage-initializer may run in a restricted namespace."""
    found = kube.get(custom(GROUP, "v1alpha1", "clusterstoragecontainers", "default"))
    if found is None:
        hint = "KServe's installation makes it; without it no storageUri is fetched"
        yield Finding("storage container", "failed", "there is no ClusterStorageContainer default", hint)
        return
    context = ((found.get("spec") or {}).get("container") or {}).get("securityContext") or {}
    drops = (context.get("capabilities") or {}).get("drop") or []
    lacking = [
        words
        for words, well in (
            ("runAsNonRoot: true", context.get("runAsNonRoot") is True),
            ("allowPrivilegeEscalation: false", context.get("allowPrivilegeEscalation") is False),
            ("capabilities: {drop: [ALL]}", "ALL" in drops),
        )
        if not well
    ]
    if lacking:
        hint = "a restricted namespace refuses the server's pods: apply manifests/cluster"
        yield Finding("storage container", "failed", f"its securityContext lacks {', '.join(lacking)}", hint)
    else:
        yield Finding("storage container", "ok", "runs in restricted namespaces")


def check_runtime(where: Where, kube: Kube) -> Iterator[Finding]:
    """Our ServingRuntime, with an image that stays what it is."""
    selector = "labelSelector=app.kubernetes.io%2Fname%3Dtrimtab"
    found = kube.items(f"{custom(GROUP, 'v1alpha1', 'servingruntimes', namespace=where.namespace)}?{selector}")
    if not found:
        yield Finding("serving runtime", "failed", f"no ServingRuntime of ours in {where.namespace}", APPLY)
        return
    images = {c["image"] for one in found for c in one["spec"].get("containers", []) if c.get("image")}
    names = ", ".join(sorted(one["metadata"]["name"] for one in found))
    loose = sorted(image for image in images if "@sha256:" not in image)
    if loose:
        hint = "name it by digest (images: in the overlay): a tag may become another image between two pods"
        yield Finding("serving runtime", "warning", f"{names}: {', '.join(loose)} is not pinned", hint)
    else:
        yield Finding("serving runtime", "ok", f"{names}, by digest")


def check_autoscaling(where: Where, kube: Kube) -> Iterator[Finding]:
    """Where a champion's pods are to follow the load, autoscalers are told how many requests each of them answers."""
    from trimtab.monitoring.kserve.scaling import METRIC

    models = _scaled(where)
    if not models:
        yield Finding("autoscaling", "ok", "no champion sets serving.max_replicas: the number of pods is fixed")
        return
    without = f"the pods of {', '.join(models)} do not follow the load"
    offered, silent = _custom_metrics(kube)
    if f"pods/{METRIC}" in (offered or ()):
        yield Finding("autoscaling", "ok", f"autoscalers are told {METRIC}, for {', '.join(models)}")
    elif silent:
        group, _, version = silent.partition("/")
        hint = f"does its adapter run? kubectl describe apiservice {version}.{group}"
        yield Finding("autoscaling", "warning", f"{silent} does not answer: {without}", hint)
    elif offered is None:
        hint = f"install prometheus-adapter with {ADAPTER} (docs/kserve.md)"
        yield Finding("autoscaling", "warning", f"there is no custom metrics API: {without}", hint)
    else:
        hint = f"add the rule of {ADAPTER} to your adapter; it offers the metric once Prometheus has scraped a server"
        yield Finding("autoscaling", "warning", f"the custom metrics API does not offer {METRIC}: {without}", hint)


def _custom_metrics(kube: Kube) -> tuple[set[str] | None, str]:
    """What the custom metrics API offers, None where there is none; and a version of it that does not answer."""
    offered: set[str] | None = None
    silent = ""
    for version in METRICS_APIS:
        try:
            listed = kube.get(f"/apis/{version}")
        except Unreachable:
            silent = version
            continue
        if listed is not None:
            offered = (offered or set()) | {str(one["name"]) for one in listed.get("resources") or []}
    return offered, silent


def _scaled(where: Where) -> list[str]:
    """The models whose champion sets `serving.max_replicas`; one that cannot be read is told by `models`."""
    from trimtab.core import bundle, ledger
    from trimtab.core.errors import TrimtabError
    from trimtab.core.store import open_store
    from trimtab.monitoring.kserve.inference_service import Shape

    store, found = open_store(where.settings.store, where.settings), []
    for model in bundle.list_models(store):
        try:
            champion = ledger.state(store, model).champion
            if champion and Shape.of(bundle.read_manifest(store, model, champion).project).max_replicas:
                found.append(model)
        except TrimtabError:
            continue
    return found
