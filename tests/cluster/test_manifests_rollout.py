"""Git holds settings, the ledger holds versions: an overlay that is applied again moves nothing that serves."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import yaml
from tests.cluster.test_manifests import apply
from tests.manifests.kustomize import OVERLAYS, Manifest, build, overlay
from tests.servers.kubernetes.cluster import Cluster

pytestmark = pytest.mark.cluster


def serving(version: str, name: str = "") -> Manifest:
    """A predictor as the rollout controller applies it."""
    model = {
        "name": "kserve-container",
        "modelFormat": {"name": "trimtab"},
        "runtime": "trimtab-server-v1",
        "storageUri": f"s3://trimtab/store/models/digits/versions/{version}",
    }
    return {**({"name": name} if name else {}), "minReplicas": 2, "model": model}


def rolled_out(cluster: Cluster, namespace: str, spec: Manifest) -> None:
    """What the rollout controller does: server-side apply as `trimtab-rollout`."""
    one = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": "digits",
            "namespace": namespace,
            "annotations": {"serving.kserve.io/autoscalerClass": "none"},
        },
        "spec": spec,
    }
    cluster.kubectl(
        "apply", "--server-side", "--field-manager=trimtab-rollout", "-f", "-", input=yaml.safe_dump(one), check=True
    )


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
def test_an_overlay_applied_again_does_not_move_what_serves(name: str, cluster_api: Cluster, namespace: str) -> None:
    text = overlay(name, namespace)
    apply(cluster_api, text)
    rolled_out(cluster_api, namespace, {"predictor": serving("v1-0a1b2c3d")})
    # Somebody else's fields: they stay, whoever applies what.
    limits = {"spec": {"predictor": {"model": {"resources": {"limits": {"memory": "2Gi"}}}}}}
    cluster_api.kubectl(
        "patch", "inferenceservice", "digits", "-n", namespace, "--type=merge", "--field-manager=ann",
        "-p", json.dumps({**limits, "metadata": {"labels": {"team": "fraud"}}}), check=True,
    )  # fmt: skip
    canary = {
        "predictor": serving("v1-0a1b2c3d"),
        "canary": [{"trafficPercent": 20, "predictor": serving("v2-4e5f6a7b", "v2-4e5f6a7b")}],
    }
    promoted = {"predictor": serving("v2-4e5f6a7b", "v2-4e5f6a7b")}
    for step in (canary, promoted):
        rolled_out(cluster_api, namespace, copy.deepcopy(step))
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
