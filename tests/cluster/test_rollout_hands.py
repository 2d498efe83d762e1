"""Other hands on the InferenceService: what is theirs stays, what serves is put right, and who it was is told."""

from __future__ import annotations

import pytest
import yaml
from tests.cluster.rollout_world import MODEL, RolloutWorld

from trimtab.monitoring.places import read_place

pytestmark = pytest.mark.cluster


def test_an_overlay_during_a_canary_and_after_a_promotion_moves_nothing(world: RolloutWorld) -> None:
    first, second = world.publish(1), world.publish(2)
    overlay = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": MODEL, "namespace": world.namespace, "labels": {"team": "payments"}},
        "spec": {"predictor": {"model": {"modelFormat": {"name": "trimtab"}, "resources": {"limits": {"cpu": "2"}}}}},
    }

    def apply() -> None:
        arguments = ("apply", "--server-side", "--field-manager=gitops", "-f", "-")
        world.cluster.kubectl(*arguments, input=yaml.safe_dump(overlay), check=True)

    world.say("promoted", first)
    world.settle()
    world.say("canaried", second, 10)
    world.settle()
    apply()
    world.settle()
    live = world.live()
    assert (live.stable.version, live.canary.version, live.canary.percent) == (first, second, 10)
    world.say("promoted", second)
    world.settle()
    apply()
    world.settle()
    assert (world.live().stable.version, world.live().canary) == (second, None)
    found = world.isvc()
    assert found["metadata"]["labels"]["team"] == "payments"
    assert found["spec"]["predictor"]["model"]["resources"]["limits"]["cpu"] == "2"


def test_a_field_that_another_manager_owns_stays_its_own(world: RolloutWorld) -> None:
    first, second = world.publish(1, cpu=0.5), world.publish(2, cpu=0.5)
    world.say("promoted", first)
    world.settle()
    patch = '{"spec": {"predictor": {"model": {"resources": {"limits": {"cpu": "3"}}}}}}'
    arguments = ("patch", "isvc", MODEL, "-n", world.namespace, "--type=merge", "-p", patch)
    world.cluster.kubectl(*arguments, "--field-manager=gitops", check=True)
    world.say("promoted", second)
    world.settle()
    assert world.live().stable.version == second
    assert world.isvc()["spec"]["predictor"]["model"]["resources"]["limits"]["cpu"] == "3"


def test_what_is_changed_by_hand_is_told_and_put_right(world: RolloutWorld) -> None:
    first, second = world.publish(1), world.publish(2)
    world.say("promoted", first)
    world.settle()
    uri = world.isvc()["spec"]["predictor"]["model"]["storageUri"]
    changed = yaml.safe_dump({"spec": {"predictor": {"model": {"storageUri": uri.replace(first, second)}}}})
    arguments = ("patch", "isvc", MODEL, "-n", world.namespace, "--type=merge", "--field-manager=somebody")
    world.cluster.kubectl(*arguments, "-p", changed, check=True)
    world.until(lambda: world.live().stable.version == first, "it is put right")
    world.settle()
    told = read_place(world.place.store, MODEL)
    assert told is not None
    assert "storageUri was changed by somebody" in told["by_hand"][0]


def test_a_resource_of_others_is_left_alone_and_said_so(world: RolloutWorld) -> None:
    manifest = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": MODEL, "namespace": world.namespace},
        "spec": {"predictor": {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://theirs/model"}}},
    }
    world.cluster.kubectl("create", "-f", "-", input=yaml.safe_dump(manifest), check=True)
    world.say("promoted", world.publish(1))
    for _ in range(3):
        world.act()
    assert world.isvc()["spec"]["predictor"]["model"]["storageUri"] == "s3://theirs/model"
    assert "left alone" in world.actuator.words(MODEL)[0]


def test_a_budget_of_others_is_left_alone(world: RolloutWorld) -> None:
    words = ("pdb", f"{MODEL}-predictor", "-n", world.namespace)
    theirs = ("--max-unavailable=0", "--selector=app=theirs")
    world.cluster.kubectl("create", *words, *theirs, check=True)
    world.say("promoted", world.publish(1, replicas=2))
    world.settle()
    world.act()
    found = yaml.safe_load(world.cluster.kubectl("get", *words, "-o", "yaml", check=True).stdout)
    assert found["spec"] == {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "theirs"}}}
