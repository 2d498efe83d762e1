"""The compiled pipeline as pods would run it: its own commands, its own environment, artifacts through a real MinIO.

What is played: Kubeflow's API and its driver (the stand-in walks the uploaded IR), its cache (the same image, command
and inputs: the outputs copied), and the pods (processes of this machine, each with an empty folder).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.servers.fixtures import S3
from tests.servers.kubeflow import Outcome, Processes, StandIn, TaskSpec
from tests.servers.kubeflow.artifacts import Objects

from trimtab.core import runs
from trimtab.core.errors import RunError
from trimtab.core.project import parse_project
from trimtab.core.run_starts import duplicates, failed_start
from trimtab.core.store import Store, open_store
from trimtab.pipelines.compile import compile_project
from trimtab.pipelines.compile_check import check_package

from .conftest import QUICK
from .kubeflow_world import pod_secrets

IMAGE = "registry.example/trimtab/stage@sha256:" + "0" * 64
# The two warnings of kfp.Client about what it finds on its way.
pytestmark = [
    pytest.mark.campaign,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::FutureWarning:kfp"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:kfp"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:kfp_server_api"),
]


class Cached:
    """Plays Kubeflow's cache over another executor, and keeps what each task put out."""

    def __init__(self, inner: Processes, store: Store) -> None:
        self._inner = inner
        self._store = store
        self._kept: dict[str, tuple[TaskSpec, Outcome]] = {}
        self._first: dict[str, str] = {}
        self.worked: list[tuple[str, str]] = []
        self.outputs: list[tuple[str, dict[str, Any]]] = []

    def run(self, task: TaskSpec, cancelled: threading.Event) -> Outcome:
        key = json.dumps([task.container["image"], task.container["command"], task.executor_input["inputs"]])
        for copied, first in self._first.items():
            key = key.replace(copied, first)  # an artifact from the cache is the artifact that was first made
        cacheable = task.name not in ("define", "publish", "deploy")
        if cacheable and key in self._kept:
            before, outcome = self._kept[key]
            self._copy(before, task)
            return outcome
        self.worked.append((task.run_id, task.name))
        outcome = self._inner.run(task, cancelled)
        self.outputs.append((task.name, outcome.output))
        if cacheable and outcome.state == "SUCCEEDED":
            self._kept[key] = task, outcome
        return outcome

    def _copy(self, before: TaskSpec, task: TaskSpec) -> None:
        made = before.executor_input["outputs"].get("artifacts") or {}
        for name, entry in made.items():
            uri = task.executor_input["outputs"]["artifacts"][name]["artifacts"][0]["uri"]
            self._first[uri] = entry["artifacts"][0]["uri"]
            source, target = Objects.key(entry["artifacts"][0]["uri"]), Objects.key(uri)
            for found in [source, *self._store.list(f"{source}/")]:
                if self._store.exists(found):
                    self._store.put(target + found.removeprefix(source), self._store.get(found))


@pytest.fixture
def cluster(s3: S3, tmp_path: Path) -> Iterator[tuple[StandIn, Cached, Store, Path]]:
    url = s3.fresh()
    objects = s3.store()
    secrets = pod_secrets(s3, tmp_path / "signing.pem")
    package = tmp_path / "quick.yaml"
    compile_project(parse_project(QUICK, "quick.yaml"), package, image=IMAGE, store=url)
    check_package(package)
    executor = Cached(Processes(Objects(objects), secrets), objects)
    store = open_store(url, s3_settings(s3))
    with StandIn(executor, retries=True) as standin:
        yield standin, executor, store, package


def s3_settings(s3: S3) -> Any:
    from trimtab.core.settings import load

    return load(s3.environ(""))


def start(standin: StandIn, package: Path, **arguments: str) -> str:
    """A start by plain kfp.Client."""
    import kfp

    with standin.backend.lock:
        found = list(standin.backend.experiments.values())
    experiment = found[0] if found else standin.backend.create_experiment({"display_name": "theirs"})
    run = kfp.Client(host=standin.url).run_pipeline(
        experiment["experiment_id"], "somebody's", pipeline_package_path=str(package), params=arguments
    )
    return str(run.run_id)


def ended(standin: StandIn, run_id: str, seconds: float = 240) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        state = str(standin.backend.runs[run_id].item.get("state"))
        if state in ("SUCCEEDED", "FAILED"):
            return state
        time.sleep(0.1)
    raise AssertionError(f"run {run_id} has not ended")


def nulls(value: Any, path: str = "") -> list[str]:
    if isinstance(value, dict):
        return [p for k, v in value.items() for p in nulls(v, f"{path}.{k}")]
    if isinstance(value, list):
        return [p for i, v in enumerate(value) for p in nulls(v, f"{path}.{i}")]
    return [path] if value is None or value != value else []


def test_five_starts_by_others_are_five_runs_from_define_to_deploy(
    cluster: tuple[StandIn, Cached, Store, Path],
) -> None:
    standin, executor, store, package = cluster
    started = []
    for _ in range(5):
        started.append(start(standin, package))
        assert ended(standin, started[-1]) == "SUCCEEDED", runs_said(store, started[-1])
    keys = [runs.by_id(store, run_id)[0] for run_id in started]
    assert len(set(keys)) == 5
    results = [runs.result(store, key) for key in keys]
    assert all(r is not None and r["state"] == "succeeded" for r in results)
    first = results[0] or {}
    assert first["version"].startswith("v1-")
    assert first["winner"] == "linear"
    assert first["cached"] == []
    # What has no task of its own in a later run is named there, with whose work it was.
    later = results[4] or {}
    assert later["version"] == first["version"]
    assert later["winner"] == "linear"
    assert later["figures"]["accuracy"] == first["figures"]["accuracy"]
    assert set(later["cached"]) == {
        "ingest", "validate", "prepare", "baseline", "train.linear", "evaluate.linear", "select", "export",
    }  # fmt: skip
    source = runs.stage_results(store, keys[4])["train.linear"]["cached"]["source"]
    assert source.startswith(f"runs/{keys[0]}/attempts/")
    assert sum(run_id == started[4] for run_id, _ in executor.worked) == 3
    # Kubeflow's backend fails a task whose metadata holds a null.
    assert {name for name, _ in executor.outputs} >= {"define", "ingest", "evaluate", "select", "publish", "deploy"}
    for name, output in executor.outputs:
        assert nulls(output) == [], name
    for key in keys:
        assert runs.newest(store, key).state == "succeeded"  # type: ignore[union-attr]
        cost = runs.stage_results(store, key)["publish"]["cost"]
        assert cost["peak_memory_bytes"] > 1e7
        assert cost["cpu_seconds"] > 0

    # The same key once more: it ends before any work.
    again = start(standin, package, key=keys[0])
    assert ended(standin, again) == "FAILED"
    assert [d.run_id for d in duplicates(store, keys[0])] == [again]
    assert [name for run_id, name in executor.worked if run_id == again] == ["define", "define"], "one retry"

    # A key that nobody asked for.
    lost = start(standin, package, key="f" * 16)
    assert ended(standin, lost) == "FAILED"
    assert (failed_start(store, lost) or {})["kind"] == "NotFound"


def test_a_stage_that_fails_says_why_and_is_not_tried_again_for_a_mistake(
    cluster: tuple[StandIn, Cached, Store, Path],
) -> None:
    standin, executor, store, package = cluster
    run_id = start(standin, package, data=json.dumps({"sklearn": "iris", "rows": [0, 4]}))
    assert ended(standin, run_id) == "FAILED"
    key, _ = runs.by_id(store, run_id)
    found = runs.errors(store, key)
    assert {e["kind"] for e in found} == {"DataError"}
    assert "try before" in found[-1]["next_step"]
    names = [name for of, name in executor.worked if of == run_id]
    assert names.count(found[-1]["stage"]) == 2


def runs_said(store: Store, run_id: str) -> str:
    try:
        return str(runs.errors(store, runs.by_id(store, run_id)[0]))
    except RunError as error:
        return f"{error} {failed_start(store, run_id)}"
