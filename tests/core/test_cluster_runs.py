"""A run on a cluster finds itself: keys, duplicates, time limits, retries, what was cached, how it ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trimtab.core import runs
from trimtab.core.cached_stages import note_cached
from trimtab.core.errors import DataError, DuplicateRun, NotFound, ProjectError, RunError, RunTimeout
from trimtab.core.metadata import plain
from trimtab.core.project import parse_project
from trimtab.core.run_end import finish_on_cluster, note_cached_inputs, outcome
from trimtab.core.run_sources import MOST_BYTES, as_parameter, from_parameter
from trimtab.core.run_starts import duplicates, failed_start
from trimtab.core.settings import load
from trimtab.core.store import Store
from trimtab.define.claim import DefineConfig, claim_run

QUICK = """
name: quick
task: {kind: classification, target: species}
data: {source: {sklearn: iris}}
fields: {sepal_length: {kind: number}}
candidates: [linear]
"""
CONFIG = DefineConfig(project=parse_project(QUICK, "quick").canonical(), code_version="1")


def request(**changes: Any) -> runs.RunRequest:
    return runs.RunRequest(**{"project": CONFIG.project, "data": {"sklearn": "iris"}, "source_digest": "d", **changes})


@pytest.fixture
def inside(store: Store, monkeypatch: pytest.MonkeyPatch) -> str:
    """A task's environment on a cluster: its run has claimed a key."""
    monkeypatch.setattr("trimtab.core.logs.setup", lambda *args, **context: None)
    key = runs.open_run(store, request())
    runs.claim(store, key, "backend-1")
    monkeypatch.setenv("TRIMTAB_STORE", store.url)
    monkeypatch.setenv("TRIMTAB_RUN_ID", "backend-1")
    return key


def test_five_starts_without_a_key_are_five_runs_and_each_retry_is_its_own_run(store: Store) -> None:
    for n in range(5):
        for _ in range(2):  # the pod died after its claim: the retry is the same run
            claim_run(CONFIG, store, f"backend-{n}")
    keys = runs.list_runs(store)
    assert len(keys) == 5
    assert sorted(runs.by_id(store, f"backend-{n}")[0] for n in range(5)) == sorted(keys)
    assert all([a.n for a in runs.attempts(store, key)] == [1] for key in keys)


def test_a_second_start_of_a_key_ends_as_duplicate_before_any_work(store: Store) -> None:
    key = runs.open_run(store, request())
    text = claim_run(CONFIG, store, "backend-1", key=key)
    assert json.loads(text) == {"sklearn": "iris"}
    with pytest.raises(DuplicateRun):
        claim_run(CONFIG, store, "backend-2", key=key)
    with pytest.raises(DuplicateRun):
        claim_run(CONFIG, store, "backend-2", key=key)
    (found,) = duplicates(store, key)
    assert (found.run_id, found.owner, found.attempt) == ("backend-2", "backend-1", 1)
    with pytest.raises(RunError, match="claimed"):
        runs.by_id(store, "backend-2")
    runs.finish(store, key, {})
    with pytest.raises(DuplicateRun, match="succeeded"):
        claim_run(CONFIG, store, "backend-3", key=key)
    assert duplicates(store, key)[1].owner == ""


def test_a_start_that_never_had_a_key_says_why(store: Store) -> None:
    with pytest.raises(ProjectError):
        claim_run(CONFIG, store, "backend-1", release="now")
    with pytest.raises(NotFound):
        claim_run(CONFIG, store, "backend-2", key="0" * 16)
    first, second = failed_start(store, "backend-1"), failed_start(store, "backend-2")
    assert first is not None
    assert (first["kind"], first["stage"]) == ("ProjectError", "define")
    assert second is not None
    assert second["kind"] == "NotFound"
    assert failed_start(store, "backend-3") is None
    assert runs.list_runs(store) == []


def test_a_source_too_long_for_a_command_line_is_read_from_the_request(store: Store) -> None:
    data = {"files": [f"predictions/m/v1/{n:08d}.parquet" for n in range(3000)]}
    key = runs.open_run(store, request(data=data))
    text = claim_run(CONFIG, store, "backend-1", key=key)
    assert len(text) < 100 < MOST_BYTES
    assert from_parameter(text, store) == data
    assert from_parameter(as_parameter(key, {"sklearn": "iris"}), store) == {"sklearn": "iris"}
    with pytest.raises(RunError, match="no JSON"):
        from_parameter("{", store)


def test_a_mistake_is_not_made_again_by_a_retry_and_is_by_a_person(
    store: Store, inside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked = []

    def stage(error: Exception) -> None:
        with runs.stage_record("ingest"):
            worked.append(1)
            raise error

    with pytest.raises(DataError):
        stage(DataError("column 'a' holds text", object="x.csv"))
    with pytest.raises(DataError, match=r"column 'a' holds text.*try before"):
        stage(DataError("not reached"))
    assert len(worked) == 1
    assert [e["kind"] for e in runs.errors(store, inside)] == ["DataError", "DataError"]
    with monkeypatch.context() as later:
        later.setattr("trimtab.core.stage_limits.RETRY_SECONDS", -1)
        with pytest.raises(OSError, match="store"):
            stage(OSError("the store did not answer"))
    with pytest.raises(OSError, match="store"):  # a fault may pass, so it is tried again
        stage(OSError("the store did not answer"))
    assert len(worked) == 3


def test_no_task_begins_when_the_run_s_time_is_over(store: Store, inside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_RUN_TIMEOUT", "0.000001")
    with pytest.raises(RunTimeout, match="run_minutes"), runs.stage_record("ingest"):
        raise AssertionError("it ran")
    (error,) = runs.errors(store, inside)
    assert error["kind"] == "RunTimeout"


def test_a_stage_that_is_over_its_time_says_so_and_ends(store: Store, inside: str) -> None:
    code = (
        "import threading\n"
        "from trimtab.core.runs import stage_record\n"
        "with stage_record('train', 'mlp'): threading.Event().wait(60)\n"
    )
    environment = {"TRIMTAB_STORE": store.url, "TRIMTAB_RUN_ID": "backend-1", "TRIMTAB_STAGE_TIMEOUT": "0.3"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == RunTimeout.exit_code, done.stderr
    (error,) = runs.errors(store, inside)
    assert (error["kind"], error["stage"]) == ("RunTimeout", "train.mlp")
    assert "resources.stages.train.minutes" in error["next_step"]


@pytest.mark.parametrize("text", ["soon", "-1", "inf"])
def test_a_limit_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ProjectError, match="TRIMTAB_RUN_TIMEOUT"):
        load({"TRIMTAB_RUN_TIMEOUT": text})


def test_cached_stages_and_the_end_are_put_down_by_the_last_tasks(
    store: Store, inside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stage(name: str, candidate: str = "", **figures: Any) -> runs.StageRecord:
        with runs.stage_record(name, candidate) as record:
            record.result(figures=figures)
        return record

    for name in ("define", "ingest"):
        stage(name)
    stage("train", "mlp")
    select = stage("select", winner="mlp", accuracy=0.9)
    publish = stage("publish", version="v1-00000000")
    finish_on_cluster(store, stage("deploy"))
    assert runs.result(store, inside) is not None
    first = outcome(store, inside)
    assert (first["version"], first["winner"], first["cached"]) == ("v1-00000000", "mlp", [])
    assert runs.newest(store, inside).state == "succeeded"  # type: ignore[union-attr]

    again = runs.open_run(store, request(salt="1"))
    runs.claim(store, again, "backend-2")
    monkeypatch.setenv("TRIMTAB_RUN_ID", "backend-2")
    stage("define")
    with runs.stage_record("publish") as record:
        record.result(figures={"version": "v1-00000000"})
        assert note_cached_inputs(store, record, [{"record": select.prefix}, {}]) == ["ingest", "select", "train.mlp"]
        assert note_cached_inputs(store, record, [{"record": select.prefix}]) == [], "once is enough"
    finish_on_cluster(store, stage("deploy"))
    second = runs.result(store, again)
    assert second is not None
    assert second["cached"] == ["ingest", "select", "train.mlp"]
    assert (second["winner"], second["figures"]["accuracy"]) == ("mlp", 0.9)
    # A third finds the work of the first through the second.
    third = runs.open_run(store, request(salt="2"))
    n = runs.claim(store, third, "backend-3")
    assert set(note_cached(store, third, n, [record.prefix])) == {"ingest", "select", "train.mlp"}
    assert runs.stage_results(store, third)["train.mlp"]["cached"]["source"].startswith(f"runs/{inside}/")
    assert publish.prefix


def test_a_local_run_is_ended_by_its_own_process(store: Store) -> None:
    from trimtab.core.processes import local_id

    key = runs.open_run(store, request())
    n = runs.claim(store, key, local_id())
    record = runs.StageRecord(key, n)
    finish_on_cluster(store, record)
    assert runs.result(store, key) is None
    assert note_cached_inputs(store, record, [{"record": f"runs/{key}/attempts/00000009/ingest/00000001"}]) == []
    finish_on_cluster(store, runs.StageRecord())


def test_every_component_writes_metadata_that_kubeflow_takes(root: Path) -> None:
    for file in sorted((root / "components/trimtab").glob("*/component.py")):
        for line in file.read_text().splitlines():
            if ".metadata" in line and "import" not in line and "note_cached_inputs" not in line:
                assert ".metadata.update(plain(" in line, f"{file.parent.name}: {line.strip()}"
            assert "log_metric(" not in line, f"{file.parent.name}: {line.strip()}"
    assert plain({"a": None, "b": [None, 1.0, float("nan")], "c": {"d": None}}) == {"b": [1.0], "c": {}}
