"""Campaigns: one per drift, whatever happens; each phase; each end."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.monitoring.nursery import Nursery
from tests.monitoring.world import MODEL, START, Dying, Killed, Place, Runs, World, story

from trimtab.core import ledger
from trimtab.core.records import parse_time
from trimtab.core.store import Store
from trimtab.monitoring import campaign
from trimtab.monitoring.campaign_records import all_campaigns
from trimtab.monitoring.hook_service import HookService

ROLLOUT = {"shares": [50], "step_rows": 10, "step_labelled": 0}
FOLLOWED = {"rollout": ROLLOUT, "campaign": {"follow_ups": 1, "follow_up_windows": 1}}


@pytest.fixture
def world(store: Store, tmp_path: Path) -> World:
    """A champion whose first window drifts: 40 labelled rows, half of them wrong."""
    made = World(store, tmp_path, {"rollout": ROLLOUT, "campaign": {"follow_ups": 0}})
    version = made.champion()
    made.log(version, START, [i % 2 == 0 for i in range(40)])
    made.verdict(version, 1)
    return made


def service(world: World, store: Store | None = None, launcher: Runs | None = None) -> HookService:
    return HookService(store or world.store, launcher or Runs(world), Place(), [MODEL], 0.01)


def answer_canary(world: World, wrong: int = 0) -> None:
    """Traffic during a canary step: 20 labelled rows of each version, all before the next step can begin."""
    state = world.state()
    begun = [e.at for e in ledger.read(world.store, MODEL) if e.event == "canaried"][-1]
    assert state.canary is not None
    assert state.champion is not None
    for version, bad in ((state.canary, wrong), (state.champion, 6)):
        world.log(
            version, begun + timedelta(microseconds=1), [i >= bad for i in range(20)], every=timedelta(microseconds=1)
        )


def test_a_drift_is_answered_from_alert_to_promotion(world: World) -> None:
    first = world.state().champion
    hook = service(world)
    assert hook.answer(MODEL, "drift").campaign == 1
    hook.round()
    state = world.state()
    assert state.champion == first
    assert (state.canary_percent, campaign.state(world.store, MODEL).phase) == (50, "releasing")  # type: ignore[union-attr]
    answer_canary(world)
    hook.round()
    assert world.state().champion == state.canary
    hook.round()
    told = story(world.store)
    assert told == {
        "opened": 1,
        "outcomes": ["promoted"],
        "runs": 1,
        "requests": 1,
        "events": [("promoted", 0), ("published", 0), ("shadowed", 0), ("canaried", 50), ("promoted", 0)],
    }
    closed = all_campaigns(world.store, MODEL)[0]
    data = closed.retrains[0].data
    # 40 labelled rows, 10 of them (a quarter) would be too few: 20 judge, and no row does both.
    assert (data["train_rows"], data["judge_rows"]) == (20, 20)
    assert parse_time(data["judge_from"]) == START + timedelta(seconds=20)
    assert data["source"]["sources"][0] == {"dataset": f"{MODEL}/{world.dataset}"}
    assert data["source"]["sources"][1]["log"]["against"] == first
    assert data["candidates"] == ["mlp"]
    assert closed.closing["data_end"] == data["until"]


def test_a_thousand_alerts_open_one_campaign(world: World) -> None:
    hook = service(world)
    answers: list[int | None] = []
    threads = [
        threading.Thread(target=lambda: answers.extend(hook.answer(MODEL, "drift").campaign for _ in range(50)))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 1000
    assert set(answers) == {1}
    assert story(world.store)["opened"] == 1


def test_two_hooks_make_one_campaign_one_run_one_rollout(world: World) -> None:
    hooks = [service(world), service(world)]
    barrier = threading.Barrier(2)

    def go(hook: HookService) -> None:
        barrier.wait()
        hook.answer(MODEL, "drift")
        for _ in range(10):
            hook.round()

    for traffic in (False, True, False):
        if traffic:
            answer_canary(world)
        threads = [threading.Thread(target=go, args=(hook,)) for hook in hooks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    told = story(world.store)
    assert (told["opened"], told["outcomes"], told["runs"], told["requests"]) == (1, ["promoted"], 1, 1)
    assert [e for e, _ in told["events"]] == ["promoted", "published", "shadowed", "canaried", "promoted"]


def play(world: World, open_store: Callable[[], Store], launcher: Runs) -> None:
    """Go on with the world's story until its campaign has closed; a fresh process after each death."""
    hook: HookService | None = None
    for _ in range(60):
        try:
            hook = hook or service(world, open_store(), launcher)
            hook.answer(MODEL, "drift")
            hook.round()
        except Killed:
            hook = None
            continue
        told = story(world.store)
        if told["outcomes"]:
            return
        state = world.state()
        if state.canary is not None and state.canary not in world.seen:
            world.seen.add(state.canary)
            answer_canary(world)
        follow_up(world)
    raise AssertionError(f"no end: {story(world.store)}")


def follow_up(world: World) -> None:
    """Once the first new version serves, the labels that a follow-up waits for come in."""
    now = campaign.state(world.store, MODEL)
    if now is not None and now.phase == "following" and len(now.retrains) == 1 and "follow-up" not in world.seen:
        world.seen.add("follow-up")
        version = world.state().champion
        assert version is not None
        world.log(version, parse_time(now.retrains[0].data["until"]) + timedelta(minutes=1), [True] * 60)


def fresh(tmp_path: Path, name: str) -> World:
    from trimtab.core.store import open_store

    folder = tmp_path / name
    folder.mkdir()
    made = World(open_store((folder / "store").as_uri()), folder, FOLLOWED)
    version = made.champion()
    made.log(version, START, [i % 2 == 0 for i in range(40)])
    made.verdict(version, 1)
    return made


@pytest.mark.campaign
@pytest.mark.parametrize("after", [False, True])
def test_killed_at_each_write_it_ends_once_all_the_same(tmp_path: Path, after: bool) -> None:
    whole = fresh(tmp_path, "whole")
    counter = Dying(whole.store)
    play(whole, lambda: counter, Runs(whole))
    told = story(whole.store)
    assert (told["opened"], told["outcomes"], told["runs"]) == (1, ["promoted"], 2)
    assert counter.writes > 15
    for at in range(1, counter.writes + 1):
        world = fresh(tmp_path, f"{at}")
        launcher = Runs(world)
        deaths = iter([Dying(world.store, at, after)])
        play(world, lambda world=world, deaths=deaths: next(deaths, world.store), launcher)  # type: ignore[misc]
        assert story(world.store) == told, at
        assert len(launcher.started) == 2, at


@pytest.mark.campaign
@pytest.mark.parametrize(("hooks", "times"), [(1, 200), (2, 60)])
def test_killed_with_signal_9_at_random_moments_each_campaign_ends_once(
    tmp_path: Path, root: Path, hooks: int, times: int
) -> None:
    """Real processes; the moments are drawn in operations on the store, of which a campaign takes some hundreds."""
    rng = random.Random(hooks)
    kills = campaigns = 0
    with contextlib.closing(Nursery(root)) as nursery:
        while kills < times:
            campaigns += 1
            world = fresh(tmp_path, f"campaign-{campaigns}")
            child = tmp_path / f"child-{campaigns}"
            child.mkdir()
            while not story(world.store)["outcomes"]:
                nursery.kill_after(rng.randint(1, 150 * hooks), "hook", world.store.url, child, hooks)
                kills += 1
                state = world.state()
                if state.canary is not None and state.canary not in world.seen:
                    world.seen.add(state.canary)
                    answer_canary(world)
                follow_up(world)
            told = story(world.store)
            numbers = (told["opened"], told["outcomes"], told["runs"], told["requests"])
            assert numbers == (1, ["promoted"], 2, 2), campaigns
            rollout = ["published", "shadowed", "canaried", "promoted"]
            assert [e for e, _ in told["events"]] == ["promoted", *rollout * 2]
            logging.getLogger(__name__).info("campaign %d ended after %d kills in all", campaigns, kills)
