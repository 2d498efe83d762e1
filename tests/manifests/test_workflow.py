"""The hosted workflow: valid by SchemaStore's schema, pinned, and nothing in it but scripts of ours.

It is not run by any test: it needs kind. Of its scripts `loop check` runs here, `traffic.py` in test_traffic, and
`secrets`, `faults`, `loop tell` on an API server (tests/cluster); `tools`, `loop train` and `loop drive` run nowhere.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml
from tests.manifests.kustomize import ROOT
from tests.serving.bundles import Place

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_it_is_a_workflow_by_its_schema() -> None:
    assert WORKFLOWS
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", *map(str, WORKFLOWS)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_actions_are_pinned_and_its_rights_are_few() -> None:
    for path in WORKFLOWS:
        workflow = yaml.safe_load(path.read_text())
        assert workflow["permissions"] == {"contents": "read"}
        for job in workflow["jobs"].values():
            assert job["timeout-minutes"] <= 180
            used = [step["uses"] for step in job["steps"] if "uses" in step]
            assert [u for u in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", u)] == []
            # What others write (titles, branches) is never part of a shell line.
            assert [s for s in job["steps"] if "${{" in s.get("run", "")] == []


def test_every_step_is_a_script_that_is_there() -> None:
    known = {"make": {"setup", "cluster-up"}, "manifests/kind/loop": {"train", "drive", "check", "tell"}}
    for path in WORKFLOWS:
        steps = [s for job in yaml.safe_load(path.read_text())["jobs"].values() for s in job["steps"] if "run" in s]
        seen = []
        for step in steps:
            program, *words = step["run"].splitlines()[0].split()
            assert program == "make" or (ROOT / program).exists(), program
            assert set(words) <= known.get(program, set()), step["run"]
            seen += words
        assert seen == ["setup", "cluster-up", "train", "drive", "check", "tell"]


def test_the_loops_script_says_what_it_can() -> None:
    done = subprocess.run([str(ROOT / "manifests/kind/loop")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    for word in ("train", "drive", "check", "tell"):
        assert f"loop {word}" in done.stderr


def test_the_loop_is_whole_where_a_second_version_was_promoted_and_answered(tmp_path: Path) -> None:
    place, work = Place(tmp_path / "place"), tmp_path / "work"
    work.mkdir()
    versions = [place.serve("digits", "digits", seed) for seed in (1, 2)]
    sent = {"reached": True, "requests": 200, "failed_requests": 3, "failed": {"503": 3}}

    def check(**more: object) -> subprocess.CompletedProcess[str]:
        (work / "traffic.json").write_text(json.dumps({**sent, "versions": dict.fromkeys(versions, 90), **more}))
        return subprocess.run(
            [str(ROOT / "manifests/kind/loop"), "check"], capture_output=True, text=True, check=False,
            env={**os.environ, **place.environ, "WORK": str(work)},
        )  # fmt: skip

    whole = check()
    assert whole.returncode == 0, whole.stderr
    assert "the loop: 200 requests, 3 failed" in whole.stdout
    assert check(failed_requests=51).returncode == 1
    assert check(versions={versions[0]: 180, versions[1]: 9}).returncode == 1
    assert check(reached=False).returncode == 1
