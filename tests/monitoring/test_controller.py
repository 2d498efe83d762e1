"""The rollout controller: requests, canaries, refusals, and rollbacks from every phase."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.monitoring.test_campaign import ROLLOUT, answer_canary, play
from tests.monitoring.world import MODEL, START, Place, Runs, World, story

from trimtab.core import ledger, rollouts
from trimtab.core.records import utcnow
from trimtab.core.store import Store
from trimtab.monitoring import controller
from trimtab.monitoring.campaign_data import Readers
from trimtab.monitoring.hook_metrics import taken_back


@pytest.fixture
def world(store: Store, tmp_path: Path) -> World:
    return World(store, tmp_path, {"rollout": ROLLOUT, "campaign": {"follow_ups": 0}})


def ask(world: World, version: str, kind: rollouts.Kind = "serve", **more: Any) -> int:
    return rollouts.request(world.store, MODEL, version, kind=kind, who="ann", why="", **more)


def step(world: World, place: Place | None = None) -> list[str]:
    return controller.step(world.store, MODEL, place or Place())


def events(world: World) -> list[tuple[str, str]]:
    return [(e.event, e.version) for e in ledger.read(world.store, MODEL)]


def test_the_first_version_is_promoted_at_once_also_without_a_hook(world: World) -> None:
    version = world.publish(1)
    ask(world, version)
    controller.append_without_evidence(world.store, MODEL)
    assert world.state().champion == version
    assert step(world) == []
    assert events(world) == [("published", version), ("promoted", version)]


def test_without_a_hook_the_second_version_waits(world: World) -> None:
    world.champion()
    ask(world, world.publish(2))
    assert controller.append_without_evidence(world.store, MODEL) == []


def test_a_canary_is_judged_on_frozen_evidence(world: World) -> None:
    first = world.champion()
    new = world.publish(2)
    n = ask(world, new)
    step(world)
    assert (world.state().canary, world.state().canary_percent) == (new, 50)
    assert step(world) == []
    assert len(rollouts.evidence(world.store, MODEL, n)) == 1
    answer_canary(world)
    step(world)
    assert world.state().champion == new
    last = ledger.read(world.store, MODEL)[-1]
    frozen = rollouts.evidence(world.store, MODEL, n)
    assert last.evidence is not None
    assert (last.evidence["key"], last.evidence["digest"]) == (frozen[1].key, frozen[1].digest)
    assert frozen[1].figures["canary"]["rows"] == 20
    assert frozen[1].figures["champion"]["wrong"] == 6
    # The bundles here hold no model that could answer the log again.
    assert not frozen[1].figures["replayed"]
    assert world.state().before(new) == first


def test_shares_go_up_step_by_step(store: Store, tmp_path: Path) -> None:
    world = World(store, tmp_path, {"rollout": {**ROLLOUT, "shares": [10, 50]}})
    world.champion()
    ask(world, world.publish(2))
    step(world)
    assert world.state().canary_percent == 10
    answer_canary(world)
    step(world)
    assert world.state().canary_percent == 50
    # What was answered at 10 % does not count for the step at 50 %.
    assert step(world) == []
    answer_canary(world)
    step(world)
    assert world.state().canary is None


def test_failed_requests_end_a_canary(world: World) -> None:
    first = world.champion()
    new = world.publish(2)
    ask(world, new)
    step(world)
    step(world, Place({first: (500, 0), new: (100, 30)}))
    assert events(world)[-1] == ("rejected", new)
    assert taken_back(ledger.read(world.store, MODEL)) == {"judge": 1}


def test_replace_does_without_a_canary(store: Store, tmp_path: Path) -> None:
    world = World(store, tmp_path, {"rollout": {"strategy": "replace"}})
    world.champion()
    new = world.publish(2)
    ask(world, new)
    step(world)
    assert world.state().champion == new


def test_an_undecided_canary_is_decided_after_its_time(world: World) -> None:
    world.champion()
    new = world.publish(2)
    ask(world, new)
    step(world)
    late = controller.Controller(world.store, MODEL, Place(), Readers())
    late.now = lambda: utcnow() + timedelta(days=8)
    late.step()
    assert events(world)[-1] == ("rejected", new)


def test_a_newer_request_supersedes_an_undecided_one(world: World) -> None:
    world.champion()
    second, third, fourth = (world.publish(i) for i in (2, 3, 4))
    ask(world, second)
    step(world)
    ask(world, third)
    ask(world, fourth)
    step(world)
    assert world.state().canary == fourth
    assert world.state().rejected == {second, third}
    assert rollouts.undecided(world.store, MODEL)[0].version == fourth


def test_what_a_server_refuses_is_refused_with_its_reason(world: World) -> None:
    first = world.champion()
    new = world.publish(2)
    ask(world, new)
    step(world)
    world.refuse(new, "the signature does not match")
    step(world)
    assert world.state().champion == first
    assert ledger.read(world.store, MODEL)[-1].why == "s1 refuses it: the signature does not match"
    # Asked for again, after the cause was mended, the old refusal does not count.
    ask(world, new)
    step(world)
    assert world.state().canary == new
    assert step(world) == []


def test_a_refused_champion_gives_way_once(store: Store, tmp_path: Path) -> None:
    world = World(store, tmp_path, {"rollout": {"strategy": "replace"}})
    first, second = world.champion(1), world.champion(2)
    new = world.publish(3)
    ask(world, new)
    step(world)
    for version in (new, second, first):
        world.refuse(version, "no memory")
        step(world)
    assert world.state().champion == second


def test_asking_for_what_serves_changes_nothing(world: World) -> None:
    first = world.champion()
    ask(world, first)
    step(world)
    assert ledger.read(world.store, MODEL)[-1].why == "serves already"
    assert rollouts.undecided(world.store, MODEL) == []


def test_two_controllers_append_once(world: World) -> None:
    world.champion()
    new = world.publish(2)
    ask(world, new)
    step(world)
    answer_canary(world)
    threads = [threading.Thread(target=step, args=(world,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [e for e, v in events(world) if v == new] == ["published", "shadowed", "canaried", "promoted"]


def test_rollback_returns_to_the_one_before_and_only_a_person_brings_it_back(world: World) -> None:
    first, second = world.champion(1), world.champion(2)
    ask(world, second, "rollback")
    controller.append_without_evidence(world.store, MODEL)
    assert world.state().champion == first
    ask(world, second, run_key="again")
    step(world)
    assert events(world)[-1] == ("rejected", second)
    assert "trimtab promote" in ledger.read(world.store, MODEL)[-1].why
    ask(world, second, "promote")
    step(world)
    assert world.state().champion == second
    assert world.state().rolled_back == frozenset()


def test_rollback_of_the_only_version_leaves_it(world: World) -> None:
    first = world.champion()
    ask(world, first, "rollback")
    step(world)
    assert world.state().champion == first
    assert rollouts.undecided(world.store, MODEL) == []


def test_a_promotion_by_hand_ends_the_canary_and_what_waits(world: World) -> None:
    world.champion()
    second, third = world.publish(2), world.publish(3)
    ask(world, second)
    step(world)
    ask(world, third, "promote")
    step(world)
    assert (world.state().champion, world.state().canary) == (third, None)
    assert second in world.state().rejected
    assert step(world) == []


def test_a_version_that_is_not_published_is_rejected(world: World) -> None:
    first = world.champion()
    ask(world, "v9-0a1b2c3d")
    ask(world, "v8-0a1b2c3d", "promote")
    step(world)
    assert world.state().champion == first
    assert rollouts.undecided(world.store, MODEL) == []


def test_the_story_of_a_played_campaign_is_in_order(world: World) -> None:
    version = world.champion()
    world.log(version, START, [i % 2 == 0 for i in range(40)])
    world.verdict(version, 1)
    play(world, lambda: world.store, Runs(world))
    assert [e for e, _ in story(world.store)["events"]] == ["promoted", "published", "shadowed", "canaried", "promoted"]


class Whole(Place):
    """A cluster: what replaces another version is judged first."""

    judges_replacements = True


def test_where_requests_cannot_be_split_a_version_replaces_another_on_the_word_of_the_replay(world: World) -> None:
    first, place = world.champion(), Whole()
    place.whole = "KServe's InferenceService has no spec.canary, which came with 0.20"
    new = world.publish(2)
    ask(world, new)
    step(world, place)
    state = world.state()
    assert (state.champion, state.shadow, state.canary) == (first, new, None)
    assert place.whole in ledger.read(world.store, MODEL)[-1].why
    # These graphs cannot be run, so what the training run kept for judging is all that is known, and that is nothing.
    assert step(world, place) == []
    assert world.state().shadow == new


def test_a_version_whose_pods_do_not_start_is_refused_with_their_reason(world: World) -> None:
    first, place = world.champion(), Place()
    new = world.publish(2)
    ask(world, new)
    step(world, place)
    place.lasting = {new: "kserve-container: ImagePullBackOff"}
    step(world, place)
    assert world.state().champion == first
    assert ledger.read(world.store, MODEL)[-1].why == "its pods do not serve: kserve-container: ImagePullBackOff"
    # Promoted by hand it is tried again, and given up again.
    ask(world, new, "promote")
    step(world, place)
    assert events(world)[-2:] == [("promoted", new), ("refused", new)]
    assert world.state().champion == first
