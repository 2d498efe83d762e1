"""The commands that see and steer: status, history, rollback, promote, pause, resume, approve."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.monitoring.test_campaign import ROLLOUT, service
from tests.monitoring.world import MODEL, START, World
from typer.testing import CliRunner

from trimtab.cli.approve import approve
from trimtab.cli.history import history
from trimtab.cli.pause import pause
from trimtab.cli.promote import promote
from trimtab.cli.resume import resume
from trimtab.cli.rollback import rollback
from trimtab.cli.status import status
from trimtab.core import ledger, rollouts
from trimtab.core.errors import ProjectError, RolloutRefused, RolloutTimeout
from trimtab.core.store import Store
from trimtab.monitoring.campaign_records import all_campaigns, controls


@pytest.fixture
def world(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("TRIMTAB_STORE", store.url)
    # Nothing listens there: neither hook nor server is up.
    monkeypatch.setenv("TRIMTAB_HOOK_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("TRIMTAB_SERVER_URL", "http://127.0.0.1:9")
    return World(store, tmp_path, {"rollout": ROLLOUT, "campaign": {"follow_ups": 0}})


def run(command: Callable[..., None], *arguments: str) -> str:
    """Run one command as `trimtab` would; an error is raised as it is."""
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def drift(world: World) -> str:
    version = world.champion()
    world.log(version, START, [i % 2 == 0 for i in range(40)])
    world.verdict(version, 1)
    return version


def test_status_of_an_empty_store_says_what_to_do(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIMTAB_STORE", (tmp_path / "empty").as_uri())
    assert "trimtab run FILE" in run(status)


def test_status_says_since_when_at_what_cost_and_where_more_is_told(world: World) -> None:
    version = world.champion()
    world.verdict(version, 1, "none")
    assert "extra errors" not in run(status, MODEL)
    world.verdict(version, 2, cost_per_day=1234.4)
    shown = run(status, MODEL)
    assert "since 2026-11-21 08:00 UTC, about 1,234 extra errors a day" in shown
    assert f"trimtab explain 2 {MODEL}" in shown
    assert f"/windows/{MODEL}/" in shown
    (facts,) = json.loads(run(status, "--json"))["models"]
    assert (facts["windows"][-1]["since"], facts["windows"][-1]["cost_per_day"]) == (
        "2026-11-21T08:00:00.000000Z",
        1234.4,
    )
    assert facts["pages"].endswith(f"/windows/{MODEL}/")


def test_status_shows_what_serves_and_a_request_to_try(world: World) -> None:
    version = drift(world)
    hook = service(world)
    hook.answer(MODEL, "")
    hook.round()
    shown = run(status, MODEL)
    for words in (
        version,
        "canary",
        "50 % of requests",
        "drift",
        "releasing, 1 retrain:",
        "curl -s http://127.0.0.1:9/v1/models/toy:predict",
    ):
        assert words in shown
    facts = json.loads(run(status, "--json"))["models"][0]
    assert facts["champion"] == version
    assert facts["curl"].endswith("""-d '{"instances":[{"x":0.1}]}'""")
    assert facts["campaigns"][0]["phase"] == "releasing"
    # Nothing listens on that port, and the page of facts says so.
    assert facts["answering"] is False
    assert "no server is ready" in shown


def test_history_tells_the_ledger_in_words(world: World) -> None:
    first = world.champion(1)
    ledger.append(
        world.store, MODEL, "canaried", "v2-0a1b2c3d", expect=world.state(), who="hook", why="it won", percent=10
    )
    told = run(history)
    assert f"{first} was promoted: first" in told
    assert "v2-0a1b2c3d answers 10 % of requests as canary: it won" in told
    entries = json.loads(run(history, MODEL, "--json"))["entries"]
    assert [e["event"] for e in entries] == ["promoted", "canaried"]
    assert json.loads(run(history, MODEL, "--at", "2026-01-01T00:00:00Z", "--json"))["champion"] is None
    assert f"served by {first}, and v2-0a1b2c3d 10 % of requests" in run(history, MODEL, "--at", "2999-01-01T00:00:00Z")


def test_rollback_without_a_hook_writes_the_ledger_itself(world: World) -> None:
    first, second = world.champion(1), world.champion(2)
    told = run(rollback, "--why", "too many complaints")
    for words in (
        "no hook answers",
        f"{second} is taken back",
        f"{first} is the champion",
        "no server answers",
        "trimtab resume",
    ):
        assert words in told
    state = world.state()
    assert state.champion == first
    assert state.rolled_back == {second}
    assert controls(world.store, MODEL).paused
    assert ledger.read(world.store, MODEL)[-1].why == "too many complaints"
    run(resume)
    assert not controls(world.store, MODEL).paused


def test_rollback_ends_the_canary_and_its_campaign(world: World) -> None:
    version = drift(world)
    hook = service(world)
    hook.answer(MODEL, "")
    hook.round()
    canary = world.state().canary
    assert "campaign 1 is cancelled" in run(rollback)
    state = world.state()
    assert (state.champion, state.canary) == (version, None)
    assert state.rolled_back == {canary}
    hook.round()
    assert all_campaigns(world.store, MODEL)[0].outcome == "cancelled"


def test_rollback_to_a_version_further_back(world: World) -> None:
    first, second, third = (world.champion(i) for i in (1, 2, 3))
    run(rollback, "--to", first)
    state = world.state()
    assert state.champion == first
    assert state.rolled_back == {third}
    # No third version served in between.
    assert [e.event for e in ledger.read(world.store, MODEL)][-2:] == ["promoted", "rolled_back"]
    assert state.before(first) == second


def test_rollback_with_a_hook_leaves_the_ledger_to_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = world.champion(1), world.champion(2)
    monkeypatch.setattr("trimtab.cli.steer._answers", lambda url: url.endswith("/healthz"))
    hook = service(world)
    hook.start()
    try:
        told = run(rollback)
    finally:
        hook.stop()
    assert "no hook answers" not in told
    assert world.state().champion == first


def test_a_rollback_that_the_server_does_not_follow_times_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = world.champion(1), world.champion(2)
    monkeypatch.setattr("trimtab.cli.steer._answers", lambda url: url.endswith("/live"))
    with pytest.raises(RolloutTimeout) as caught:
        run(rollback, "--timeout", "0.5")
    assert caught.value.exit_code == 4
    assert "restart it" in str(caught.value)
    assert world.state().champion == first


def test_there_is_nothing_to_return_to(world: World) -> None:
    first = world.champion(1)
    with pytest.raises(RolloutRefused, match="no version to return to"):
        run(rollback)
    assert world.state().champion == first
    assert not controls(world.store, MODEL).paused


def test_two_rollbacks_at_once_take_back_one_version(world: World) -> None:
    versions = [world.champion(i) for i in (1, 2, 3)]
    gone = versions[-1]
    for _ in range(2):
        rollouts.request(world.store, MODEL, gone, kind="rollback", who="ann", why="")
    threads = [threading.Thread(target=service(world).round) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert world.state().champion == versions[1]


def test_promote_brings_back_what_was_taken_back(world: World) -> None:
    _, second = world.champion(1), world.champion(2)
    run(rollback)
    assert f"{second} is the champion" in run(promote, second)
    assert world.state().champion == second
    assert "serves already" in run(promote, second)


@pytest.mark.parametrize("version", ["v9-0a1b2c3d", "newest", "../.."])
def test_a_version_that_is_not_published_is_the_users_mistake(world: World, version: str) -> None:
    first = world.champion()
    mistakes: list[Callable[[], str]] = [lambda: run(promote, version), lambda: run(rollback, "--to", version)]
    for mistake in mistakes:
        with pytest.raises(ProjectError, match=f"expected {first}") as refused:
            mistake()
        assert refused.value.exit_code == 2
    assert not rollouts.requests(world.store, MODEL)


def test_pause_resume_approve(world: World) -> None:
    world.project["campaign"] = {"approval": True}
    drift(world)
    run(pause, "--why", "holidays")
    assert "paused" in run(status)
    hook = service(world)
    assert hook.answer(MODEL, "").reason == "paused: holidays"
    run(resume)
    with pytest.raises(ProjectError, match="no campaign is open"):
        run(approve)
    hook.answer(MODEL, "")
    hook.round()
    assert "trimtab approve" in run(status)
    assert "campaign 1 of toy is approved" in run(approve)
    with pytest.raises(ProjectError, match=r"campaign 1 waits for no approval: .* got labelled rows"):
        run(approve)
    hook.round()
    assert len(all_campaigns(world.store, MODEL)[0].retrains) == 1


def test_a_campaign_that_waits_for_nobody_is_not_approved(world: World) -> None:
    drift(world)
    service(world).answer(MODEL, "")
    with pytest.raises(ProjectError, match="waits for no approval") as refused:
        run(approve)
    assert refused.value.exit_code == 2
    assert not controls(world.store, MODEL).approved


@pytest.mark.parametrize("command", [history, rollback, pause, resume, approve])
def test_which_model_is_asked_for(world: World, command: Any) -> None:
    with pytest.raises(ProjectError, match="model"):
        run(command)
    with pytest.raises(ProjectError):
        run(command, "nobody")
