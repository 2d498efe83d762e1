"""Rollback: from every phase, with the hook up or down; and what a person took back does not return by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from tests.monitoring.test_campaign import ROLLOUT, answer_canary, service
from tests.monitoring.world import MODEL, START, Place, Runs, World
from typer.testing import CliRunner

from trimtab.core import ledger, rollouts
from trimtab.core.launch import RetrainRequest
from trimtab.core.store import Store
from trimtab.monitoring import campaign, controller
from trimtab.monitoring.campaign_records import all_campaigns, controls
from trimtab.monitoring.hook_service import HookService
from trimtab.monitoring.overview import overview

# Worse on 4 of 20 rows: not shown, so released, and doubtful, so kept in the shadow.
DOUBTFUL = {"n": 20, "both_right": 15, "challenger_only": 0, "champion_only": 4, "both_wrong": 1}
# Shown to be worse.
LOSING = {"n": 20, "both_right": 5, "challenger_only": 0, "champion_only": 12, "both_wrong": 3}
PHASES = ("idle", "debounce", "training", "judging", "shadow", "canary", "following", "cooling")


def ask(world: World, version: str, kind: rollouts.Kind = "serve", **more: Any) -> int:
    return rollouts.request(world.store, MODEL, version, kind=kind, who="ann", why="", **more)


def step(world: World) -> list[str]:
    return controller.step(world.store, MODEL, Place())


def events(world: World) -> list[tuple[str, str]]:
    return [(e.event, e.version) for e in ledger.read(world.store, MODEL)]


def rollback(*arguments: str) -> str:
    """The command, as a person gives it."""
    from trimtab.cli.rollback import rollback as command

    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return str(result.output)


class Held(Runs):
    """Runs that go on until they are let go."""

    def start(self, request: RetrainRequest) -> str:
        self.request = request
        return super().start(request)

    def let_go(self) -> None:
        """The run ends, whoever watches."""
        self.ends = "succeeded"
        super().start(self.request)


@pytest.fixture
def world(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("TRIMTAB_STORE", store.url)
    monkeypatch.setenv("TRIMTAB_HOOK_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("TRIMTAB_SERVER_URL", "http://127.0.0.1:9")
    return World(store, tmp_path, {"rollout": ROLLOUT, "campaign": {"follow_ups": 1}})


def bring_to(world: World, phase: str) -> HookService:
    """Two champions, one after the other, and a campaign about the second in this phase."""
    if phase == "debounce":
        world.project["campaign"] = {"approval": True}
    world.champion(1)
    version = world.champion(2)
    world.log(version, START, [i % 2 == 0 for i in range(40)])
    world.verdict(version, 1)
    launcher = Held(world, ends="running" if phase in {"training", "judging"} else "succeeded")
    counts = {"shadow": DOUBTFUL, "cooling": LOSING}.get(phase)
    if counts is not None:
        launcher.paired = lambda _: {**counts, "against": version}
    hook = service(world, launcher=launcher)
    if phase == "idle":
        return hook
    hook.answer(MODEL, "")
    hook.round()
    if phase == "judging":
        launcher.let_go()
    if phase == "following":
        answer_canary(world)
        hook.round()
        hook.round()
    now = campaign.state(world.store, MODEL)
    assert now is not None
    assert now.phase == {"shadow": "releasing", "canary": "releasing"}.get(phase, phase)
    state = world.state()
    assert (state.shadow is not None) == (phase == "shadow")
    assert overview(world.store, MODEL)["shadow"] == state.shadow
    assert (state.canary is not None) == (phase == "canary")
    return hook


@pytest.mark.parametrize("hook_up", [True, False], ids=["up", "down"])
@pytest.mark.parametrize("phase", PHASES)
def test_rollback_from_every_phase(world: World, phase: str, hook_up: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = bring_to(world, phase)
    before = world.state()
    gone = before.canary or before.champion
    assert gone is not None
    if hook_up:
        monkeypatch.setattr("trimtab.cli.steer._answers", lambda url: url.endswith("/healthz"))
        hook.start()
    try:
        told = rollback("--why", "complaints")
    finally:
        hook.stop()
    assert ("no hook answers" in told) != hook_up
    back = before.champion if before.canary else before.before(gone)
    assert f"{gone} is taken back, {back} is the champion" in told
    # Another hook goes on, as after a restart: nothing returns, nothing is left open.
    again = service(world, launcher=Held(world))
    for _ in range(3):
        again.round()
    state = world.state()
    assert (state.champion, state.canary, state.shadow) == (back, None, None)
    assert gone in state.rolled_back
    assert rollouts.undecided(world.store, MODEL) == []
    outcomes = [c.outcome for c in all_campaigns(world.store, MODEL)]
    assert outcomes == {"idle": [], "cooling": ["rejected"]}.get(phase, ["cancelled"])
    assert controls(world.store, MODEL).paused
    assert back is not None
    world.verdict(back, 9)
    assert again.answer(MODEL, "").reason.startswith("paused")
    campaign.control(world.store, MODEL, "resume", who="ann", why="")
    after = again.answer(MODEL, "")
    assert after.campaign is not None or "cooling down" in after.reason
    again.round()
    assert world.state().champion == back
    assert gone in world.state().rolled_back


def test_rollbacks_one_after_another_go_down_the_history_and_never_up(world: World) -> None:
    versions = [world.champion(i) for i in (1, 2, 3, 4)]
    for back in reversed(versions[:-1]):
        rollback()
        assert world.state().champion == back
    assert world.state().rolled_back == set(versions[1:])
    service(world).round()
    assert world.state().champion == versions[0]


def test_a_canary_that_is_rejected_at_that_moment_is_taken_back_all_the_same(world: World) -> None:
    world.champion(1)
    second = world.publish(2)
    ask(world, second)
    step(world)
    number = ask(world, second, "rollback")
    # The judge, who has not seen the request, was faster.
    state = world.state()
    assert ledger.append(world.store, MODEL, "rejected", second, expect=state, who="controller", why="") is not None
    assert [r.n for r in rollouts.undecided(world.store, MODEL)] == [number]
    step(world)
    assert second in world.state().rolled_back
    assert rollouts.undecided(world.store, MODEL) == []


def test_asked_for_again_by_a_run_it_is_rejected_and_the_reason_names_the_way_back(world: World) -> None:
    first, second = world.champion(1), world.champion(2)
    rollback()
    # The same files published again are the same version; each run asks for its rollout.
    for run_key in ("a" * 16, "b" * 16):
        assert world.publish(2, run_key) == second
        ask(world, second, run_key=run_key)
        step(world)
        assert events(world)[-1] == ("rejected", second)
        assert f"trimtab promote {MODEL} {second}" in ledger.read(world.store, MODEL)[-1].why
    assert world.state().champion == first
    ask(world, second, "promote")
    step(world)
    assert world.state().champion == second
    assert world.state().rolled_back == frozenset()


def test_a_campaign_that_trains_it_again_does_not_release_it(world: World) -> None:
    hook = bring_to(world, "canary")
    canary = world.state().canary
    rollback()
    campaign.control(world.store, MODEL, "resume", who="ann", why="")
    hook.round()
    state = world.state()
    assert state.champion is not None
    world.verdict(state.champion, 9)

    # The very version that was taken back comes out of training.
    seed = int(all_campaigns(world.store, MODEL)[0].retrains[0].run["run_key"][:6], 16)  # type: ignore[index]
    launcher = Runs(world)
    publish = world.publish
    world.publish = lambda *_a, **_k: publish(seed)  # type: ignore[method-assign]
    again = service(world, launcher=launcher)
    opened = again.answer(MODEL, "").campaign
    assert opened == 2
    again.round()
    again.round()
    assert world.state().canary is None
    last = all_campaigns(world.store, MODEL)[-1]
    assert (last.outcome, last.why) == ("rejected", f"{canary} was taken back before: trimtab promote {MODEL} {canary}")


def test_what_was_asked_for_before_the_rollback_does_not_start_after_it(world: World) -> None:
    first, second = world.champion(1), world.champion(2)
    third = world.publish(3)
    ask(world, third)
    # No hook was up: the request waited. Then a person took the champion back.
    rollback()
    service(world).round()
    state = world.state()
    assert (state.champion, state.canary, state.shadow) == (first, None, None)
    assert third in state.rejected
    assert second in state.rolled_back


def test_a_champion_that_servers_refuse_does_not_bring_back_what_was_taken_back(store: Store, tmp_path: Path) -> None:
    world = World(store, tmp_path, {"rollout": {"strategy": "replace"}})
    first, second = world.champion(1), world.champion(2)
    ask(world, second, "rollback")
    third = world.publish(3)
    step(world)
    ask(world, third)
    step(world)
    assert world.state().champion == third
    world.refuse(third, "no memory")
    step(world)
    assert world.state().champion == first


def test_a_version_in_the_shadow_goes_when_the_champion_is_rolled_back(world: World) -> None:
    first, second = world.champion(1), world.champion(2)
    third = world.publish(3)
    ask(world, third)
    state = world.state()
    assert ledger.append(world.store, MODEL, "shadowed", third, expect=state, who="test", why="") is not None
    ask(world, second, "rollback")
    controller.append_without_evidence(world.store, MODEL)
    state = world.state()
    assert (state.champion, state.shadow) == (first, None)
    assert events(world)[-2:] == [("rejected", third), ("rolled_back", second)]


def test_a_rollback_beside_a_release_wins(world: World) -> None:
    """The hook asked for the release after the rollback was asked for: the campaign is cancelled, so it is refused."""
    world.champion(1)
    version = world.champion(2)
    world.log(version, START, [i % 2 == 0 for i in range(40)])
    world.verdict(version, 1)
    stepper = service(world)
    stepper.answer(MODEL, "")
    campaign.control(world.store, MODEL, "pause", who="ann", why="")
    campaign.control(world.store, MODEL, "cancel", who="ann", why="", campaign=1)
    ask(world, version, "rollback")
    new = world.publish(5)
    ask(world, new, campaign=1, run_key="late")
    step(world)
    assert version in world.state().rolled_back
    assert new in world.state().rejected
    assert world.state().canary is None
