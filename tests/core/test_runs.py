"""The run record: keys, claims, attempts, stage records."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from trimtab.core import processes, runs
from trimtab.core.errors import DataError, DuplicateRun, NotFound, RunError
from trimtab.core.records import read_record
from trimtab.core.runs import RunRequest
from trimtab.core.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store((tmp_path / "store").as_uri())


def request(**changes: Any) -> RunRequest:
    return RunRequest(**{"project": {"name": "p"}, "data": {"sources": []}, "source_digest": "d", **changes})


@pytest.fixture
def ended() -> str:
    """The name of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = processes.local_id(child.pid)
    child.communicate(b"\n")
    return name


@pytest.mark.parametrize(
    "change",
    [
        {"project": {"name": "q"}},
        {"source_digest": "e"},
        {"code_version": "2"},
        {"candidates": ["a"]},
        {"seed": 1},
        {"release": "hold"},
        {"campaign": 1, "retrain": 1},
        {"salt": "1"},
    ],
)
def test_what_changes_the_run_changes_its_key(change: dict[str, Any]) -> None:
    assert request(**change).key != request().key


def test_words_do_not_change_the_key() -> None:
    assert request(reason="because").key == request().key


def test_a_request_comes_back_as_it_was_put_down(store: Store) -> None:
    asked = request(candidates=["a"], campaign=3, retrain=1, reason="drift")
    key = runs.open_run(store, asked)
    assert runs.open_run(store, asked) == key
    assert runs.read_request(store, key) == asked
    assert runs.list_runs(store) == [key]


def test_no_such_run(store: Store) -> None:
    with pytest.raises(NotFound):
        runs.read_request(store, "0" * 16)


def test_a_claim_is_one_run_s(store: Store) -> None:
    key = runs.open_run(store, request())
    assert runs.claim(store, key, "cluster-run-1") == 1
    assert runs.claim(store, key, "cluster-run-1") == 1, "the same backend's run may ask again"
    with pytest.raises(DuplicateRun, match="cluster-run-1"):
        runs.claim(store, key, "cluster-run-2")
    assert runs.by_id(store, "cluster-run-1") == (key, 1)
    with pytest.raises(RunError):
        runs.by_id(store, "cluster-run-2")


def test_the_next_attempt_opens_when_the_owner_s_process_is_gone(store: Store, ended: str) -> None:
    key = runs.open_run(store, request())
    assert runs.claim(store, key, ended) == 1
    assert runs.claim(store, key, processes.local_id()) == 2
    with pytest.raises(DuplicateRun):
        runs.claim(store, key, "another")


def test_the_next_attempt_opens_when_the_owner_said_that_it_failed(store: Store) -> None:
    key = runs.open_run(store, request())
    runs.claim(store, key, "a")
    runs.end(store, key, 1, "failed", {"kind": "DataError", "message": "no."})
    assert runs.claim(store, key, "b") == 2
    assert [a.state for a in runs.attempts(store, key)] == ["failed", ""]


def test_the_backend_is_asked_whether_the_owner_has_ended(store: Store) -> None:
    key = runs.open_run(store, request())
    runs.claim(store, key, "a")
    assert runs.claim(store, key, "b", has_ended=lambda attempt: attempt.run_id == "a") == 2


def test_a_run_that_succeeded_is_not_claimed_again(store: Store) -> None:
    key = runs.open_run(store, request())
    runs.end(store, key, runs.claim(store, key, "a"), "succeeded")
    runs.finish(store, key, {"version": "v1"})
    runs.finish(store, key, {"version": "v2"})
    assert (runs.result(store, key) or {})["version"] == "v1"
    with pytest.raises(DuplicateRun, match="succeeded"):
        runs.claim(store, key, "b")


def test_again_opens_another_run_once_the_first_succeeded(store: Store) -> None:
    first = runs.open_run(store, request())
    assert runs.open_run(store, request(), again=True) == first, "one that has not succeeded is gone on with"
    runs.finish(store, first, {})
    second = runs.open_run(store, request(), again=True)
    assert second != first
    assert runs.open_run(store, request(), again=True) == second


def test_of_many_rivals_one_owns_the_run(store: Store) -> None:
    key = runs.open_run(store, request())
    won: list[str] = []
    start = threading.Barrier(8)

    def rival(name: str) -> None:
        start.wait()
        try:
            runs.claim(store, key, name)
            won.append(name)
        except DuplicateRun:
            pass

    threads = [threading.Thread(target=rival, args=(f"r{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [a.run_id for a in runs.attempts(store, key)] == won


@pytest.fixture
def inside(store: Store, monkeypatch: pytest.MonkeyPatch) -> str:
    """A stage's environment: it belongs to a claimed run. (The stage sets up its process's logs.)"""
    monkeypatch.setattr("trimtab.core.logs.setup", lambda *args, **context: None)
    key = runs.open_run(store, request())
    runs.claim(store, key, "backend-1")
    monkeypatch.setenv("TRIMTAB_STORE", store.url)
    monkeypatch.setenv("TRIMTAB_RUN_ID", "backend-1")
    return key


def test_a_stage_leaves_figures_and_cost(store: Store, inside: str) -> None:
    with runs.stage_record("train", "mlp") as record:
        record.result(figures={"rows": 3}, artifacts={"model": "abc"})
    found = runs.stage_results(store, inside)["train.mlp"]
    assert found["figures"] == {"rows": 3}
    assert found["artifacts"] == {"model": "abc"}
    assert found["cost"]["peak_memory_bytes"] > 1e6
    assert set(found["cost"]) == {"wall_seconds", "cpu_seconds", "gpu_seconds", "peak_memory_bytes"}


def test_a_stage_that_fails_leaves_a_typed_error(store: Store, inside: str) -> None:
    with pytest.raises(DataError), runs.stage_record("ingest"):
        raise DataError("column 'a' holds text", object="x.csv", rows=[7], hint="declare it")
    (error,) = runs.errors(store, inside)
    assert (error["kind"], error["object"], error["rows"], error["stage"]) == ("DataError", "x.csv", [7], "ingest")
    assert error["next_step"] == "declare it"


def test_a_fault_that_no_one_foresaw_is_recorded_too(store: Store, inside: str) -> None:
    with pytest.raises(ZeroDivisionError), runs.stage_record("ingest"):
        _ = 1 / 0
    (error,) = runs.errors(store, inside)
    assert error["kind"] == "InternalError"
    assert "ZeroDivisionError" in error["message"]


def test_the_newest_try_counts(store: Store, inside: str) -> None:
    for rows in (1, 2):
        with runs.stage_record("ingest") as record:
            record.result(figures={"rows": rows})
    assert runs.stage_results(store, inside)["ingest"]["figures"] == {"rows": 2}


def test_a_cached_stage_shows_its_source(store: Store, inside: str) -> None:
    with runs.stage_record("ingest") as record:
        record.result(figures={"rows": 5})
    source = f"runs/{inside}/attempts/00000001/ingest/00000001"
    other = runs.open_run(store, request(salt="1"))
    runs.claim(store, other, "backend-2")
    runs.mark_cached(store, other, 1, "ingest", "", source, "the same inputs")
    found = runs.stage_results(store, other)["ingest"]
    assert found["figures"] == {"rows": 5}
    assert found["cached"]["source"] == source
    assert read_record(store, f"runs/{other}/attempts/00000001/ingest/00000001/cached.json", "stage-cached")


def test_outside_a_run_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_STORE", (tmp_path / "nowhere").as_uri())
    monkeypatch.delenv("TRIMTAB_RUN_ID", raising=False)
    with runs.stage_record("train") as record:
        record.result(figures={})
    assert not (tmp_path / "nowhere").exists()


def test_a_stage_of_a_run_that_claimed_nothing_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_STORE", store.url)
    monkeypatch.setenv("TRIMTAB_RUN_ID", "unknown")
    with pytest.raises(RunError, match="claimed"), runs.stage_record("train"):
        pass
