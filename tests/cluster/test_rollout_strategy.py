"""What a cluster can do is asked of a real API (KServe's CRD with and without canaries, and none), or seen on it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.cluster.rollout_world import MODEL, RolloutWorld
from tests.servers.kubernetes.cluster import CRDS, Cluster
from tests.servers.kubernetes.processes import wait_until

from trimtab.monitoring.kserve.api import KubernetesApi
from trimtab.monitoring.kserve.observe import Patience
from trimtab.monitoring.kserve.strategy import choose
from trimtab.monitoring.places import read_place

pytestmark = pytest.mark.cluster
GROUP = "serving.kserve.io"


class OtherGroup(KubernetesApi):
    """Asks another API group in place of KServe's."""

    def __init__(self, client: Any, group: str) -> None:
        super().__init__(client)
        self.group = group

    def _call(self, method: str, path: str, query: Any = None, body: Any = None, kind: str = "") -> Any:
        if body is not None and body["apiVersion"].startswith(GROUP):
            body = {**body, "apiVersion": body["apiVersion"].replace(GROUP, self.group)}
        return super()._call(method, path.replace(f"/apis/{GROUP}/", f"/apis/{self.group}/"), query, body, kind)


@pytest.fixture
def older(cluster_api: Cluster) -> Iterator[str]:
    """An API group with InferenceServices as they were before 0.20: without `spec.canary`."""
    group = f"t{secrets.token_hex(4)}.example.com"
    crd = yaml.safe_load((CRDS / f"inferenceservices.{GROUP}.yaml").read_text())
    crd["metadata"] = {"name": f"inferenceservices.{group}"}
    crd["spec"]["group"] = group
    crd["spec"].pop("conversion", None)
    for version in crd["spec"]["versions"]:
        del version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["canary"]
    name = f"crd/inferenceservices.{group}"
    cluster_api.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump(crd), check=True)
    try:
        established = ("wait", "--for=condition=Established", "--timeout=5s", name)
        wait_until(lambda: cluster_api.kubectl(*established).returncode == 0, 60, f"CRD of {group}")
        yield group
    finally:
        cluster_api.kubectl("delete", name, "--wait=false", check=True)


def test_with_canaries_and_the_gateway_api_requests_are_split(cluster_api: Cluster, namespace: str) -> None:
    with cluster_api.client() as client:
        assert choose(KubernetesApi(client), namespace).kind == "canary"


def test_before_0_20_versions_are_replaced(cluster_api: Cluster, namespace: str, older: str) -> None:
    with cluster_api.client() as client:
        found = choose(OtherGroup(client, older), namespace)
    assert found.kind == "replace"
    assert "0.20" in found.why


def test_without_kserve_that_is_said(cluster_api: Cluster, namespace: str) -> None:
    with cluster_api.client() as client:
        found = choose(OtherGroup(client, "nobody.example.com"), namespace)
    assert found.kind == "none"
    assert "not installed" in found.why


def test_without_routes_a_version_replaces_another_with_one_change(world: RolloutWorld) -> None:
    world.kserve.faults.no_routes = True
    world.actuator = world.fresh(patience=Patience(settle=0.3, grace=0.5, deadline=30))
    first, second = world.publish(1, replicas=2), world.publish(2, replicas=2)
    world.say("promoted", first)
    world.until(lambda: "no HTTPRoute" in world.actuator.cannot_split(MODEL), "it is noticed")
    world.settle()
    world.say("promoted", second)
    world.settle()
    live = world.live()
    assert (live.stable.version, live.canary) == (second, None)
    assert len(world.deployments()) == 1
    told = read_place(world.place.store, MODEL)
    assert told is not None
    assert (told["strategy"], "HTTPRoute" in told["why"]) == ("replace", True)
