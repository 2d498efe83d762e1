"""A small Kubeflow around a store: the stand-in, with stages that leave their records as real ones do."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest
from tests.servers.kubeflow import Outcome, StandIn, TaskSpec

from trimtab.core import runs
from trimtab.core.errors import DataError, TrimtabError
from trimtab.core.records import create_record
from trimtab.core.signing import load_or_create_key
from trimtab.core.stage_records import by_id, folder
from trimtab.define.claim import DefineConfig, claim_run
from trimtab.pipelines import kubeflow_launcher, kubeflow_schedule, kubeflow_submit
from trimtab.pipelines.kubeflow_api import Kubeflow
from trimtab.pipelines.kubeflow_auth import Access
from trimtab.pipelines.kubeflow_follow import Pace
from trimtab.pipelines.kubeflow_http import Limits
from trimtab.pipelines.kubeflow_upload import Package, package_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.fixtures import S3

    from trimtab.core.project import Project
    from trimtab.core.store import Store

IMAGE = "registry.example/trimtab/stage@sha256:" + "0" * 64
FAST = Pace(poll_seconds=0.1, trouble_seconds=0.02, patience_seconds=0.1, settle_seconds=0.1)
COST = {"wall_seconds": 0.1, "cpu_seconds": 0.1, "gpu_seconds": 0.0, "peak_memory_bytes": 1e6}


class Stages:
    """An `Executor` that claims by the real first task and writes the other stages' records, without their work.

    Args:
        store: the run record's.
        fail: stages that fail, each with its error.
        silent: stages that fail without a record, each with what their log says.
        hold: stages that wait for `release`.
    """

    def __init__(
        self,
        store: Store,
        fail: Mapping[str, TrimtabError] | None = None,
        silent: Mapping[str, str] | None = None,
        hold: set[str] | None = None,
    ) -> None:
        self.store = store
        self.fail = dict(fail or {})
        self.silent = dict(silent or {})
        self.hold = hold or set()
        self.release = threading.Event()
        self.reached = threading.Event()
        self.claimed: list[str] = []

    def run(self, task: TaskSpec, cancelled: threading.Event) -> Outcome:
        stage, _, candidate = task.display_name.partition(" ")
        given = task.executor_input["inputs"].get("parameterValues", {})
        if stage in self.hold:
            self.reached.set()
            while not self.release.wait(0.01):
                if cancelled.is_set():
                    return Outcome("FAILED")
        if stage in self.silent:
            return Outcome("FAILED", log=self.silent[stage])
        if stage == "define":
            try:
                source = claim_run(
                    DefineConfig.model_validate_json(given["config"]), self.store, task.run_id,
                    key=given["key"], data=given["data"], reason=given["reason"], release=given["release"],
                )  # fmt: skip
            except TrimtabError as error:
                return Outcome("FAILED", log=f"trimtab.core.errors.{error.kind}: {error}\n")
            self.claimed.append(task.run_id)
            self._record(task, stage, "", {})
            return Outcome("SUCCEEDED", {"parameterValues": {"source": source, "plan": ""}})
        if stage in self.fail:
            self._record(task, stage, candidate, None)
            return Outcome("FAILED", log="Traceback …\n")
        self._record(task, stage, candidate, _FIGURES.get(stage, {}))
        return Outcome("SUCCEEDED", {"parameterValues": _VALUES.get(stage, {})})

    def _record(self, task: TaskSpec, stage: str, candidate: str, figures: Mapping[str, Any] | None) -> None:
        key, attempt = by_id(self.store, task.run_id)
        here = f"{folder(key, attempt, stage, candidate)}/00000001"
        create_record(self.store, f"{here}/started.json", "stage-started", {})
        if figures is None:
            error = self.fail[stage]
            create_record(self.store, f"{here}/error.json", "stage-error", {**error.facts(), "cost": COST})
        else:
            facts = {"figures": dict(figures), "artifacts": {}, "cost": COST}
            create_record(self.store, f"{here}/result.json", "stage-result", facts)


_VALUES: dict[str, dict[str, Any]] = {"publish": {"Output": "v1-0badc0de"}, "deploy": {"Output": 1}}
_FIGURES: dict[str, dict[str, Any]] = {
    "select": {"winner": "linear", "passed": True, "accuracy": 0.9},
    "publish": {"version": "v1-0badc0de"},
}


_PACKAGES: dict[str, Package] = {}


def compile_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile the same project once in all of a process's tests, for a made-up store; compiling is tested elsewhere."""

    def package(
        project: Project, *, image: str, store_url: str = "", s3_ca: str = "", code_version: str = ""
    ) -> Package:
        name = json.dumps([project.canonical(), image, s3_ca, code_version], sort_keys=True)
        if name not in _PACKAGES:
            _PACKAGES[name] = package_of(project, image=image, store_url="s3://bucket/prefix", s3_ca=s3_ca)
        return _PACKAGES[name]

    for module in (kubeflow_submit, kubeflow_schedule, kubeflow_launcher):
        monkeypatch.setattr(module, "package_of", package)
    monkeypatch.setattr(kubeflow_submit, "_PAUSES", (0.0, 0.01, 0.01))


def client(standin: StandIn, **access: Any) -> Kubeflow:
    """A client that gives up soon."""
    from trimtab.core.store.retry import Retry

    return Kubeflow(Access(standin.url, **access), Limits(1.0, 2.0, Retry(attempts=3, base=0.01, cap=0.02)))


def pod_secrets(s3: S3, signing: Path) -> dict[str, dict[str, str]]:
    """The Secrets that stages' pods are given, with a new signing key in that file."""
    load_or_create_key(signing)
    return {
        "trimtab-s3-pipeline": {
            "access_key": s3.settings.access_key,
            "secret_key": s3.settings.secret_key,
            "endpoint": s3.settings.endpoint,
            "region": s3.settings.region,
        },
        "trimtab-signing": {"signing.pem": signing.read_text()},
    }


def wrong_column() -> DataError:
    """A user's mistake, as a stage finds it."""
    return DataError("column 'age' holds text", object="people.csv", expected="numbers", got="'old'")


def keys(store: Store) -> list[str]:
    """Keys of all runs."""
    return runs.list_runs(store)
