"""Rollouts on a real API when something goes wrong: deaths, pods and weights that do not come, an API that is away."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.cluster.rollout_world import MODEL, RolloutWorld
from tests.monitoring.world import Killed

from trimtab.monitoring import controller
from trimtab.monitoring.kserve.api import ApiError, KubernetesApi
from trimtab.monitoring.places import read_place

pytestmark = pytest.mark.cluster


class DyingApi(KubernetesApi):
    """An API at whose n-th write the process dies, before or after it took effect."""

    def __init__(self, client: Any, at: int, after: bool) -> None:
        super().__init__(client)
        self.left, self.after = at, after

    def _write(self, do: Callable[[], Any]) -> Any:
        self.left -= 1
        if self.left == 0 and not self.after:
            raise Killed
        done = do()
        if self.left == 0:
            raise Killed
        return done

    def apply(self, path: str, body: Any, *, force: bool = False, dry_run: bool = False) -> Any:
        do = functools.partial(super().apply, path, body, force=force, dry_run=dry_run)
        return do() if dry_run else self._write(do)

    def merge(self, path: str, body: Any) -> Any:
        return self._write(lambda: super(DyingApi, self).merge(path, body))

    def delete(self, path: str) -> None:
        self._write(lambda: super(DyingApi, self).delete(path))


class SilentApi(KubernetesApi):
    """An API that does not answer while `away`."""

    away = False

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        if self.away:
            raise ApiError(0, "the Kubernetes API does not answer")
        return super()._call(*args, **kwargs)


def test_killed_at_every_write_it_comes_to_the_same_end(world: RolloutWorld) -> None:
    """Promoted, tried, given up, tried again, promoted, rolled back; each write is died at once before and after."""
    first, second = world.publish(1, replicas=2), world.publish(2, replicas=2)
    world.say("promoted", first)
    world.settle()
    deaths = 0
    story = [
        ("canaried", second, 10), ("rejected", second, 0), ("canaried", second, 50), ("promoted", second, 0),
        ("rolled_back", second, 0),
    ]  # fmt: skip
    for event, version, percent in story:
        world.say(event, version, percent)
        for after in (False, True):
            # Each life ends at its next write, so every write of the way is died at, one way or the other.
            for _ in range(3):
                by = world.fresh(DyingApi(world.client, 1, after))
                deadline = time.monotonic() + 15
                try:
                    while not by.settled(MODEL) and time.monotonic() < deadline:
                        world.act(by)
                        time.sleep(0.02)
                except Killed:
                    deaths += 1
        world.actuator = world.fresh()
        world.settle(f"{event} {version}")
        live = world.live()
        champion = second if event == "promoted" else first
        assert live.stable.version == champion
        assert (live.canary.version if live.canary else None) == (second if event == "canaried" else None)
        assert live.canary is None or live.canary.percent == percent
        world.until(lambda n=1 + (event == "canaried"): len(world.deployments()) == n, "orphans go")  # type: ignore[misc]
    assert deaths >= 20


@pytest.mark.parametrize(
    ("trouble", "said"), [("ImagePullBackOff", "ImagePullBackOff"), ("crash", "has crashed 4 times")]
)
def test_pods_that_do_not_start_are_told_and_the_version_is_refused(
    world: RolloutWorld, trouble: str, said: str
) -> None:
    first, second = world.publish(1), world.publish(2)
    world.say("promoted", first)
    world.settle()
    if trouble == "crash":
        world.pods.crashing.add(second)
    else:
        world.pods.stuck[second] = trouble
    world.say("published", second)
    world.say("shadowed", second)
    world.until(lambda: second in world.actuator.troubles(MODEL), "it is told")
    assert said in world.actuator.troubles(MODEL)[second]
    # The pod's last words, which the runtime's terminationMessagePolicy brings into its status.
    assert trouble != "crash" or "as the test wants it" in world.actuator.troubles(MODEL)[second]
    assert any(said in words for words in (read_place(world.place.store, MODEL) or {})["words"])
    # Promoted by hand all the same: its pods never answer, so requests stay where they are, and it is given up.
    world.say("promoted", second)
    world.act()
    controller.step(world.place.store, MODEL, world.actuator)
    world.settle("back to the first")
    assert world.live().stable.version == first
    assert world.live().canary is None


def test_a_canary_that_dies_loses_its_weight_and_nothing_moves_on(world: RolloutWorld) -> None:
    first, second = world.publish(1), world.publish(2)
    world.say("promoted", first)
    world.settle()
    world.say("canaried", second, 50)
    world.settle()
    world.pods.crashing.add(second)
    world.until(lambda: second in world.actuator.troubles(MODEL), "it is told")
    world.say("promoted", second)
    for _ in range(5):
        world.act()
        time.sleep(0.05)
    assert world.live().stable.version == first
    assert world.live().canary.percent == 50, "a share is not raised for pods that do not answer"


def test_weights_that_do_not_come_are_waited_for(world: RolloutWorld) -> None:
    first, second = world.publish(1), world.publish(2)
    world.say("promoted", first)
    world.settle()
    world.say("canaried", second, 0)
    world.settle()
    world.kserve.faults.keeps_weights = True
    world.say("promoted", second)
    world.until(lambda: "the route gives it 0 %" in world.actuator.words(MODEL)[0], "it is told")
    assert world.live().stable.version == first
    world.kserve.faults.keeps_weights = False
    world.settle()
    assert world.live().stable.version == second


def test_an_api_that_is_away_moves_nothing_and_is_told(world: RolloutWorld) -> None:
    first, second = world.publish(1), world.publish(2)
    api = SilentApi(world.client)
    world.actuator = world.fresh(api)
    world.say("promoted", first)
    world.settle()
    api.away = True
    world.say("promoted", second)
    world.act()
    assert "does not answer" in world.actuator.words(MODEL)[0]
    assert world.actuator.failures(MODEL) == {}
    api.away = False
    world.settle()
    assert world.live().stable.version == second


def test_two_hooks_by_mistake_agree(world: RolloutWorld) -> None:
    first, second = world.publish(1), world.publish(2)
    other = world.fresh()
    world.say("promoted", first)
    world.settle()
    world.say("promoted", second)

    def both() -> bool:
        world.act(other)
        return world.actuator.settled(MODEL) and other.settled(MODEL)

    world.until(both, "both find it done")
    assert (world.live().stable.version, world.live().canary) == (second, None)
