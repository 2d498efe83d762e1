"""Retrains on Kubeflow: one pipeline version, found again by key, patience with an API that is away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.servers.kubeflow import Fault, StandIn

from trimtab.core import runs
from trimtab.core.errors import RunError
from trimtab.core.launch import LauncherAway, RetrainRequest
from trimtab.core.project import Project
from trimtab.core.store import Store
from trimtab.pipelines.kubeflow_cluster import Cluster
from trimtab.pipelines.kubeflow_launcher import KubeflowLauncher
from trimtab.pipelines.kubeflow_submit import submit

from .conftest import until
from .kubeflow_world import FAST, IMAGE, Stages, client, compile_once, wrong_column


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_once(monkeypatch)


@pytest.fixture
def world(store: Store) -> Iterator[StandIn]:
    with StandIn(Stages(store), pending_reads=1) as standin:
        yield standin


@pytest.fixture
def base(world: StandIn, store: Store, quick: Project) -> str:
    found = submit(client(world), store, quick, image=IMAGE)
    world.backend.wait(found.run_id)
    until(lambda: runs.newest(store, found.key))
    return found.key


def launcher(world: StandIn, store: Store) -> KubeflowLauncher:
    return KubeflowLauncher(client(world), store, cancel_seconds=5)


def retrain(base: str, k: int = 1, **changed: Any) -> RetrainRequest:
    fields: dict[str, Any] = {"model": "quick", "base_key": base, "data": "sklearn:iris", "campaign": 1, "retrain": k}
    return RetrainRequest(**{**fields, "seed": 1000 + k, "candidates": ("linear",), **changed})


def watching(world: StandIn, store: Store) -> KubeflowLauncher:
    from kubernetes import client as k8s

    configuration = k8s.Configuration()
    configuration.host = world.url
    cluster = Cluster("kubeflow", k8s.ApiClient(configuration))
    return KubeflowLauncher(client(world), store, cancel_seconds=5, cluster=cluster, pace=FAST)


def stages(world: StandIn) -> Stages:
    assert isinstance(world.backend.executor, Stages)
    return world.backend.executor


def ended(world: StandIn, store: Store, key: str) -> str:
    one = launcher(world, store)
    return until(lambda: "" if (s := one.state(key)) == "running" else str(s), 60)


def test_retrains_are_runs_of_the_champion_s_own_version(world: StandIn, store: Store, base: str) -> None:
    one = launcher(world, store)
    first, second = one.start(retrain(base)), one.start(retrain(base, 2))
    assert first != second
    assert [ended(world, store, k) for k in (first, second)] == ["succeeded", "succeeded"]
    # Again and from another process: the same runs.
    assert [launcher(world, store).start(retrain(base, k)) for k in (1, 2)] == [first, second]
    assert len(world.backend.versions) == 1
    assert len(world.backend.runs) == 3
    items = {r.item["display_name"]: r.item for r in world.backend.runs.values()}
    assert len({i["pipeline_version_reference"]["pipeline_version_id"] for i in items.values()}) == 1
    assert items[first]["runtime_config"]["parameters"]["release"] == "hold"
    asked, champion = runs.read_request(store, first), runs.read_request(store, base)
    assert (asked.project, asked.code_version, asked.image) == (
        champion.project, champion.code_version, champion.image,
    )  # fmt: skip
    assert (asked.seed, asked.campaign, asked.retrain, asked.base_key) == (1001, 1, 1, base)


def test_the_version_is_made_anew_where_the_backend_lost_it(world: StandIn, store: Store, base: str) -> None:
    world.backend.versions.clear()
    key = launcher(world, store).start(retrain(base))
    assert ended(world, store, key) == "succeeded"
    assert len(world.backend.versions) == 1


def test_a_restarted_launcher_finds_a_run_at_work_and_cancels_it(world: StandIn, store: Store, base: str) -> None:
    stages(world).hold = {"train"}
    key = launcher(world, store).start(retrain(base))
    stages(world).reached.wait(60)
    another = launcher(world, store)
    assert another.start(retrain(base)) == key
    assert another.state(key) == "running"
    another.cancel(key)
    assert another.state(key) == "cancelled"
    another.cancel(key)
    assert another.start(retrain(base)) == key
    assert len(world.backend.runs) == 2, "what was cancelled is not started again"


def test_an_api_that_is_away_is_no_failure(world: StandIn, store: Store, base: str) -> None:
    world.faults.add(Fault(".*", "answer", 500, times=-1))
    one = launcher(world, store)
    with pytest.raises(LauncherAway):
        one.start(retrain(base))
    world.faults.clear()
    stages(world).hold = {"train"}
    key = one.start(retrain(base))
    world.faults.add(Fault(".*", "reset", times=-1))
    assert one.state(key) == "running"
    with pytest.raises(LauncherAway):
        one.cancel(key)
    world.faults.clear()
    stages(world).release.set()
    assert ended(world, store, key) == "succeeded"
    assert len(world.backend.runs) == 2


def test_what_a_stage_refused_is_not_run_again_and_what_died_is(world: StandIn, store: Store, base: str) -> None:
    stages(world).silent = {"train": "Killed"}
    one = launcher(world, store)
    key = one.start(retrain(base))
    assert ended(world, store, key) == "failed"
    stages(world).silent = {}
    assert one.start(retrain(base)) == key
    assert ended(world, store, key) == "succeeded"
    assert len(runs.attempts(store, key)) == 2
    stages(world).fail = {"ingest": wrong_column()}
    other = one.start(retrain(base, 2))
    assert ended(world, store, other) == "failed"
    count = len(world.backend.runs)
    assert one.start(retrain(base, 2)) == other
    assert len(world.backend.runs) == count


def test_a_run_that_was_deleted_there_has_failed(world: StandIn, store: Store, base: str) -> None:
    stages(world).hold = {"train"}
    one = launcher(world, store)
    key = one.start(retrain(base))
    stages(world).reached.wait(60)
    run_id = next(i for i, r in world.backend.runs.items() if r.item["display_name"] == key)
    world.backend.delete_run(run_id)
    assert one.state(key) == "failed"


def test_a_champion_without_a_request_cannot_be_retrained(world: StandIn, store: Store) -> None:
    with pytest.raises(RunError, match="left no request"):
        launcher(world, store).start(retrain("0" * 16))


def test_seed_and_candidates_reach_the_stages_by_the_plan(world: StandIn, store: Store, base: str) -> None:
    from trimtab.core.run_plan import as_parameter

    key = launcher(world, store).start(retrain(base))
    assert json.loads(as_parameter(store, key, None, None)) == {"seed": 1001, "candidates": ["linear"]}
    assert as_parameter(store, base, None, None) == ""


@pytest.mark.parametrize("held", ["define", "train"])
def test_a_run_whose_image_cannot_be_pulled_fails_soon_with_its_reason(
    world: StandIn, store: Store, base: str, held: str
) -> None:
    stages(world).hold = {held}
    stages(world).reached.clear()
    one = watching(world, store)
    key = one.start(retrain(base))
    (run,) = client(world).runs(name=key)
    assert stages(world).reached.wait(30)
    assert one.state(key) == "running"
    world.cluster.add_pod("quick-1", run.id, waiting=("ImagePullBackOff", "Back-off pulling image x"))
    assert until(lambda: "" if (s := one.state(key)) == "running" else str(s), 30) == "failed"
    assert world.backend.wait(run.id)["state"] == "FAILED"
    last = runs.newest(store, key)
    assert last is not None
    assert last.error is not None
    assert "image cannot be pulled" in last.error["message"]
    assert last.error["stuck"]
    assert watching(world, store).state(key) == "failed"


def test_who_may_not_read_pods_goes_on_waiting(world: StandIn, store: Store, base: str) -> None:
    world.cluster.allowed = False
    stages(world).hold = {"train"}
    one = watching(world, store)
    key = one.start(retrain(base))
    (run,) = client(world).runs(name=key)
    world.cluster.add_pod("quick-1", run.id, waiting=("ImagePullBackOff", "Back-off pulling image x"))
    assert one.state(key) == "running"
    stages(world).release.set()
    assert until(lambda: "" if (s := one.state(key)) == "running" else str(s), 60) == "succeeded"
