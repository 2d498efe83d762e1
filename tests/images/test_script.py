"""What `make images` runs, and the small programs of the build: by themselves, without a daemon."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from manifests.images import requirements
from manifests.images.own import sbom
from tests.servers.docker import ROOT

SCRIPT = ROOT / "manifests" / "images" / "build.py"
STATUS = """Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u10
Description: GNU C Library
 with: a colon

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1
"""
# A docker that writes down what it was asked, and builds nothing.
DOCKER = """#!/bin/sh
echo "$@" >> {calls}
while [ $# -gt 0 ]; do case "$1" in
  --iidfile) echo sha256:0123456789abcdef > "$2" ;;
  src=*|id=pip,src=*) cat "${{1#id=pip,src=}}" > {calls}.pip ;;
  inspect) echo "example.org/other@sha256:1"; echo "r.example/ml/trimtab-server@sha256:2" ;;
esac; shift; done
"""


def make(tmp_path: Path, *arguments: str, **environment: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run the script with a docker that only writes down; what came of it, and what docker was asked."""
    calls, program = tmp_path / "calls", tmp_path / "docker"
    program.write_text(DOCKER.format(calls=calls))
    program.chmod(0o755)
    names = ("PIP_", "SSL_", "REQUESTS_", "HTTP", "http", "NO_PROXY", "no_proxy")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        env={**clean, "DOCKER": str(program), "PIP_CONFIG_FILE": "/nonexistent", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done, calls.read_text().splitlines() if calls.exists() else []


def test_names_come_from_content_and_the_stage_image_is_last(tmp_path: Path) -> None:
    done, calls = make(tmp_path)
    assert done.returncode == 0, done.stderr
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    names = [f"{image} trimtab-{image}:{version}-0123456789ab" for image in ("server", "monitor", "stage")]
    assert done.stdout.splitlines() == names
    assert not any("--secret" in call or "--network" in call for call in calls)


def test_a_registry_gets_them_and_gives_the_digest(tmp_path: Path) -> None:
    done, calls = make(tmp_path, "--registry", "r.example/ml/", "server")
    assert done.stdout.split() == ["server", "r.example/ml/trimtab-server@sha256:2"], done.stderr
    assert [call.split()[0] for call in calls] == ["build", "tag", "tag", "push", "image"]


def test_a_machine_s_own_ways_travel_as_secrets(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.crt"
    bundle.write_text("a bundle")
    given = {"SSL_CERT_FILE": str(bundle), "PIP_INDEX_URL": "https://ann:word@index.example/simple"}
    done, calls = make(tmp_path, "server", https_proxy="http://proxy.example:3128", **given)
    assert done.returncode == 0, done.stderr
    assert f"--secret id=ca,src={bundle}" in calls[0]
    assert "--build-arg https_proxy " in calls[0]
    assert "ann:word" in (tmp_path / "calls.pip").read_text()
    assert "ann:word" not in calls[0] + done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("sever",), "there are server, monitor, stage"), (("--wheels", "/nonexistent"), "holds no *.whl")],
)
def test_mistakes_are_a_sentence(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done, calls = make(tmp_path, *arguments)
    assert (done.returncode, calls) == (2, [])
    assert said in done.stderr
    done, _ = make(tmp_path, DOCKER=str(tmp_path / "none"))
    assert done.returncode == 2
    assert "DOCKER=<program>" in done.stderr


def test_wheels_are_there_for_the_build_alone(tmp_path: Path) -> None:
    place = ROOT / "manifests" / "images" / "wheels"
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / "mine-1-py3-none-any.whl").write_text("a wheel")
    before = sorted(place.iterdir())
    done, _ = make(tmp_path, "--wheels", str(folder), "server")
    assert done.returncode == 0, done.stderr
    assert sorted(place.iterdir()) == before


def test_each_image_installs_its_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lists = {image: requirements.lines(image, project) for image in requirements.EXTRAS}
    assert [line.partition(">")[0] for line in lists["torch"]] == ["torch", "-c constraints.txt"]
    assert {line.partition(">")[0] for line in lists["server"]} >= {"onnxruntime", "uvicorn", "minio", "pyarrow"}
    assert not any(line.startswith(("kfp", "torch", "evidently")) for line in lists["server"])
    assert any(line.startswith("kserve") for line in lists["monitor"])
    assert any(line.startswith("kfp>") for line in lists["stage"])


def test_the_bill_lists_installed_debian_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, python, out = (tmp_path / name for name in ("status", "python.json", "sbom.json"))
    status.write_text(STATUS)
    python.write_text(json.dumps({"components": [{"name": "trimtab", "version": "9.9"}]}))
    monkeypatch.setattr(sbom, "STATUS", status)
    sbom.main("server", python, out)
    bill = json.loads(out.read_text())
    assert [part["name"] for part in bill["components"]] == ["trimtab", "libc6"]
    assert bill["components"][1]["purl"] == "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64"
    assert bill["metadata"]["component"]["name"] == "trimtab-server"
    assert bill["metadata"]["component"]["version"] == "9.9"


def test_the_base_image_is_pinned_and_nothing_else_is_pulled() -> None:
    file = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^ARG BASE=\S+@sha256:[0-9a-f]{64}$", file, re.M)
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", file, re.M))
    sources = set(re.findall(r"^FROM (\S+)", file, re.M))
    assert sources - stages == {"${BASE}", "scratch"}
    assert "# syntax" not in file.lstrip("#! ").splitlines()[0]
    assert not re.search(r"^ADD |curl |wget ", file, re.M)
