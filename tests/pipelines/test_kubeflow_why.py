"""Why a run failed: the store's own records first, then the log that KFP keeps beside the artifacts, on a real S3."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.servers.fixtures import S3
from tests.servers.fixtures import client as bare
from tests.servers.kubeflow import StandIn

from trimtab.core import runs
from trimtab.core.errors import ProjectError
from trimtab.core.project import Project
from trimtab.core.run_starts import note_failed_start
from trimtab.core.settings import load
from trimtab.core.store import Store
from trimtab.pipelines import history, kubeflow_why
from trimtab.pipelines.kubeflow_models import BackendRun
from trimtab.pipelines.kubeflow_submit import submit
from trimtab.pipelines.kubeflow_why import executor_logs, reason

from .kubeflow_world import IMAGE, Stages, client, compile_once

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_once(monkeypatch)


@pytest.fixture
def world(store: Store) -> Iterator[StandIn]:
    with StandIn(Stages(store), pending_reads=0) as standin:
        yield standin


@dataclass
class Bucket:
    """Where KFP would keep artifacts."""

    s3: S3
    url: str

    def __post_init__(self) -> None:
        self.name, _, self.prefix = self.url.removeprefix("s3://").partition("/")

    @property
    def root(self) -> str:
        return f"minio://{self.name}/{self.prefix}"

    def write(self, path: str, text: str) -> None:
        body = text.encode()
        bare(self.s3.settings).put_object(self.name, f"{self.prefix}/{path}", io.BytesIO(body), len(body))


@pytest.fixture
def bucket(s3: S3) -> Bucket:
    return Bucket(s3, s3.fresh())


def failed(world: StandIn, store: Store, quick: Project, bucket: Bucket) -> tuple[str, BackendRun]:
    """A run whose training failed without a word, with its artifacts in the bucket."""
    stages = world.backend.executor
    assert isinstance(stages, Stages)
    stages.silent = {"train": ""}
    found = submit(client(world), store, quick, image=IMAGE)
    item = world.backend.wait(found.run_id)
    assert item["state"] == "FAILED"
    item["runtime_config"]["pipeline_root"] = bucket.root
    return found.key, client(world).run(found.run_id)


def test_the_log_beside_a_failed_task_s_artifacts_is_read_and_nothing_but_the_run_s(
    world: StandIn, store: Store, quick: Project, bucket: Bucket
) -> None:
    key, run = failed(world, store, quick, bucket)
    here = f"quick/{run.id}"
    bucket.write(f"{here}/train linear/0e1f/executor-logs-0", "Traceback:\nMemoryError: 3 GiB\n")  # as KFP writes it
    bucket.write(f"{here}/define/1a2b/executor-logs-0", "ValueError: not the failed task\n")
    bucket.write(f"{here}/train linear/0e1f/model", "no log")
    bucket.write(f"other/{run.id}/train linear/0e1f/executor-logs-0", "ValueError: another pipeline\n")
    settings = load(bucket.s3.environ(bucket.url))
    told = reason(client(world), store, key, run, settings)
    assert (told.source, told.stage, told.text) == ("executor log", "train linear", "MemoryError: 3 GiB")
    logs = executor_logs(run, "quick", settings)
    assert set(logs) == {"train linear", "define"}


def test_a_run_that_names_no_place_is_looked_for_where_ours_go(
    world: StandIn, store: Store, quick: Project, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = (ROOT / "manifests/components/kfp-launcher/settings/launcher.yaml").read_text()
    assert f"  defaultPipelineRoot: {kubeflow_why.ROOTS[0]}\n" in launcher
    _, run = failed(world, store, quick, bucket)
    bucket.write(f"quick/{run.id}/train linear/0e1f/executor-logs-0", "MemoryError: 3 GiB\n")
    monkeypatch.setattr(kubeflow_why, "ROOTS", ("minio://no-such-bucket/runs", bucket.root))
    logs = executor_logs(replace(run, root=""), "quick", load(bucket.s3.environ(bucket.url)))
    assert logs == {"train linear": "MemoryError: 3 GiB\n"}


def test_of_two_candidates_the_one_that_failed_is_named(
    world: StandIn, store: Store, quick: Project, bucket: Bucket
) -> None:
    key, run = failed(world, store, quick, bucket)
    bucket.write(f"quick/{run.id}/train mlp/0e1f/executor-logs-0", "MemoryError: 3 GiB\n")
    bucket.write(f"quick/{run.id}/train linear/0e1f/executor-logs-0", "epoch 3\n")
    told = reason(client(world), store, key, run, load(bucket.s3.environ(bucket.url)))
    assert (told.stage, told.text) == ("train mlp", "MemoryError: 3 GiB")


def test_a_retry_s_log_follows_and_a_long_one_is_cut(
    world: StandIn, store: Store, quick: Project, bucket: Bucket
) -> None:
    _, run = failed(world, store, quick, bucket)
    bucket.write(f"quick/{run.id}/train-linear/ff/executor-logs-0", "x" * 300_000 + "first")
    bucket.write(f"quick/{run.id}/train-linear/00/executor-logs-0", "second")
    log = executor_logs(run, "quick", load(bucket.s3.environ(bucket.url)), {"train"})["train-linear"]
    assert log.endswith("first" + "second") or log.startswith("second")  # S3 keeps times to a second
    assert 200_000 <= len(log) < 200_100


def test_a_bucket_that_may_not_be_read_says_nothing(
    world: StandIn, store: Store, quick: Project, bucket: Bucket
) -> None:
    key, run = failed(world, store, quick, bucket)
    environment = {**bucket.s3.environ(bucket.url), "AWS_SECRET_ACCESS_KEY": "wrong-wrong-wrong"}
    settings = load(environment)
    assert executor_logs(run, "quick", settings) == {}
    assert reason(client(world), store, key, run, settings).source == "backend"


def test_a_start_that_failed_before_it_had_an_attempt_tells_its_own_error(
    world: StandIn, store: Store, quick: Project, bucket: Bucket
) -> None:
    stages = world.backend.executor
    assert isinstance(stages, Stages)
    stages.silent = {"define": "Traceback:\nKeyError: 'not this one'\n"}
    found = submit(client(world), store, quick, image=IMAGE)
    world.backend.wait(found.run_id)
    assert history.one(store, found.key)["state"] == "new"
    note_failed_start(store, found.run_id, ProjectError("parameter release", expected="ask or hold", got="'no'"))
    run = client(world).run(found.run_id)
    told = reason(client(world), store, found.key, run, load())
    assert (told.source, told.stage) == ("record", "define")
    assert "parameter release" in told.error(found.key, "").sentence()
    assert told.error(found.key, "").exit_code == 2
    facts = history.one(store, found.key)
    assert facts["state"] == "failed"
    assert [(e["stage"], e["run_id"]) for e in facts["errors"]] == [("define", found.run_id)]
    assert [r["key"] for r in history.every(store)] == [found.key], "it is that key's, and no run of its own"
    # The next start of the key has its own say.
    stages.silent, stages.hold = {}, {"define"}
    submit(client(world), store, quick, image=IMAGE)
    assert history.state_of(store, found.key) == "new"
    assert runs.attempts(store, found.key) == []
