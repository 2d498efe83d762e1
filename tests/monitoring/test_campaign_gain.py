"""Campaigns without a drift: opened once where other data would answer better, and only where that is asked for."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.monitoring.test_campaign import ROLLOUT, answer_canary, service
from tests.monitoring.test_campaign_ends import LOSING, only
from tests.monitoring.test_campaign_limits import metrics
from tests.monitoring.world import MODEL, SCHEMA, START, Dying, Killed, Runs, World, story

from trimtab.core import datasets
from trimtab.core.policies import Campaign
from trimtab.core.records import rfc3339
from trimtab.core.store import Store
from trimtab.monitoring import campaign, campaign_gain, campaign_story, competition, learners, overview, pages
from trimtab.monitoring.campaign_gain import purse_of
from trimtab.monitoring.campaign_records import all_campaigns
from trimtab.monitoring.champion import published
from trimtab.monitoring.competition import Compared
from trimtab.monitoring.gain import CHAMPION, Gain
from trimtab.monitoring.pace import folded

WINDOW = timedelta(seconds=40)


@pytest.fixture(autouse=True)
def linear(monkeypatch: pytest.MonkeyPatch) -> None:
    """The linear quick model alone: boosting takes longer than all else here."""
    monkeypatch.setattr(learners, "kinds", lambda d, k: learners.KINDS[:1])


class Settled(World):
    """The champion's own data say what the log says: nothing is to be gained."""

    def __post_init__(self) -> None:
        base = self.folder / "settled"
        rows = {"x": [float(i) for i in range(40)], "order": [f"b{i}" for i in range(40)], "y": ["yes"] * 39 + ["no"]}
        datasets.write_dataset(base, [pa.table(rows)], SCHEMA)
        self.dataset = datasets.put_dataset(self.store, MODEL, base)


def make(store: Store, folder: Path, kind: type[World] = World, verdict: str = "none", **blocks: Any) -> World:
    """Three windows, whose truth is always `yes`; of the world's own training rows half are `no`."""
    world = kind(store, folder, {"rollout": ROLLOUT, "campaign": {"opens": "gain", "follow_ups": 0, **blocks}})
    world.champion()
    for n in (1, 2, 3):
        window(world, n, verdict)
    return world


def window(world: World, n: int, verdict: str = "none", labelled: int = 40) -> None:
    """The champion's next window: 40 rows, half of them answered right."""
    version = world.state().champion
    assert version is not None
    begins = START + (n - 1) * WINDOW
    world.log(version, begins, [i % 2 == 0 for i in range(40)], labelled=labelled > 0)
    world.verdict(version, n, verdict, begins, since=None, labelled=labelled)


def test_it_opens_once_without_a_drift_and_goes_on_as_after_one(store: Store, tmp_path: Path) -> None:
    world = make(store, tmp_path)
    first = world.state().champion
    hook = service(world)
    done = hook.round()
    assert done[0].startswith("campaign 1 opens: labels have grown: quick models trained on everything give ")
    assert hook.round() == []
    opened = only(world).opened
    assert (opened["cause"], opened["since"], opened["version"], opened["window"]) == ("gain", None, first, 3)
    assert opened["compared"]["gain"] > 0.3
    assert opened["compared"]["standard_errors"] > 1.5
    assert opened["compared"]["champion_rows"] == 40
    # An alert finds it, as ever.
    assert hook.answer(MODEL, "late").campaign == 1
    page = campaign_story.campaign_page(store, MODEL, 1)
    assert page is not None
    assert "data that would answer better than those of" in page
    assert "What was compared" in page
    assert "labels have grown" in pages.campaigns_page(store, MODEL)
    assert overview.overview(store, MODEL)["campaigns"][0]["phase"] == "releasing"
    assert f'trimtab_campaign_state{{model="{MODEL}",state="releasing"}} 1.0' in metrics(world)
    answer_canary(world)
    hook.round()
    hook.round()
    told = story(store)
    assert (told["opened"], told["outcomes"], told["runs"], told["requests"]) == (1, ["promoted"], 1, 1)
    assert world.state().champion != first
    # The newest quarter judged, and neither the retrain nor the look had seen it.
    data = only(world).retrains[0].data
    assert (data["judge_rows"], data["regime_rows"]) == (30, 120)


@pytest.mark.parametrize(
    ("kind", "verdict", "blocks"),
    [
        (World, "none", {"opens": "drift"}),
        (World, "none", {"paused": True}),
        (World, "none", {"least_gain": 2}),
        (Settled, "none", {}),
        (World, "drift", {}),  # its alert opens it
    ],
)
def test_it_opens_nothing(
    store: Store, tmp_path: Path, kind: type[World], verdict: str, blocks: dict[str, Any]
) -> None:
    world = make(store, tmp_path, kind, verdict, **blocks)
    assert service(world).round() == []
    assert story(store)["opened"] == 0


def test_a_pause_holds_it_until_it_is_resumed(store: Store, tmp_path: Path) -> None:
    world = make(store, tmp_path)
    campaign.control(store, MODEL, "pause", who="ann", why="")
    hook = service(world)
    assert hook.round() == []
    campaign.control(store, MODEL, "resume", who="ann", why="")
    assert hook.round()
    assert story(store)["opened"] == 1


def test_further_windows_are_waited_for_though_none_drifts(store: Store, tmp_path: Path) -> None:
    world = make(store, tmp_path, debounce_windows=1)
    hook = service(world)
    hook.round()
    assert hook.waiting[MODEL] == "0 of 1 further windows"
    window(world, 4)
    hook.round()
    assert story(store)["runs"] == 1


def test_a_lost_one_cools_down_and_budget_and_purse_are_spent(store: Store, tmp_path: Path) -> None:
    world = make(store, tmp_path, retrains_per_week=2, cooldown_windows=3, windows_per_retrain=1e6)

    def opened() -> int:
        service(world, launcher=Runs(world, paired=lambda _: LOSING)).round()
        return int(story(store)["opened"])

    assert opened() == 1
    assert only(world).outcome == "rejected"
    for n, expected in ((4, 1), (5, 1), (6, 2)):
        window(world, n)
        assert opened() == expected, n
    # Two of three retrains are spent, two of two of the week, and the next pause is twice as long.
    about = published(store, MODEL, only(world).version)
    purse, since = purse_of(store, MODEL, about, all_campaigns(store, MODEL))
    assert (round(purse.left, 3), since) == (1, 0)
    for n in range(7, 13):
        window(world, n)
    assert opened() == 2


def test_an_empty_purse_opens_nothing(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make(store, tmp_path)
    monkeypatch.setattr(campaign_gain, "FIRST", 1.2)  # a drift could spend it
    assert service(world).round() == []
    monkeypatch.setattr(campaign_gain, "FIRST", 1.6)  # with the three windows' 0.6 there are two
    assert service(world).round()


def test_two_hooks_open_one(store: Store, tmp_path: Path) -> None:
    world = make(store, tmp_path)
    barrier = threading.Barrier(2)

    def go() -> None:
        hook = service(world)
        barrier.wait()
        for _ in range(3):
            hook.round()

    threads = [threading.Thread(target=go) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = story(store)
    assert (told["opened"], told["runs"], told["requests"]) == (1, 1, 1)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", [1, 2])
def test_killed_at_a_write_it_opens_once(store: Store, tmp_path: Path, at: int, after: bool) -> None:
    world = make(store, tmp_path)
    with pytest.raises(Killed):
        service(world, Dying(store, at, after)).round()
    hook = service(world)
    hook.round()
    hook.round()
    told = story(store)
    assert (told["opened"], told["runs"], told["requests"]) == (1, 1, 1)
    assert only(world).by_gain


def test_a_rival_that_was_faster_is_not_followed_by_a_second(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make(store, tmp_path)
    real = competition.compared

    def slow(*args: Any) -> Compared | None:
        found = real(*args)
        # While this hook compares, another one opens the campaign, loses it, and has no cool-down to wait for.
        monkeypatch.setattr(campaign_gain, "compared", real)
        service(world, launcher=Runs(world, paired=lambda _: LOSING)).round()
        return found

    monkeypatch.setattr(campaign_gain, "compared", slow)
    service(world).round()
    assert story(store)["opened"] == 1


def test_it_looks_once_for_each_window_with_labels(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make(store, tmp_path, Settled)
    looks: list[datetime] = []
    real = competition.compared

    def counted(*args: Any) -> Compared | None:
        looks.append(args[3][1])
        return real(*args)

    monkeypatch.setattr(campaign_gain, "compared", counted)
    hook = service(world)
    for labelled, expected in ((None, 1), (0, 1), (29, 1), (40, 2)):
        if labelled is not None:
            window(world, {0: 4, 29: 5, 40: 6}[labelled], labelled=labelled)
        hook.round()
        hook.round()
        assert len(looks) == expected, labelled
    service(world).round()
    assert len(looks) == 3  # a restart forgets what was looked at
    assert looks == sorted(looks)


def test_a_purse_is_the_same_from_whatever_end_it_is_counted(store: Store, tmp_path: Path) -> None:
    policy = Campaign()
    earned = [(START + n * WINDOW, 1.0) for n in range(60)]
    spent = [START + n * WINDOW for n in (7, 20, 21, 22, 23, 24, 40)]
    whole = folded(earned, spent, policy)
    assert whole == folded(reversed(earned), reversed(spent), policy)
    assert whole[0].left == 4
    assert folded(earned[:25], spent[:-1], policy)[0].left < 1  # never below nothing, however much drifts have spent
    assert folded([], spent, policy)[0].left == 0
    # Of two champions, the older one's windows are only read where they matter.
    world = make(store, tmp_path, Settled, windows_per_retrain=1)
    version = world.state().champion
    assert version is not None
    about = published(store, MODEL, version)
    assert purse_of(store, MODEL, about, []) == (folded(earned[:3], [], about.campaign))
    second = world.champion(2)
    assert purse_of(store, MODEL, about, [])[0].left == 4
    for n in range(4, 10):
        world.verdict(second, n, "none", START + n * WINDOW, labelled=40)
    assert purse_of(store, MODEL, published(store, MODEL, second), [])[0].left == 4
    assert rfc3339(START) in only_first(store, version)


def only_first(store: Store, version: str) -> str:
    """The first window's verdict as it is written."""
    key = next(k for k in store.list(f"windows/{MODEL}/{version}/00000001/") if "verdict" in k)
    return store.get(key).decode()


def test_a_gain_is_told_in_the_task_s_own_words() -> None:
    found = Gain(CHAMPION, 0.5, 2.0, 40, 2.0)
    assert Compared(found, 40, 0.025, True).words == "2.5 more right answers in 100"
    assert Compared(found, 40, 0.25, False).words == "25.0% less error"
