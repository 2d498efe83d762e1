"""The user's own: a model by `uses:`, and a pipeline with a component of theirs between our stages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trimtab.core import runs
from trimtab.core.store import open_store

from .conftest import trimtab


@pytest.mark.campaign
def test_a_model_of_one_s_own_is_trained_exported_and_published(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = root / "examples/own"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(own), os.environ.get("PYTHONPATH")])))
    store_url = (tmp_path / "store").as_uri()
    command = trimtab(["run", str(own / "project.yaml"), "--json", "--hold"], store_url, tmp_path / "home")
    out, err = command.communicate(timeout=200)
    assert command.returncode == 0, err
    facts = json.loads(out)
    assert (facts["winner"], facts["figures"]["passed"]) == ("residual", True)
    assert facts["version"].startswith("v1-")
    store = open_store(store_url)
    assert runs.stage_results(store, facts["key"])["export"]["figures"]["parity"] < 1e-5
    assert facts["report"].endswith("report.html")
    assert "rollout" not in facts, "it was held"


def test_a_model_that_is_not_installed_is_named(root: Path, tmp_path: Path) -> None:
    command = trimtab(
        ["run", str(root / "examples/own/project.yaml")], (tmp_path / "store").as_uri(), tmp_path / "home"
    )
    _, err = command.communicate(timeout=60)
    assert command.returncode == 2
    assert "own_model" in err
    assert "Traceback" not in err


@pytest.mark.campaign
def test_a_pipeline_of_one_s_own_runs_our_stages_around_its_own(root: Path, tmp_path: Path) -> None:
    own = root / "examples/own"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(own), os.environ.get("PYTHONPATH")])),
        "TRIMTAB_STORE": (tmp_path / "store").as_uri(),
    }
    done = subprocess.run(
        [sys.executable, str(own / "pipeline.py")],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (kept,) = tmp_path.glob("own-pipeline/*/without-outliers/kept")
    (model,) = tmp_path.glob("own-pipeline/*/train/model")
    before = json.loads((kept.parents[1] / "prepare/prepared/manifest.json").read_text())["rows"]
    after = json.loads((kept / "manifest.json").read_text())["rows"]
    assert 0 < before - after < 20
    assert (model / "weights.safetensors").is_file()


def test_the_model_of_one_s_own_fits_on_a_screen(root: Path) -> None:
    code = [line for line in (root / "examples/own/own_model.py").read_text().splitlines() if line.strip()]
    assert len(code) <= 32
