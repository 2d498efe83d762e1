"""What bounds campaigns: time of a run, budgets, losses in a row; and what they leave for the person who is paged."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from tests.monitoring.test_campaign import service
from tests.monitoring.test_campaign_ends import LOSING, make, only, waits
from tests.monitoring.world import MODEL, Runs, World, story

from trimtab.core.records import create_record, parse_time
from trimtab.core.store import Store
from trimtab.monitoring import campaign
from trimtab.monitoring.campaign_budget import run_cost, spent
from trimtab.monitoring.campaign_close import lost_in_a_row
from trimtab.monitoring.campaign_open import after
from trimtab.monitoring.campaign_records import CampaignState, all_campaigns
from trimtab.monitoring.champion import published
from trimtab.monitoring.hook_metrics import HookCollector
from trimtab.monitoring.windows import latest


def metrics(world: World) -> str:
    registry = CollectorRegistry()
    registry.register(HookCollector(world.store, lambda: [MODEL]))
    return generate_latest(registry).decode()


def stage(store: Store, key: str, name: str, attempt: int, end: str, **cost: float) -> None:
    """What a stage leaves of its cost."""
    record = f"runs/{key}/attempts/{attempt:08d}/{name}/00000001/{end}.json"
    create_record(store, record, f"stage-{end}", {"cost": cost, "message": "no memory", "kind": "RunError"})


def test_a_run_that_takes_too_long_is_ended_and_has_failed(store: Store, tmp_path: Path) -> None:
    world, _ = make(store, tmp_path, run_hours=3)
    launcher = Runs(world, ends="running")
    hook = service(world, launcher=launcher)
    hook.answer(MODEL, "")
    assert waits(hook).startswith("run ")
    started = parse_time(only(world).retrains[0].run["written_at"])  # type: ignore[index]
    stepper = campaign.Stepper(store, MODEL, launcher, hook.readers)
    stepper.now = lambda: started + timedelta(hours=2.9)
    assert stepper.step() == []
    assert launcher.cancelled == []
    stepper.now = lambda: started + timedelta(hours=3.1)
    stepper.step()
    assert launcher.cancelled == launcher.started
    assert (only(world).outcome, only(world).closing["undecided"]) == ("failed", False)
    assert "took longer than `campaign.run_hours`, 3" in only(world).why


def test_a_hook_that_dies_between_the_word_and_the_deed_still_ends_the_run(store: Store, tmp_path: Path) -> None:
    world, _ = make(store, tmp_path)
    launcher = Runs(world, ends="running")
    hook = service(world, launcher=launcher)
    hook.answer(MODEL, "")
    hook.round()
    failed = {"won": False, "failed": True, "why": "too long", "version": None, "run_key": launcher.started[0]}
    create_record(store, f"campaigns/{MODEL}/00000001/retrain-00000001/judged.json", "judged", failed)
    service(world, launcher=launcher).round()
    assert launcher.cancelled == launcher.started
    assert only(world).outcome == "failed"


def test_the_budget_of_gpu_hours_ends(store: Store, tmp_path: Path) -> None:
    world, version = make(store, tmp_path, gpu_hours_per_week=2, cooldown_windows=0)
    launcher = Runs(world, paired=lambda _: LOSING)
    hook = service(world, launcher=launcher)
    hook.answer(MODEL, "")
    hook.round()
    world.verdict(version, 2)
    stage(store, launcher.started[0], "train.mlp", 1, "error", wall_seconds=3600, gpu_seconds=3600)
    assert hook.answer(MODEL, "").campaign == 2
    hook.round()
    # Failed tries and other attempts cost what they cost.
    stage(store, launcher.started[0], "train.mlp", 2, "result", wall_seconds=4000, gpu_seconds=3700)
    world.verdict(version, 3)
    assert hook.answer(MODEL, "").reason == "the budget of GPU hours is spent: 2.0 in 7 days, 2 allowed"
    assert run_cost(store, launcher.started[0])["train", "gpu"] == 7300
    assert f'trimtab_campaign_budget_used_ratio{{budget="gpu",model="{MODEL}"}} {7300 / 7200}' in metrics(world)
    assert 'trimtab_run_cost_seconds_total{resource="gpu",stage="train"} 7300.0' in metrics(world)
    campaigns, policy = all_campaigns(store, MODEL), published(store, MODEL, version).campaign
    assert spent(store, campaigns, policy, only(world).phase_since + timedelta(days=8)).gpu_hours == 0


def test_a_follow_up_is_not_trained_beyond_the_budget(store: Store, tmp_path: Path) -> None:
    from tests.monitoring.test_campaign import answer_canary

    world, _ = make(store, tmp_path, follow_ups=1, retrains_per_week=1)
    hook = service(world)
    hook.answer(MODEL, "")
    hook.round()
    answer_canary(world)
    hook.round()
    hook.round()
    assert (only(world).outcome, story(store)["runs"]) == ("promoted", 1)


def test_two_lost_in_a_row_are_told_with_what_was_tried(store: Store, tmp_path: Path) -> None:
    world, version = make(store, tmp_path, cooldown_windows=0)
    for n in (1, 2):
        assert f'trimtab_campaigns_lost_in_a_row{{model="{MODEL}"}} {n - 1}.0' in metrics(world)
        hook = service(world, launcher=Runs(world, paired=lambda _: LOSING))
        assert hook.answer(MODEL, "").campaign == n
        hook.round()
        world.verdict(version, n + 1)
    assert f'trimtab_campaigns_lost_in_a_row{{model="{MODEL}"}} 2.0' in metrics(world)
    (tried,) = only(world).closing["tried"]
    assert tried["won"] is False
    assert "20 new ones" in tried["trained_on"]
    assert tried["figures"]["champion_only"] == LOSING["champion_only"]
    # The challenger that lost is kept: its version is published, its run is there.
    assert published(store, MODEL, tried["version"]).run_key == tried["run_key"]
    hook = service(world)
    assert hook.answer(MODEL, "").campaign == 3


@pytest.mark.parametrize(
    ("outcomes", "lost"),
    [
        ([], 0),
        (["rejected"], 1),
        (["rejected", "promoted"], 0),
        (["promoted", "failed", "cancelled", "rejected"], 2),
        (["rejected", "undecided"], 1),
    ],
)
def test_how_many_were_lost_in_a_row(outcomes: list[str], lost: int) -> None:
    def one(outcome: str) -> CampaignState:
        closing = {"undecided": outcome == "undecided"}
        said = "rejected" if outcome == "undecided" else outcome
        return CampaignState(1, MODEL, "v1", "cooling", {}, closed=True, outcome=said, closing=closing)

    assert lost_in_a_row([one(o) for o in outcomes]) == lost


def test_after_an_undecided_one_the_next_may_begin_at_once_but_not_for_ever(store: Store, tmp_path: Path) -> None:
    world, version = make(store, tmp_path)
    hook = service(world, launcher=Runs(world, paired=lambda _: LOSING))
    hook.answer(MODEL, "")
    hook.round()
    about, verdict = published(store, MODEL, version), latest(store, MODEL, version)
    assert verdict is not None
    decided = only(world)
    open_end = replace(decided, closing={**decided.closing, "undecided": True})
    assert "cooling down" in after([decided], about, verdict)
    assert after([open_end], about, verdict) == ""
    assert "cooling down" in after([open_end, open_end], about, verdict)


def test_states_tell_who_is_waited_for(store: Store, tmp_path: Path) -> None:
    world, _ = make(store, tmp_path, approval=True)
    assert f'trimtab_campaign_state{{model="{MODEL}",state="idle"}} 1.0' in metrics(world)
    hook = service(world)
    hook.answer(MODEL, "")
    assert f'trimtab_campaign_state{{model="{MODEL}",state="approval"}} 1.0' in metrics(world)
    campaign.control(store, MODEL, "pause", who="ann", why="")
    assert f'trimtab_campaign_state{{model="{MODEL}",state="paused"}} 1.0' in metrics(world)
    assert f'trimtab_campaign_state{{model="{MODEL}",state="approval"}} 0.0' in metrics(world)
    campaign.control(store, MODEL, "resume", who="ann", why="")
    campaign.control(store, MODEL, "approve", who="ann", why="", campaign=1)
    hook.round()
    text = metrics(world)
    assert f'trimtab_rollout_waiting_since_timestamp_seconds{{kind="serve",model="{MODEL}"}}' in text
    assert 'trimtab_runs_total{outcome="succeeded"} 1.0' in text


def test_counters_do_not_fall_while_a_model_cannot_be_read(store: Store, tmp_path: Path) -> None:
    world, _ = make(store, tmp_path)
    registry = CollectorRegistry()
    registry.register(HookCollector(store, lambda: [MODEL]))
    hook = service(world)
    hook.answer(MODEL, "")
    hook.round()
    before = [line for line in generate_latest(registry).decode().splitlines() if line.startswith("trimtab_run")]
    store.create(f"campaigns/{MODEL}/00000002/opened.json", b"no record")
    text = generate_latest(registry).decode()
    assert [line for line in text.splitlines() if line.startswith("trimtab_run")] == before
    assert "trimtab_campaigns_lost_in_a_row{" not in text  # and nothing looks healthy that is not known
