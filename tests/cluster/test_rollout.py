"""Versions on a real API: dark launch, shares, promotion and the way back, and no request fails in either direction."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmarks.cluster.gateway import Gateway
from benchmarks.cluster.waiting import until
from tests.cluster.rollout_world import MODEL, RolloutWorld, rollout_world
from tests.servers.kubernetes.cluster import Cluster

pytestmark = pytest.mark.cluster


@pytest.fixture
def serving_world(cluster_api: Cluster, namespace: str, tmp_path: Path) -> Iterator[RolloutWorld]:
    with rollout_world(cluster_api, namespace, tmp_path) as found:
        yield found


def test_promoted_and_taken_back_under_load_without_a_failed_request(serving_world: RolloutWorld) -> None:
    world = serving_world
    first, second = world.publish(1), world.publish(2)
    world.say("promoted", first)
    world.settle("the first version serves")
    with world.load() as load:
        world.say("shadowed", second)
        world.settle("it is started in the dark")
        assert load.seen.by_version[second] == 0
        world.say("canaried", second, 10)
        world.settle("it gets 10 %")
        world.say("canaried", second, 50)
        world.settle("it gets 50 %")
        kept = {p.name for p in world.pods.of(second)}
        world.say("promoted", second)
        world.settle("it is promoted")
        assert {p.name for p in world.pods.of(second)} == kept, "a promotion restarts no pod"
        world.until(lambda: world.deployments() == [f"{MODEL}-{second}-predictor"], "the old pods go")
        before = load.seen.by_version[first]
        world.say("rolled_back", second)
        world.settle("the first one serves again")
        assert load.seen.by_version[first] >= before
        counted = world.actuator.failures(MODEL)
        assert counted[first][0] > 0, "the judge counts requests by the pods' own metrics"
        assert counted[first][1] == 0
        seen = load.stop()
    assert world.live().stable.version == first
    assert world.live().canary is None
    assert seen.requests > 100
    assert (seen.failed, seen.refused) == (0, 0), seen.words()
    assert set(seen.by_version) == {first, second}


def test_budget_and_autoscaler_come_and_go_with_the_champion(world: RolloutWorld) -> None:
    first, second, third = world.publish(1, replicas=2), world.publish(2, replicas=2, max_replicas=5), world.publish(3)

    def there(kind: str) -> dict[str, Any] | None:
        done = world.cluster.kubectl("get", kind, f"{MODEL}-predictor", "-n", world.namespace, "-o", "yaml")
        return yaml.safe_load(done.stdout) if done.returncode == 0 else None

    world.say("promoted", first)
    world.settle()
    budget = there("pdb")
    assert budget is not None
    assert budget["spec"]["maxUnavailable"] == 1
    assert there("hpa") is None
    world.say("promoted", second)
    world.settle()
    world.until(lambda: there("hpa") is not None, "it scales")
    scaler = there("hpa")
    assert scaler is not None
    assert scaler["spec"]["scaleTargetRef"]["name"] == f"{MODEL}-{second}-predictor"
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (2, 5)
    assert world.isvc()["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "external"
    world.say("promoted", third)
    world.settle()
    world.until(lambda: there("hpa") is None and there("pdb") is None, "one pod needs neither")


def test_the_played_gateway_reads_shares_and_addresses_from_the_api(world: RolloutWorld) -> None:
    first, second = world.publish(1), world.publish(2)
    world.say("promoted", first)
    world.settle()
    world.say("canaried", second, 10)
    world.settle()
    with Gateway(world.cluster, world.namespace, MODEL) as gateway:
        until(lambda: gateway.weights, 30, "a route of the gateway")
        backend = gateway.choose()
    assert gateway.weights == {f"{MODEL}-{first}-predictor": 90, f"{MODEL}-{second}-predictor": 10}
    assert backend is not None
    words = ("get", "service", backend.name, "-n", world.namespace, "-o", "jsonpath={.spec.clusterIP}")
    assert (backend.host, backend.port) == (world.cluster.kubectl(*words, check=True).stdout, 80)
