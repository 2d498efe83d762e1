"""The hosted workflow: valid by SchemaStore's schema, pinned, and nothing in it but scripts of ours.

It is not run by any test: it needs kind. Its scripts are, as far as an API server goes: tests/cluster.
"""

from __future__ import annotations

import re
import subprocess
import sys

import yaml
from tests.manifests.kustomize import ROOT

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
