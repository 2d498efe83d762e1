"""Submitting to Kubeflow: one run works per key, whatever is lost, raced or repeated on the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.servers.kubeflow import Fault, StandIn

from trimtab.core import runs
from trimtab.core.errors import DataError, ProjectError, RunCancelled, RunError, RunRefused, RunTimeout
from trimtab.core.project import Project, parse_project
from trimtab.core.settings import load
from trimtab.core.store import Store
from trimtab.pipelines import kubeflow_submit
from trimtab.pipelines.kubeflow_cluster import Cluster
from trimtab.pipelines.kubeflow_follow import Follower, cancel
from trimtab.pipelines.kubeflow_http import KubeflowError
from trimtab.pipelines.kubeflow_submit import Submitted, submit

from .conftest import QUICK, until
from .kubeflow_world import FAST, IMAGE, Stages, client, compile_once, wrong_column


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_once(monkeypatch)


@pytest.fixture
def world(store: Store) -> Iterator[StandIn]:
    with StandIn(Stages(store), pending_reads=1) as standin:
        yield standin


def submitted(world: StandIn, store: Store, project: Project, **options: Any) -> Submitted:
    return submit(client(world), store, project, image=IMAGE, **options)


def follow(
    world: StandIn, store: Store, found: Submitted, timeout: float | None = 60, **options: Any
) -> dict[str, Any]:
    follower = Follower(client(world), store, load(), found.key, pace=FAST, **options)
    return follower.follow(found.run_id, timeout)


def stages(world: StandIn) -> Stages:
    assert isinstance(world.backend.executor, Stages)
    return world.backend.executor


def test_a_run_is_started_once_followed_and_told(world: StandIn, store: Store, quick: Project) -> None:
    told: list[str] = []
    found = submitted(world, store, quick, reason="first")
    assert found.found == "new"
    done = follow(world, store, found, progress=lambda p: told.append(f"{p.step.name} {p.state}"))
    assert (done["version"], done["winner"], done["state"]) == ("v1-0badc0de", "linear", "succeeded")
    assert next(t for t in told if t.endswith("done")) == "define done"
    assert {"train.linear done", "deploy done"} <= set(told)
    run = world.backend.runs[found.run_id].item
    assert run["display_name"] == found.key
    assert set(run["runtime_config"]["parameters"]) == {"data", "key", "reason", "release"}
    assert run["description"] == "first"
    assert submitted(world, store, quick) == Submitted(found.key, "", "", found.version, "done")
    assert len(world.backend.runs) == 1


def test_asked_twice_it_is_one_run_and_again_is_another(world: StandIn, store: Store, quick: Project) -> None:
    stages(world).hold = {"train"}
    first = submitted(world, store, quick)
    second = submitted(world, store, quick)
    assert (second.found, second.run_id, second.key) == ("running", first.run_id, first.key)
    stages(world).release.set()
    follow(world, store, first)
    again = submitted(world, store, quick, again=True)
    assert (again.found, again.version) == ("new", first.version)
    assert again.key != first.key
    assert len(world.backend.versions) == 1


def test_again_does_the_work_again_also_where_the_backend_has_it_in_its_cache(
    world: StandIn, store: Store, quick: Project
) -> None:
    first = submitted(world, store, quick, again=True)
    follow(world, store, first)
    assert "pipeline_version_reference" in world.backend.runs[first.run_id].item, "nothing had succeeded before"
    again = submitted(world, store, quick, again=True)
    run = world.backend.runs[again.run_id].item
    assert "pipeline_version_reference" not in run
    ((kept, platform),) = world.backend.packages.values()
    sent = run["pipeline_spec"]
    assert sent["platform_spec"] == platform
    assert (_cached(kept), _cached(sent["pipeline_spec"])) == ({True, False}, {False})
    for tasks in _dags(kept) + _dags(sent["pipeline_spec"]):
        for task in tasks.values():
            task.pop("cachingOptions", None)
    assert sent["pipeline_spec"] == kept, "nothing else differs"
    assert follow(world, store, again)["version"]
    assert len(world.backend.versions) == 1


def _dags(ir: dict[str, Any]) -> list[dict[str, Any]]:
    return [c["dag"]["tasks"] for c in (ir["root"], *ir["components"].values()) if "dag" in c]


def _cached(ir: dict[str, Any]) -> set[bool]:
    return {bool(t.get("cachingOptions", {}).get("enableCache")) for tasks in _dags(ir) for t in tasks.values()}


def test_a_lost_answer_starts_no_second_run(world: StandIn, store: Store, quick: Project) -> None:
    world.faults.add(Fault("POST .*/runs", "lost"))
    found = submitted(world, store, quick)
    assert len(world.backend.runs) == 1
    assert follow(world, store, found)["version"]


def test_two_who_race_start_two_runs_and_one_works(world: StandIn, store: Store, quick: Project) -> None:
    # Both looked before either had started: the backend then holds two runs of one key.
    gate = threading.Barrier(2)
    found: list[Submitted] = []
    real = kubeflow_submit.at_work

    def looked(*given: Any) -> Any:
        seen = real(*given)
        gate.wait(60)
        return seen

    stages(world).hold = {"train"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kubeflow_submit, "at_work", looked)
        threads = [threading.Thread(target=lambda: found.append(submitted(world, store, quick))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(90)
    assert len(world.backend.runs) == 2
    assert found[0].key == found[1].key
    until(lambda: stages(world).claimed and stages(world).reached.is_set())
    (owner,) = stages(world).claimed
    loser = next(f for f in found if f.run_id != owner)
    world.backend.wait(loser.run_id)
    told: list[str] = []
    threading.Timer(0.3, stages(world).release.set).start()
    assert follow(world, store, loser, told=told.append)["version"] == "v1-0badc0de"
    assert any(owner in line for line in told)
    assert len(stages(world).claimed) == 1


def test_what_failed_is_run_again_as_the_next_attempt(world: StandIn, store: Store, quick: Project) -> None:
    stages(world).silent = {"train": "Killed\n"}
    first = submitted(world, store, quick)
    with pytest.raises(RunError, match="Killed"):
        follow(world, store, first)
    stages(world).silent = {}
    second = submitted(world, store, quick)
    assert (second.key, second.found) == (first.key, "new")
    assert follow(world, store, second)["attempt"] == 2


def test_an_end_that_nobody_followed_is_put_down_before_the_next(world: StandIn, store: Store, quick: Project) -> None:
    stages(world).silent = {"train": "Killed\n"}
    first = submitted(world, store, quick)
    world.backend.wait(first.run_id)
    assert not runs.attempts(store, first.key)[0].ended
    stages(world).silent = {}
    second = submitted(world, store, quick)
    assert runs.attempts(store, first.key)[0].state == "failed"
    assert follow(world, store, second)["attempt"] == 2


def test_a_stage_s_own_error_is_the_run_s(world: StandIn, store: Store, quick: Project) -> None:
    stages(world).fail = {"ingest": wrong_column()}
    found = submitted(world, store, quick)
    with pytest.raises(DataError, match=r"stage ingest.*column 'age' holds text") as raised:
        follow(world, store, found)
    assert raised.value.exit_code == 2
    attempt = runs.attempts(store, found.key)[0]
    assert attempt.state == "failed"
    assert attempt.error is not None
    assert attempt.error["kind"] == "DataError"


def test_a_start_that_fails_before_its_claim_says_why(world: StandIn, store: Store, quick: Project) -> None:
    stages(world).silent = {"define": "Traceback (most recent call last):\nKeyError: 'AWS_ACCESS_KEY_ID'\n"}
    found = submitted(world, store, quick)
    with pytest.raises(RunError, match="AWS_ACCESS_KEY_ID"):
        follow(world, store, found)
    assert runs.attempts(store, found.key) == []


def test_nobody_knows_why_and_it_is_said_so(world: StandIn, store: Store, quick: Project) -> None:
    stages(world).silent = {"prepare": ""}
    found = submitted(world, store, quick)
    with pytest.raises(RunError, match=r"stage prepare failed.*gives no reason"):
        follow(world, store, found)


def test_a_cancelled_run_ends_in_failed_and_is_cancelled(world: StandIn, store: Store, quick: Project) -> None:
    stages(world).hold = {"train"}
    world.backend.cancel_seconds = 0.05
    found = submitted(world, store, quick)
    stages(world).reached.wait(60)
    assert cancel(client(world), store, found.key, found.run_id, "ann", poll=0.02) == "cancelled"
    assert world.backend.runs[found.run_id].item["state"] == "FAILED"
    with pytest.raises(RunCancelled):
        follow(world, store, found)
    assert runs.attempts(store, found.key)[0].state == "cancelled"
    assert cancel(client(world), store, found.key, found.run_id) == "cancelled"


def test_the_time_is_up_and_the_run_goes_on(world: StandIn, store: Store, quick: Project) -> None:
    stages(world).hold = {"train"}
    found = submitted(world, store, quick)
    with pytest.raises(RunTimeout, match="goes on"):
        follow(world, store, found, timeout=0.3)
    assert not world.backend.runs[found.run_id].cancelled.is_set()


def test_a_run_beyond_its_own_limit_is_ended(world: StandIn, store: Store, quick: Project) -> None:
    import dataclasses

    stages(world).hold = {"train"}
    found = submitted(world, store, quick)
    stages(world).reached.wait(60)
    pace = dataclasses.replace(FAST, grace_seconds=0.0)
    follower = Follower(client(world), store, load(), found.key, pace=pace, run_seconds=0.2)
    with pytest.raises(RunTimeout, match="was ended"):
        follower.follow(found.run_id, 20)
    assert world.backend.wait(found.run_id)["state"] == "FAILED"


def test_an_api_that_is_away_for_a_while_says_nothing_of_the_run(world: StandIn, store: Store, quick: Project) -> None:
    stages(world).hold = {"train"}
    found = submitted(world, store, quick)
    world.faults.add(Fault("GET .*/runs/.*", "answer", 500, times=7), Fault("GET .*/runs/.*", "reset", times=7))
    told: list[str] = []
    threading.Timer(0.4, stages(world).release.set).start()
    assert follow(world, store, found, told=told.append)["version"]
    assert sum("asked again" in line for line in told) == 1


TROUBLES: list[tuple[dict[str, Any], str]] = [
    ({"waiting": ("ImagePullBackOff", "Back-off pulling image x")}, "image cannot be pulled.*imagePullSecrets"),
    ({"unschedulable": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."}, "no node takes it.*resources"),
    ({"waiting": ("CreateContainerConfigError", 'secret "trimtab-s3" not found')}, "trimtab-s3.*secret"),
]


@pytest.mark.parametrize(("pod", "words"), TROUBLES)
def test_what_only_pods_know_is_told_while_the_run_is_running(
    world: StandIn, store: Store, quick: Project, pod: dict[str, Any], words: str
) -> None:
    stages(world).hold = {"define"}
    found = submitted(world, store, quick)
    world.cluster.add_pod("quick-1", found.run_id, **pod)
    with pytest.raises(RunError, match=words):
        follow(world, store, found, cluster=cluster(world))
    assert world.backend.wait(found.run_id)["state"] == "FAILED"


def test_a_missing_service_account_is_told_from_the_workflow(world: StandIn, store: Store, quick: Project) -> None:
    stages(world).hold = {"define"}
    found = submitted(world, store, quick)
    message = 'pods "x" is forbidden: error looking up service account kubeflow/nosuch: not found'
    world.cluster.add_workflow(found.run_id, nodes={"root-driver": message})
    with pytest.raises(RunError, match=r"nosuch.*service account"):
        follow(world, store, found, cluster=cluster(world))


def test_a_node_on_its_way_is_waited_for(world: StandIn, store: Store, quick: Project) -> None:
    stages(world).hold = {"define"}
    found = submitted(world, store, quick)
    world.cluster.add_pod("quick-1", found.run_id, unschedulable="0/3 nodes are available")
    world.cluster.add_event("quick-1", "TriggeredScaleUp", "pod triggered scale-up")
    threading.Timer(0.5, stages(world).release.set).start()
    told: list[str] = []
    assert follow(world, store, found, cluster=cluster(world), told=told.append)["version"]
    assert any("no node takes it" in line for line in told)


def test_who_may_not_read_pods_is_told_nothing_of_them(world: StandIn, store: Store, quick: Project) -> None:
    world.cluster.allowed = False
    found = submitted(world, store, quick)
    world.cluster.add_pod("quick-1", found.run_id, unschedulable="no")
    assert follow(world, store, found, cluster=cluster(world))["version"]


def cluster(world: StandIn) -> Cluster:
    from kubernetes import client as k8s

    configuration = k8s.Configuration()
    configuration.host = world.url
    return Cluster("kubeflow", k8s.ApiClient(configuration))


def test_a_local_table_becomes_a_dataset_of_the_store(world: StandIn, store: Store, tmp_path: Path) -> None:
    from sklearn.datasets import load_iris

    data = load_iris()
    lines = [",".join([*(f"{v:g}" for v in row), f"class{n}"]) for row, n in zip(data.data, data.target, strict=True)]
    head = "sepal_length,sepal_width,petal_length,petal_width,species"
    (tmp_path / "iris.csv").write_text("\n".join([head, *lines]) + "\n")
    project = parse_project(QUICK.replace("{sklearn: iris}", "iris.csv"), "project.yaml", tmp_path)
    found = submitted(world, store, project)
    given = world.backend.runs[found.run_id].item["runtime_config"]["parameters"]["data"]
    assert '"dataset":"quick/' in given
    assert "iris.csv" not in given
    follow(world, store, found)
    assert submitted(world, store, project).found == "done", "the same rows are the same run"
    (tmp_path / "iris.csv").write_text("sepal_length,species\nx,y\n")
    with pytest.raises(DataError):
        submitted(world, store, project)


def test_without_an_image_it_is_refused_with_the_way_to_one(world: StandIn, store: Store, quick: Project) -> None:
    with pytest.raises(RunRefused, match="make images REGISTRY=") as raised:
        submit(client(world), store, quick, image="")
    assert raised.value.exit_code == 2
    with pytest.raises(ProjectError, match="pinned"):
        submit(client(world), store, quick, image="stages:latest")
    assert world.requests == []


def test_a_refusing_api_leaves_no_run(store: Store, quick: Project) -> None:
    with StandIn(Stages(store), forbid="POST .*/runs") as world:
        with pytest.raises(KubeflowError, match="403") as raised:
            submitted(world, store, quick)
        assert raised.value.exit_code == 2
        assert world.backend.runs == {}
