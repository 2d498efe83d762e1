"""Git holds settings, the ledger holds versions: an overlay that is applied again moves nothing that serves."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.cluster.test_manifests import apply
from tests.manifests.kustomize import OVERLAYS, Manifest, build, overlay
from tests.servers.kubernetes.cluster import Cluster

from trimtab.core.store import Store
from trimtab.monitoring.kserve.api import KubernetesApi
from trimtab.monitoring.kserve.inference_service import Shape, path, resource
from trimtab.monitoring.kserve.plan import Live, Track

pytestmark = pytest.mark.cluster


STABLE, NEXT = Track("v1-0a1b2c3d", "", 2), Track("v2-4e5f6a7b", "v2-4e5f6a7b", 2, 20)


def rolled_out(cluster: Cluster, namespace: str, live: Live, store: Store) -> None:
    """What the rollout controller does: its own resource, by server-side apply as `trimtab-rollout`."""
    shapes = {track.version: Shape(replicas=2) for track in (STABLE, NEXT)}
    one = resource("digits", namespace, live, shapes, store, "trimtab-server-v1")
    # With the rights that the overlay gives the hook.
    with cluster.client(cluster.as_account(namespace, "trimtab-hook")) as client:
        KubernetesApi(client).apply(path(namespace, "digits"), one)


def state(cluster: Cluster, namespace: str) -> Any:
    """Everything that serves: the InferenceService, who owns its fields, and the runtime that its pods are made of."""
    kinds = "inferenceservices,servingruntimes,deployments,horizontalpodautoscalers,poddisruptionbudgets"
    done = cluster.kubectl("get", kinds, "-n", namespace, "-o", "json", "--show-managed-fields", check=True)
    return {
        (one["kind"], one["metadata"]["name"]): (one["spec"], one["metadata"]["generation"], managers(one))
        for one in json.loads(done.stdout)["items"]
    }


def managers(one: Manifest) -> list[tuple[str, Any]]:
    # Controllers of a real cluster write the status when they like.
    entries = one["metadata"]["managedFields"]
    return sorted((e["manager"], json.dumps(e["fieldsV1"])) for e in entries if e.get("subresource") != "status")


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_applied_again_does_not_move_what_serves(
    name: str, cluster_api: Cluster, namespace: str, store: Store
) -> None:
    text = overlay(name, namespace)
    apply(cluster_api, text)
    rolled_out(cluster_api, namespace, Live(STABLE), store)
    # Somebody else's fields: they stay, whoever applies what.
    limits = {"spec": {"predictor": {"model": {"resources": {"limits": {"memory": "2Gi"}}}}}}
    cluster_api.kubectl(
        "patch", "inferenceservice", "digits", "-n", namespace, "--type=merge", "--field-manager=ann",
        "-p", json.dumps({**limits, "metadata": {"labels": {"team": "fraud"}}}), check=True,
    )  # fmt: skip
    canary, promoted = Live(STABLE, NEXT), Live(NEXT)
    for step in (canary, promoted):
        rolled_out(cluster_api, namespace, step, store)
        before = state(cluster_api, namespace)
        apply(cluster_api, text)
        after = state(cluster_api, namespace)
        assert after == before
        spec, _, owners = after["InferenceService", "digits"]
        assert "trimtab-rollout" in dict(owners)
        assert "trimtab" not in dict(owners)
        assert spec["predictor"]["model"]["resources"]["limits"]["memory"] == "2Gi"
        assert ("canary" in spec) is (step is canary)


def test_no_overlay_holds_what_the_rollout_controller_owns() -> None:
    owned = {"InferenceService", "HorizontalPodAutoscaler", "PodDisruptionBudget", "HTTPRoute"}
    for name in OVERLAYS:
        assert [o["kind"] for o in build(f"manifests/overlays/{name}") if o["kind"] in owned] == []
