"""The whole training pipeline by KFP's DockerRunner in the stage image, against the same run on this machine."""

from __future__ import annotations

import pytest
from tests.images.conftest import Trained
from tests.pipelines.test_local import ALL

from trimtab.core.bundle import read_manifest

pytestmark = pytest.mark.images


def test_every_stage_ran_and_left_its_result(trained: Trained) -> None:
    inside, _ = trained.results()
    assert set(inside) == ALL, trained.said[-3000:]
    assert [k for k in trained.store.list(f"runs/{trained.key}/") if k.endswith("error.json")] == []


def test_it_is_the_same_run_with_the_same_artifacts(trained: Trained) -> None:
    inside, here = trained.results()
    assert trained.key == trained.here_key
    digests = {stage: result["artifacts"] for stage, result in here.items()}
    assert any(digests.values())
    assert {stage: result["artifacts"] for stage, result in inside.items()} == digests


def test_it_published_the_same_version(trained: Trained) -> None:
    inside, here = trained.results()
    version = str(inside["publish"]["figures"]["version"])
    assert version == here["publish"]["figures"]["version"]
    ours, theirs = (read_manifest(store, "quick", version) for store in (trained.store, trained.here))
    assert ours.files == theirs.files
    assert inside["select"]["figures"] == here["select"]["figures"]
