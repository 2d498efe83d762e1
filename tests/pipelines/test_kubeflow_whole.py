"""A submission and a retrain of it, whole: every stage by its own compiled command, artifacts and store on MinIO."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.servers.fixtures import S3
from tests.servers.kubeflow import Processes, StandIn
from tests.servers.kubeflow.artifacts import Objects

from trimtab.core import bundle, runs
from trimtab.core.launch import RetrainRequest
from trimtab.core.project import parse_project
from trimtab.core.settings import load
from trimtab.core.store import open_store
from trimtab.pipelines.kubeflow_follow import Follower
from trimtab.pipelines.kubeflow_launcher import KubeflowLauncher
from trimtab.pipelines.kubeflow_submit import submit

from .conftest import QUICK, until
from .kubeflow_world import IMAGE, client, pod_secrets

TWO = QUICK.replace(
    "  linear: {params: {epochs: 4}}", "  linear: {params: {epochs: 4}}\n  mlp: {params: {epochs: 2, hidden: [4]}}"
)


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_a_submission_publishes_and_its_retrain_trains_one_candidate_on_another_seed(s3: S3, tmp_path: Path) -> None:
    place = s3.fresh()
    settings = load(s3.environ(place))
    store = open_store(place, settings)
    secrets = pod_secrets(s3, tmp_path / "signing.pem")
    told: list[str] = []
    with StandIn(Processes(Objects(s3.store()), secrets)) as standin:
        kubeflow = client(standin)
        found = submit(kubeflow, store, parse_project(TWO, "quick.yaml"), image=IMAGE)
        follower = Follower(
            kubeflow, store, settings, found.key, progress=lambda p: told.append(f"{p.step.name} {p.state}")
        )
        done = follower.follow(found.run_id, 600)
        assert bundle.list_versions(store, "quick") == [done["version"]]
        assert {"define done", "train.linear done", "train.mlp done", "publish done"} <= set(told)
        launcher = KubeflowLauncher(kubeflow, store)
        key = launcher.start(RetrainRequest("quick", found.key, "sklearn:iris", 1, 1, 4711, ("linear",)))
        state = until(lambda: "" if (s := launcher.state(key)) == "running" else str(s), 600)
        assert state == "succeeded", runs.errors(store, key)
        results = runs.stage_results(store, key)
        assert "left_out" in results["train.mlp"]["figures"]
        assert "left_out" in results["evaluate.mlp"]["figures"]
        assert results["select"]["figures"]["winner"] == "linear"
        first = runs.stage_results(store, found.key)
        assert results["ingest"]["artifacts"] == first["ingest"]["artifacts"]
        assert results["prepare"]["artifacts"] != first["prepare"]["artifacts"], "another seed, another split"
        assert len(standin.backend.versions) == 1
