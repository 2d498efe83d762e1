"""Schedules on Kubeflow: what is no time is refused here; one schedule a name, replaced and never lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.servers.kubeflow import Fault, StandIn

from trimtab.core import runs
from trimtab.core.errors import ProjectError
from trimtab.core.project import Project
from trimtab.core.store import Store
from trimtab.pipelines.kubeflow_http import KubeflowRefused
from trimtab.pipelines.kubeflow_schedule import cron_of, schedule
from trimtab.pipelines.kubeflow_submit import submit

from .kubeflow_world import IMAGE, Stages, client, compile_once
from .test_kubeflow_api import PACKAGE


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_once(monkeypatch)


@pytest.fixture
def world(store: Store) -> Iterator[StandIn]:
    with StandIn(Stages(store)) as standin:
        yield standin


@pytest.mark.parametrize(
    "text",
    [
        "0 0 2 * * *", "30 */5 * ? * ?", "0 0 0 1,15 * *", "59 59 23 31 12 6", "0 10/20 8-17/3 * JAN-Mar,12 mon-FRI",
        "0 0 0 29 2 *", "0 0 0 31 2 MON", "0 0 0 31 1,2 *", "0/60 0 0 * * *",
    ],
)  # fmt: skip
def test_times_that_the_scheduler_reads_are_taken(text: str) -> None:
    assert cron_of(f" {text}  ") == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 2 * * *", "six fields.*got 5.*--cron '0 0 2 . . .'"),  # crontab's, which the backend would take otherwise
        ("@daily", "six fields"),
        ("", "six fields"),
        ("0 0 2 * * * 2027", "six fields.*got 7"),
        ("* */5 * * * *", "at most a run a minute"),
        ("*/10 0 * * * *", "at most a run a minute"),
        ("0 60 * * * *", "minute.*0-59.*'60'"),
        ("0 0 24 * * *", "hour.*0-23.*'24'"),
        ("0 0 0 0 * *", "day of month.*1-31.*'0'"),
        ("0 0 0 * 13 *", "month.*1-12, jan-dec.*'13'"),
        ("0 0 0 * * 7", "day of week.*0-6, sun-sat.*'7'"),
        ("0 0 0 * mon *", "month.*'mon'"),
        ("0 0 0 L * *", "day of month.*'L'"),
        ("0 0 17-8 * * *", "hour.*'17-8'"),
        ("0 */0 * * * *", "minute.*'.*/0'"),
        ("0 50-70/30 * * * *", "minute.*'50-70/30'"),
        ("0 1,,2 * * * *", "minute.*''"),
        ("0 -5 * * * *", "minute.*'-5'"),
        ("0 *-5 * * * *", "minute"),
        ("0 ٥ * * * *", "minute"),
        ("0 0 0 30 2 *", "a date that some year has.*30 2"),
        ("0 0 0 31 apr,jun ?", "a date that some year has"),
    ],
)
def test_other_times_are_refused_with_the_field(text: str, words: str) -> None:
    with pytest.raises(ProjectError, match=words) as raised:
        cron_of(text)
    assert raised.value.exit_code == 2


def test_a_schedule_starts_runs_with_keys_of_their_own(world: StandIn, store: Store, quick: Project) -> None:
    kubeflow = client(world)
    first = schedule(kubeflow, store, quick, image=IMAGE, every_seconds=3600)
    assert schedule(kubeflow, store, quick, image=IMAGE, every_seconds=3600) == first
    other = schedule(kubeflow, store, quick, image=IMAGE, cron="0  0 2 * * *")
    assert other.when == "cron 0 0 2 * * *"
    assert [r.id for r in kubeflow.recurring("quick")] == [other.id]
    assert other.version_id == first.version_id
    started = [world.backend.tick(other.id)["run_id"] for _ in range(2)]
    for run_id in started:
        assert world.backend.wait(run_id)["state"] == "SUCCEEDED"
    assert len({runs.by_id(store, run_id)[0] for run_id in started}) == 2


@pytest.mark.parametrize(
    "other", [{"release": "hold"}, {"reason": "for the audit"}, {"data": "sklearn:wine"}, {"service_account": "ann"}]
)
def test_a_schedule_that_would_do_something_else_replaces_the_first(
    world: StandIn, store: Store, quick: Project, other: dict[str, Any]
) -> None:
    kubeflow = client(world)
    first = schedule(kubeflow, store, quick, image=IMAGE, every_seconds=3600)
    second = schedule(kubeflow, store, quick, image=IMAGE, every_seconds=3600, **other)
    assert second.id != first.id
    assert [r.id for r in kubeflow.recurring()] == [second.id]


def test_one_that_is_refused_leaves_the_first_and_another_pipeline_s_is_left_alone(
    world: StandIn, store: Store, quick: Project
) -> None:
    kubeflow = client(world)
    ids = kubeflow.ensure_version("tiny", "tiny-1", PACKAGE)
    theirs = kubeflow.create_recurring("quick", kubeflow.ensure_experiment("e"), *ids, {}, every_seconds=60)
    first = schedule(kubeflow, store, quick, image=IMAGE, every_seconds=3600)
    world.faults.add(Fault("POST .*/recurringruns", "answer", 400))
    with pytest.raises(KubeflowRefused):
        schedule(kubeflow, store, quick, image=IMAGE, every_seconds=7200)
    assert {r.id for r in kubeflow.recurring("quick")} == {theirs.id, first.id}
    second = schedule(kubeflow, store, quick, image=IMAGE, every_seconds=7200)
    assert {r.id for r in kubeflow.recurring("quick")} == {theirs.id, second.id}


def test_what_no_task_can_be_handed_is_refused_before_anything_is_uploaded(
    world: StandIn, store: Store, quick: Project
) -> None:
    many = [{"dataset": f"quick/{n:064x}"} for n in range(2000)]
    with pytest.raises(ProjectError, match="parameter data is too large"):
        schedule(client(world), store, quick, image=IMAGE, every_seconds=3600, data=many)
    for ask in (submit, schedule):
        with pytest.raises(ProjectError, match="parameter reason is too large"):
            ask(client(world), store, quick, image=IMAGE, reason="why " * 20_000)
    assert {line.split("?")[0] for line in world.requests} <= {"GET /apis/v2beta1/healthz"}
    assert runs.list_runs(store) == []
