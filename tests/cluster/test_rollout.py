"""Versions on a real API: dark launch, shares, promotion and the way back, and no request fails in either direction."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.rollout_world import MODEL, RolloutWorld, rollout_world
from tests.servers.kubernetes.cluster import Cluster

pytestmark = pytest.mark.cluster


@pytest.fixture
def world(cluster_api: Cluster, namespace: str, tmp_path: Path) -> Iterator[RolloutWorld]:
    with rollout_world(cluster_api, namespace, tmp_path) as found:
        yield found


def test_promoted_and_taken_back_under_load_without_a_failed_request(world: RolloutWorld) -> None:
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
    assert seen.failed == 0, seen.words()
    assert set(seen.by_version) == {first, second}
