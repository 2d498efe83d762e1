"""Local runs: killed and gone on with, interrupted, refused, found again, the same digests elsewhere."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from trimtab.core import runs, settings
from trimtab.core.errors import DataError, DuplicateRun, ProjectError, RunError
from trimtab.core.launch import RetrainRequest
from trimtab.core.project import Project, parse_project
from trimtab.core.store import Store, open_store
from trimtab.pipelines import children
from trimtab.pipelines.launcher import LocalLauncher
from trimtab.pipelines.local import Progress, make_request, run_local
from trimtab.pipelines.work import run_folder, work_folder

from .conftest import QUICK, processes_of, trimtab, until

ALL = {
    *("define", "ingest", "validate", "prepare", "baseline", "train.linear", "evaluate.linear"),
    *("select", "export", "publish", "deploy"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Path]:
    """A store, and the user's folder, that this module's tests share."""
    folder = tmp_path_factory.mktemp("place")
    return open_store((folder / "store").as_uri()), folder


@pytest.fixture
def here(place: tuple[Store, Path], monkeypatch: pytest.MonkeyPatch) -> Store:
    """The shared store, with the user's folder beside it."""
    store, folder = place
    monkeypatch.setenv("TRIMTAB_HOME", str(folder / "home"))
    return store


def owner(store: Store, key: str) -> runs.Attempt:
    """Who runs the newest attempt, as soon as somebody does."""
    return until(lambda: runs.newest(store, key))  # type: ignore[return-value]


def records(store: Store, key: str, name: str) -> list[str]:
    return [k for k in store.list(f"runs/{key}/attempts/") if k.endswith(name)]


@pytest.fixture(scope="module")
def killed_and_gone_on(place: tuple[Store, Path]) -> tuple[str, dict[str, Any]]:
    """The key of a run whose first attempt was killed behind prepare; the second, by the command, goes to the end."""
    store, folder = place
    file = folder / "project.yaml"
    file.write_text(QUICK)
    key = runs.open_run(store, make_request(parse_project(QUICK, "quick.yaml"), store))
    first = children.start(store, key, work_folder(store.url, settings.load()), attached=False)
    until(lambda: records(store, key, "/prepare/00000001/result.json"))
    until(lambda: list((folder / "work" / "cache").glob("*.json"))[2:])
    os.kill(int(first.name.split("-")[2]), signal.SIGKILL)
    until(lambda: not first.running)
    command = trimtab(["run", str(file), "--json", "--reason", "a test"], store.url, folder / "home")
    out, err = command.communicate(timeout=120)
    assert command.returncode == 0, err
    return key, json.loads(out)


def test_a_killed_run_goes_on_where_it_stopped(here: Store, killed_and_gone_on: tuple[str, dict[str, Any]]) -> None:
    key, facts = killed_and_gone_on
    assert facts["key"] == key
    assert facts["cached"] == ["ingest", "prepare", "validate"]
    assert facts["version"].startswith("v1-")
    assert [a.state for a in runs.attempts(here, key)] == ["", "succeeded"]
    results = runs.stage_results(here, key)
    assert set(results) == ALL
    assert results["prepare"]["cached"]["source"] == f"runs/{key}/attempts/00000001/prepare/00000001"
    assert results["prepare"]["cached"]["why"]
    assert not processes_of(str(run_folder(work_folder(here.url, settings.load()), key)))


def test_the_first_version_is_promoted_where_no_hook_answers(
    here: Store, killed_and_gone_on: tuple[str, dict[str, Any]]
) -> None:
    from trimtab.core import ledger

    _, facts = killed_and_gone_on
    assert ledger.state(here, "quick").champion == facts["version"]
    assert any("promoted" in line for line in facts["rollout"])


def test_the_same_again_does_nothing(
    here: Store, quick: Project, killed_and_gone_on: tuple[str, dict[str, Any]]
) -> None:
    key, facts = killed_and_gone_on
    told: list[Progress] = []
    outcome = run_local(quick, here.url, progress=told.append)
    assert (outcome.key, outcome.version, outcome.repeated) == (key, facts["version"], True)
    assert told == []


def test_a_retrain_is_found_again_resumed_and_has_the_same_digests(
    here: Store, place: tuple[Store, Path], killed_and_gone_on: tuple[str, dict[str, Any]]
) -> None:
    """The same rows, computed once more: every artifact has the same digest, and so the version is the same one."""
    key, facts = killed_and_gone_on
    asked = RetrainRequest(
        model="quick", base_key=key, data={"sklearn": "iris"}, campaign=1, retrain=1, seed=0, candidates=("linear",)
    )
    work = place[1] / "elsewhere"  # another cache
    launcher = LocalLauncher(here, settings.load(), work)
    retrain = launcher.start(asked)
    assert retrain != key
    again = LocalLauncher(here, settings.load(), work)  # as after a restart of the hook
    assert again.start(asked) == retrain
    assert again.state(retrain) == "running"
    first = owner(here, retrain)
    until(lambda: records(here, retrain, "ingest/00000001/started.json"))
    os.kill(int(first.run_id.split("-")[2]), signal.SIGKILL)
    until(lambda: launcher.state(retrain) == "failed")
    assert again.start(asked) == retrain, "one that was killed is taken up again"
    until(lambda: again.state(retrain) != "running", 120)
    assert again.state(retrain) == "succeeded"
    assert launcher.start(asked) == retrain
    assert len(runs.attempts(here, retrain)) == 2
    assert runs.read_request(here, retrain).release == "hold"
    assert (runs.result(here, retrain) or {})["version"] == facts["version"]
    mine, base = runs.stage_results(here, retrain), runs.stage_results(here, key)
    assert {n: r["artifacts"] for n, r in mine.items()} == {n: r["artifacts"] for n, r in base.items()}


def test_a_cancelled_retrain_is_left_alone(here: Store, killed_and_gone_on: tuple[str, dict[str, Any]]) -> None:
    key, _ = killed_and_gone_on
    asked = RetrainRequest(
        model="quick", base_key=key, data={"sklearn": "iris", "rows": [0, 140]}, campaign=2, retrain=1, seed=0
    )
    launcher = LocalLauncher(here, settings.load())
    retrain = launcher.start(asked)
    owner(here, retrain)
    launcher.cancel(retrain)
    assert launcher.state(retrain) == "cancelled"
    assert launcher.start(asked) == retrain
    assert launcher.state(retrain) == "cancelled"
    launcher.cancel(retrain)


def test_a_retrain_of_a_run_that_left_nothing(here: Store) -> None:
    with pytest.raises(RunError, match="left no request"):
        LocalLauncher(here, settings.load()).start(RetrainRequest("quick", "0" * 16, {"sklearn": "iris"}, 1, 1, 0))


@pytest.mark.campaign
def test_ctrl_c_leaves_no_process(tmp_path: Path, project_file: Path) -> None:
    store = open_store((tmp_path / "store").as_uri())
    command = trimtab(["run", str(project_file)], store.url, tmp_path / "home")
    until(lambda: any(k.endswith("ingest/00000001/started.json") for k in store.list("runs/")))
    os.killpg(command.pid, signal.SIGINT)
    command.communicate(timeout=30)
    assert command.returncode == 130
    assert not processes_of(str(tmp_path))
    (key,) = runs.list_runs(store)
    assert owner(store, key).state == "cancelled"


def test_a_killed_command_takes_its_run_along(tmp_path: Path, project_file: Path) -> None:
    store = open_store((tmp_path / "store").as_uri())
    command = trimtab(["run", str(project_file)], store.url, tmp_path / "home")
    until(lambda: any(k.endswith("define/00000001/started.json") for k in store.list("runs/")))
    command.kill()
    command.communicate(timeout=30)
    until(lambda: not processes_of(str(tmp_path)), 20)


def test_a_stage_s_error_is_the_command_s(tmp_path: Path) -> None:
    file = tmp_path / "project.yaml"
    (tmp_path / "rows.csv").write_text("sepal_length,species\n" + "1.0,\n" * 40)
    file.write_text(
        "name: bad\ntask: {kind: classification, target: species}\ndata: rows.csv\n"
        "fields: {sepal_length: {kind: number}}\ncandidates: [linear]\n"
    )
    store_url = (tmp_path / "store").as_uri()
    command = trimtab(["run", str(file)], store_url, tmp_path / "home")
    _, err = command.communicate(timeout=60)
    assert command.returncode == 2, err
    assert "Traceback" not in err
    assert "species" in err
    store = open_store(store_url)
    (key,) = runs.list_runs(store)
    (error,) = runs.errors(store, key)
    assert error["kind"] == "DataError"
    assert owner(store, key).state == "failed"


def test_what_cannot_be_run_is_refused_before_anything_is_written(tmp_path: Path, quick: Project, store: Store) -> None:
    with pytest.raises(ProjectError, match="cnn"):
        run_local(quick, store.url, candidates=["cnn"])
    with pytest.raises(DataError, match=r"nothere\.csv"):
        run_local(quick, store.url, data=str(tmp_path / "nothere.csv"))
    assert runs.list_runs(store) == []


def test_a_run_that_another_process_is_at_is_not_started_twice(store: Store, quick: Project) -> None:
    key = runs.open_run(store, make_request(quick, store))
    runs.claim(store, key, "a-cluster-s-run")
    with pytest.raises(DuplicateRun, match="a-cluster-s-run"):
        run_local(quick, store.url)
