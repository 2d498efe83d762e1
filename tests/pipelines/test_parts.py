"""The local runner's parts: cache, forks, work folder, code version, errors revived."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from trimtab.core import settings
from trimtab.core.errors import DataError, ProjectError, RunError, SignatureError
from trimtab.core.store import open_store
from trimtab.pipelines import work
from trimtab.pipelines.runner import revive
from trimtab.pipelines.versions import code_version, module_digest
from trimtab.pipelines.warm import Task, WarmProcess, fork_task

WRITES = """
def component(path: str):
    import os, sys
    assert "json" in sys.modules
    open(path, "w").write(os.environ["WORD"] + " " + str(os.getppid()))
"""
FAILS = "def component(path: str):\n    raise ValueError('no')\n"
KILLED = "def component(path: str):\n    import os, signal\n    os.kill(os.getpid(), signal.SIGKILL)\n"


def task(source: str, out: Path) -> Task:
    import json

    given = {
        "inputs": {"parameterValues": {"path": str(out)}},
        "outputs": {"outputFile": str(out.parent / "output.json")},
    }
    arguments = ["--executor_input", json.dumps(given), "--function_to_execute", "component"]
    return Task(source, arguments, {"WORD": "hello"})


@pytest.fixture
def warm() -> Any:
    process = WarmProcess(("json", "no_such_module"))
    yield process
    process.close()


def test_a_task_runs_in_a_fork_of_the_warm_process(warm: WarmProcess, tmp_path: Path) -> None:
    assert warm.run(task(WRITES, tmp_path / "out")) == 0
    assert (tmp_path / "out").read_text() == f"hello {warm.pid}"
    assert "WORD" not in os.environ


def test_a_task_that_fails_says_so_and_the_next_one_runs(warm: WarmProcess, tmp_path: Path) -> None:
    assert warm.run(task(FAILS, tmp_path / "out")) == 1
    assert warm.run(task(KILLED, tmp_path / "out")) == 128 + signal.SIGKILL
    assert warm.run(task(WRITES, tmp_path / "out")) == 0


def test_a_warm_process_that_is_gone_is_noticed(tmp_path: Path) -> None:
    process = WarmProcess(())
    os.kill(process.pid, signal.SIGKILL)
    assert process.run(task(WRITES, tmp_path / "out")) is None
    process.close()


def test_a_task_can_be_forked_from_here(tmp_path: Path) -> None:
    assert fork_task(task(WRITES, tmp_path / "out")) == 0
    assert (tmp_path / "out").read_text() == f"hello {os.getpid()}"


def test_a_command_of_another_shape_is_left_to_kfp() -> None:
    from trimtab.pipelines.handler import task_of

    ours = ["sh", "-ec", "python3 $program_path/ephemeral_component.py", "SOURCE", "--executor_input", "{}"]
    ours += ["--function_to_execute", "f"]
    found = task_of(ours, {"A": "1"})
    assert found == Task("SOURCE", ours[4:], {"A": "1"})
    assert task_of(["sh", "-c", "pip install x", *ours], {}) is None
    assert task_of(["echo", "hello"], {}) is None


def test_the_cache_names_whose_work_an_entry_is(tmp_path: Path) -> None:
    from kfp import dsl

    from trimtab.pipelines.cache import ProvenanceCache

    hits: list[tuple[str, str]] = []
    cache = ProvenanceCache(tmp_path / "cache", lambda component: f"runs/k/{component}", lambda *hit: hits.append(hit))
    key = cache.compute_key("comp-train", "image", ["command"], {"config": "{}"})
    assert cache.get(key) is None
    metrics = dsl.Metrics(name="metrics", uri=str(tmp_path / "artifacts" / "metrics"), metadata={"accuracy": 0.5})
    cache.put(key, {"metrics": metrics, "Output": "text"})
    found = cache.get(key)
    assert found is not None
    assert (found["Output"], found["metrics"].metadata) == ("text", {"accuracy": 0.5})
    assert hits == [("comp-train", "runs/k/comp-train")]
    other = cache.compute_key("comp-train", "image", ["command"], {"config": "{}"}, env_vars={"TRIMTAB_SALT": "1"})
    assert cache.get(other) is None


def test_the_work_folder_stands_beside_the_store(tmp_path: Path) -> None:
    env = settings.load({"HOME": str(tmp_path)})
    assert work.work_folder((tmp_path / "store").as_uri(), env) == tmp_path / "work"
    assert work.work_folder((tmp_path / "demos/a b").as_uri(), env) == tmp_path / "demos/a b.work"
    assert work.work_folder(str(tmp_path / "store"), env) == tmp_path / "work"
    remote = work.work_folder("s3://bucket/prefix", env)
    assert env.home in remote.parents
    assert remote != work.work_folder("s3://bucket/other", env)


def test_an_emptied_store_empties_the_cache(tmp_path: Path) -> None:
    store = open_store((tmp_path / "store").as_uri())
    cache = work.cache(tmp_path / "work")
    cache.mkdir(parents=True)
    store.put("runs/k/request.json", b"{}")
    work.discard_if_stale(tmp_path / "work", store)
    assert cache.is_dir()
    store.delete("runs/k/request.json")
    work.discard_if_stale(tmp_path / "work", store)
    assert not cache.exists()


def test_the_code_version_is_the_distribution_s_and_its_sources() -> None:
    version, _, digest = code_version().partition("+")
    assert version
    assert len(digest) == 8


def test_a_candidate_s_own_code_has_a_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "a_model_of_ours.py"
    module.write_text("x = 1\n")
    first = module_digest("a_model_of_ours:build")
    module.write_text("x = 2\n")
    assert module_digest("a_model_of_ours:build") != first
    package = tmp_path / "a_package_of_ours"
    (package / "inner").mkdir(parents=True)
    for name in ("__init__.py", "inner/__init__.py"):
        (package / name).write_text("")
    assert len(module_digest("a_package_of_ours.inner:build")) == 8
    with pytest.raises(ProjectError, match="not_there"):
        module_digest("not_there.model:build")


@pytest.mark.parametrize(("kind", "expected"), [("DataError", DataError), ("SignatureError", SignatureError)])
def test_a_recorded_error_comes_back_as_its_own_class(kind: str, expected: type[Exception]) -> None:
    error = revive({"kind": kind, "message": "rows.csv: it is empty."})
    assert type(error) is expected
    assert error.sentence() == "rows.csv: it is empty."


def test_a_fault_comes_back_as_a_failed_run_that_names_the_stage() -> None:
    error = revive({"kind": "InternalError", "message": "KeyError: 'x'", "stage": "train.mlp"})
    assert type(error) is RunError
    assert "train.mlp" in error.sentence()
    assert type(revive({"kind": "SomethingNewer", "message": "m"})) is RunError
