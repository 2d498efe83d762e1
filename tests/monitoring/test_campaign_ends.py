"""Every way in which a campaign waits or ends, and when the next one may open."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.monitoring.test_campaign import ROLLOUT, answer_canary, service
from tests.monitoring.world import MODEL, START, Runs, World, story

from trimtab.core import ledger, runs
from trimtab.core.errors import RunError
from trimtab.core.launch import RetrainRequest, State
from trimtab.core.records import parse_time
from trimtab.core.store import Store
from trimtab.monitoring import campaign
from trimtab.monitoring.campaign_records import all_campaigns
from trimtab.monitoring.hook_service import HookService

LOSING = {"against": None, "n": 20, "both_right": 5, "challenger_only": 0, "champion_only": 12, "both_wrong": 3}


def make(store: Store, folder: Path, labelled: bool = True, **blocks: Any) -> tuple[World, str]:
    project = {"rollout": ROLLOUT, "campaign": {"follow_ups": 0, **blocks}}
    world = World(store, folder, project)
    version = world.champion()
    world.log(version, START, [i % 2 == 0 for i in range(40)], labelled)
    world.verdict(version, 1)
    return world, version


def only(world: World) -> campaign.CampaignState:
    return all_campaigns(world.store, MODEL)[-1]


def waits(hook: HookService) -> str:
    hook.round()
    return hook.waiting[MODEL]


def test_no_drift_opens_nothing(store: Store, tmp_path: Path) -> None:
    world, version = make(store, tmp_path)
    world.verdict(version, 2, "watch")
    assert service(world).answer(MODEL, "").reason == f"the newest verdict about {version} is 'watch' (window 2)"
    assert service(world).answer("other", "").reason == "no model is called 'other'"
    assert story(store)["opened"] == 0


def test_it_waits_for_labels_and_gives_up_when_none_can_come(store: Store, tmp_path: Path) -> None:
    world, _ = make(store, tmp_path, labelled=False)
    hook = service(world)
    hook.answer(MODEL, "")
    assert waits(hook) == "0 of 30 labelled rows of the new regime"
    late = campaign.Stepper(store, MODEL, Runs(world), hook.readers)
    late.now = lambda: only(world).phase_since + timedelta(hours=169)
    late.step()
    assert (only(world).outcome, only(world).why.split(":")[0]) == ("failed", "no labels came")


def test_it_waits_for_approval(store: Store, tmp_path: Path) -> None:
    world, _ = make(store, tmp_path, approval=True)
    hook = service(world)
    hook.answer(MODEL, "")
    assert waits(hook) == f"approval: trimtab approve {MODEL}"
    campaign.control(store, MODEL, "approve", who="ann", why="", campaign=1)
    hook.round()
    assert story(store)["runs"] == 1


def test_it_waits_for_further_windows_and_a_drift_that_passes_ends_it(store: Store, tmp_path: Path) -> None:
    world, version = make(store, tmp_path, debounce_windows=2)
    hook = service(world)
    hook.answer(MODEL, "")
    assert waits(hook) == "0 of 2 further windows"
    world.verdict(version, 3, "none")
    hook.round()
    assert (only(world).outcome, only(world).why) == ("cancelled", "the drift has passed: window 3 shows none")


def test_paused_it_holds_and_goes_on(store: Store, tmp_path: Path) -> None:
    world, _ = make(store, tmp_path)
    hook = service(world)
    campaign.control(store, MODEL, "pause", who="ann", why="holidays")
    assert hook.answer(MODEL, "").reason == "paused: holidays"
    campaign.control(store, MODEL, "resume", who="ann", why="")
    assert hook.answer(MODEL, "").campaign == 1
    campaign.control(store, MODEL, "pause", who="ann", why="")
    assert waits(hook) == "paused"
    assert story(store)["runs"] == 0
    campaign.control(store, MODEL, "resume", who="ann", why="")
    hook.round()
    assert story(store)["runs"] == 1


def test_a_challenger_that_loses_is_kept_with_the_reason_and_then_it_cools_down(store: Store, tmp_path: Path) -> None:
    world, version = make(store, tmp_path)
    hook = service(world, launcher=Runs(world, paired=lambda _: LOSING))
    hook.answer(MODEL, "")
    hook.round()
    lost = only(world)
    assert (lost.outcome, lost.why) == ("rejected", "shown to be worse: 5 of 20 right, the champion 17")
    assert world.state().champion == version
    assert story(store)["requests"] == 0
    # The cool-down is two windows, then four.
    assert "0 of 2 windows" in hook.answer(MODEL, "").reason
    world.verdict(version, 2)
    assert "1 of 2 windows" in hook.answer(MODEL, "").reason
    world.verdict(version, 3)
    assert hook.answer(MODEL, "").campaign == 2
    hook.round()
    world.verdict(version, 5)
    assert "2 of 4 windows" in hook.answer(MODEL, "").reason
    world.verdict(version, 7)
    assert hook.answer(MODEL, "").campaign == 3


def test_after_a_promotion_the_same_change_is_answered(store: Store, tmp_path: Path) -> None:
    world, version = make(store, tmp_path)
    hook = service(world)
    hook.answer(MODEL, "")
    hook.round()
    answer_canary(world)
    hook.round()
    hook.round()
    new = world.state().champion
    assert new is not None
    assert new != version
    world.verdict(new, 1, start=START - timedelta(hours=1))
    assert "its data reach beyond the change" in hook.answer(MODEL, "").reason
    world.verdict(new, 2, start=START + timedelta(hours=1))
    assert hook.answer(MODEL, "").campaign == 2


def test_the_budget_ends(store: Store, tmp_path: Path) -> None:
    world, version = make(store, tmp_path, retrains_per_week=1, cooldown_windows=0)
    hook = service(world, launcher=Runs(world, paired=lambda _: LOSING))
    hook.answer(MODEL, "")
    hook.round()
    world.verdict(version, 2)
    assert hook.answer(MODEL, "").reason == "the budget of retrains is spent: 1 in 7 days, 1 allowed"
    later = campaign.answer(store, MODEL, now=only(world).phase_since + timedelta(days=8))
    assert later.campaign == 2


def test_a_run_that_fails_says_why(store: Store, tmp_path: Path) -> None:
    world, _ = make(store, tmp_path)
    hook = service(world, launcher=Runs(world, ends="failed"))
    hook.answer(MODEL, "")
    hook.round()
    assert (only(world).outcome, only(world).why) == ("failed", "no memory")


def test_a_run_that_dies_is_taken_up_again_twice(store: Store, tmp_path: Path) -> None:
    world, _ = make(store, tmp_path)
    hook = service(world, launcher=Runs(world, ends="died"))
    hook.answer(MODEL, "")
    hook.round()
    assert only(world).outcome == "failed"
    assert only(world).why.endswith("died 3 times without a result")
    assert only(world).retrains[0].again == 2
    assert story(store)["runs"] == 1


def test_a_run_that_its_pods_kept_from_starting_says_why_and_is_not_repeated(store: Store, tmp_path: Path) -> None:
    class Stuck(Runs):
        def state(self, key: str) -> State:
            n = runs.claim(store, key, "backend-1")
            runs.end(store, key, n, "failed", {"message": "its image cannot be pulled", "stuck": True})
            return "failed"

    world, _ = make(store, tmp_path)
    hook = service(world, launcher=Stuck(world, ends="running"))
    hook.answer(MODEL, "")
    hook.round()
    assert (only(world).outcome, only(world).why) == ("failed", "its image cannot be pulled")
    assert only(world).retrains[0].again == 0


def test_a_run_that_cannot_start_ends_the_campaign(store: Store, tmp_path: Path) -> None:
    class Broken(Runs):
        def start(self, request: RetrainRequest) -> str:
            raise RunError("no such base run", object=request.base_key)

    world, _ = make(store, tmp_path)
    hook = service(world, launcher=Broken(world))
    hook.answer(MODEL, "")
    hook.round()
    assert only(world).outcome == "failed"
    assert "no such base run" in only(world).why


def test_a_winner_that_misses_the_gates_loses(store: Store, tmp_path: Path) -> None:
    world, _ = make(store, tmp_path)
    hook = service(world, launcher=Runs(world, passed=False))
    hook.answer(MODEL, "")
    hook.round()
    why = "it does not pass the project's gates: accuracy at least 0.8, got 0.7234 (on 47 rows, test)"
    assert (only(world).outcome, only(world).why) == ("rejected", why)


def test_a_cancelled_campaign_ends_its_run(store: Store, tmp_path: Path) -> None:
    world, _ = make(store, tmp_path)
    launcher = Runs(world, ends="running")
    hook = service(world, launcher=launcher)
    hook.answer(MODEL, "")
    assert waits(hook).startswith("run ")
    assert campaign.state(store, MODEL).phase == "training"  # type: ignore[union-attr]
    campaign.control(store, MODEL, "cancel", who="ann", why="", campaign=1)
    hook.round()
    assert only(world).outcome == "cancelled"
    assert launcher.cancelled == launcher.started


def test_another_champion_ends_it(store: Store, tmp_path: Path) -> None:
    world, version = make(store, tmp_path)
    hook = service(world, launcher=Runs(world, ends="running"))
    hook.answer(MODEL, "")
    hook.round()
    other = world.publish(7)
    ledger.append(store, MODEL, "promoted", other, expect=world.state(), who="ann", why="")
    hook.round()
    assert (only(world).outcome, only(world).why) == ("cancelled", f"{other} serves now, in place of {version}")


def test_a_canary_that_harms_ends_it_as_rejected(store: Store, tmp_path: Path) -> None:
    world, version = make(store, tmp_path)
    hook = service(world)
    hook.answer(MODEL, "")
    hook.round()
    answer_canary(world, wrong=20)
    hook.round()
    state = world.state()
    assert (state.champion, state.canary) == (version, None)
    assert only(world).outcome == "rejected"
    assert only(world).why.startswith("rejected: wrong answers: 20 of 20")


def test_a_follow_up_waits_for_labels_then_trains_on_what_judged_before(store: Store, tmp_path: Path) -> None:
    world, _ = make(store, tmp_path, follow_ups=1, follow_up_windows=2)
    hook = service(world)
    hook.answer(MODEL, "")
    hook.round()
    answer_canary(world)
    hook.round()
    new = world.state().champion
    assert new is not None
    first = only(world).retrains[0].data
    assert waits(hook) == "40 of 80 labelled rows since the last retrain"
    world.log(new, parse_time(first["until"]) + timedelta(minutes=1), [True] * 40)
    hook.round()
    second = only(world).retrains[1].data
    assert second["since"] == first["judge_from"]
    assert second["judge_from"] > first["until"]
    assert second["against"] == new
    assert second["train_rows"] + second["judge_rows"] == 20 + 80


def test_a_new_champion_that_drifts_brings_its_follow_up_forward(store: Store, tmp_path: Path) -> None:
    world, _ = make(store, tmp_path, follow_ups=1, follow_up_windows=5)
    hook = service(world)
    hook.answer(MODEL, "")
    hook.round()
    answer_canary(world)
    hook.round()
    assert waits(hook) == "40 of 200 labelled rows since the last retrain"
    new = world.state().champion
    assert new is not None
    world.verdict(new, 1, start=START + timedelta(hours=1))
    assert hook.answer(MODEL, "").campaign == 1
    hook.round()
    assert len(only(world).retrains) == 2


def test_a_lost_follow_up_leaves_the_campaign_promoted(store: Store, tmp_path: Path) -> None:
    world, _ = make(store, tmp_path, follow_ups=1, follow_up_windows=0.5)
    good = Runs(world)
    hook = service(world, launcher=Runs(world, paired=lambda r: good.paired(r) if r.retrain == 1 else LOSING))
    hook.answer(MODEL, "")
    hook.round()
    first = world.state().canary
    answer_canary(world)
    hook.round()
    hook.round()
    assert only(world).outcome == "promoted"
    assert only(world).why.startswith("follow-up 1 did not win")
    assert world.state().champion == first
    assert only(world).closing["data_end"] == only(world).retrains[0].data["until"]
    assert len(runs.list_runs(store)) == 2
