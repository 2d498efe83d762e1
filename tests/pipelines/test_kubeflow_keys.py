"""The compiled YAML started by KFP's own client and by a schedule: each start is a run with a key of its own."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.fixtures import S3
from tests.servers.kubeflow import Processes, Scripted, Some, StandIn
from tests.servers.kubeflow.artifacts import Objects

from trimtab.core import runs
from trimtab.core.project import Project
from trimtab.core.store import open_store
from trimtab.pipelines.compile import compile_project

from .kubeflow_world import IMAGE
from .test_kubeflow_api import PACKAGE


@pytest.fixture
def place(s3: S3) -> str:
    return s3.fresh()


@pytest.fixture
def world(s3: S3, place: str) -> Iterator[StandIn]:
    """The first task runs for real, by its own compiled command and on MinIO; the rest is scripted."""
    store = open_store(place, _settings(s3, place))
    secret = {
        "access_key": s3.settings.access_key, "secret_key": s3.settings.secret_key,
        "endpoint": s3.settings.endpoint, "region": s3.settings.region,
    }  # fmt: skip
    real = Processes(Objects(store), {"trimtab-s3-pipeline": secret})
    with StandIn(Some({"define"}, real, Scripted())) as standin:
        yield standin


def _settings(s3: S3, place: str):  # type: ignore[no-untyped-def]
    from trimtab.core.settings import load

    return load(s3.environ(place))


@pytest.mark.parametrize("caching", [None, False])
def test_kfp_s_own_client_starts_a_run(caching: bool | None, tmp_path: Path) -> None:
    from kfp import Client

    package = tmp_path / "tiny.yaml"
    package.write_bytes(PACKAGE)
    with StandIn() as standin, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it finds on its way
        client = Client(host=standin.url)
        started = client.create_run_from_pipeline_package(str(package), {"word": "x"}, enable_caching=caching)
        assert standin.backend.wait(started.run_id)["state"] == "SUCCEEDED"
        pipeline = client.upload_pipeline(str(package), "tiny").pipeline_id
        assert client.get_pipeline_id("tiny") == pipeline, "by a filter that has the operation's number"


@pytest.mark.campaign
def test_three_starts_by_hand_and_two_by_a_schedule_are_five_runs(
    world: StandIn, s3: S3, place: str, quick: Project, tmp_path: Path
) -> None:
    from kfp import Client

    package = tmp_path / "quick.yaml"
    compile_project(quick, package, image=IMAGE, store=place)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = Client(host=world.url)
        started = [client.create_run_from_pipeline_package(str(package)).run_id for _ in range(3)]
        uploaded = client.upload_pipeline(str(package), "quick")
        version = client.list_pipeline_versions(uploaded.pipeline_id).pipeline_versions[0]
        recurring = client.create_recurring_run(
            client.create_experiment("nightly").experiment_id, "nightly", interval_second=3600,
            pipeline_id=uploaded.pipeline_id, version_id=version.pipeline_version_id,
        )  # fmt: skip
    started += [world.backend.tick(recurring.recurring_run_id)["run_id"] for _ in range(2)]
    ended = [world.backend.wait(run_id, 200) for run_id in started]
    assert [e["state"] for e in ended] == ["SUCCEEDED"] * 5, [r.logs for r in world.backend.runs.values()]
    store = open_store(place, _settings(s3, place))
    keys = {runs.by_id(store, run_id)[0] for run_id in started}
    assert len(keys) == 5
    assert set(runs.list_runs(store)) == keys
