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
from manifests.images import build, requirements
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
if [ "$1" = version ]; then exec test -z "$NO_DAEMON"; fi
echo "$@" >> {calls}
case "$1" in push) if [ -n "$NO_REGISTRY" ]; then exit 1; fi ;; esac
while [ $# -gt 0 ]; do case "$1" in
  --iidfile) echo sha256:0123456789abcdef > "$2" ;;
  src=*|id=pip,src=*) cat "${{1#id=pip,src=}}" > {calls}.pip ;;
  inspect) echo "example.org/other@sha256:1"; echo "r.example/ml/trimtab-server@sha256:2"
           echo "ann/trimtab-server@sha256:3" ;;
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
    # Docker shows what is on its own hub without the hub's name.
    done, _ = make(tmp_path, "--registry", "docker.io/ann", "server")
    assert done.stdout.split() == ["server", "docker.io/ann/trimtab-server@sha256:3"], done.stderr


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
    ("arguments", "environment", "said"),
    [
        (("sever",), {}, "there are server, monitor, stage"),
        (("--wheels", "/nonexistent"), {}, "holds no *.whl"),
        (("--root", "/nonexistent"), {}, "holds no Dockerfile"),
        (("--registry", "https://r.example/ml"), {}, "expected host/path in lower case, without https://"),
        (("--registry", "r.example/ML"), {}, "expected host/path in lower case"),
        (("--registry", "r.example/ml:1"), {}, "without https://, tag or digest"),
        ((), {"DOCKER": "/nonexistent/docker"}, "DOCKER=<program>"),
        (("server",), {"DOCKER": "true"}, "does not say what it built"),
        ((), {"NO_DAEMON": "1"}, "Start Docker, or name a daemon: DOCKER_HOST=<address>"),
        ((), {"PIP_CONFIG_FILE": str(SCRIPT)}, "cannot be read"),
    ],
)
def test_mistakes_are_a_sentence_before_anything_is_built(
    tmp_path: Path, arguments: tuple[str, ...], environment: dict[str, str], said: str
) -> None:
    done, calls = make(tmp_path, *arguments, **environment)
    assert (done.returncode, calls) == (2, []), done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_push_that_fails_names_the_registry(tmp_path: Path) -> None:
    done, _ = make(tmp_path, "--registry", "r.example/ml", "server", NO_REGISTRY="1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "docker login r.example" in done.stderr
    done, _ = make(tmp_path, "--registry", "r.example/ml", "monitor")
    assert (done.returncode, done.stdout) == (2, "")
    assert "its digest is not known" in done.stderr


def test_wheels_are_there_for_the_build_alone(tmp_path: Path) -> None:
    place = ROOT / "manifests" / "images" / "wheels"
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / "mine-1-py3-none-any.whl").write_text("a wheel")
    before = sorted(place.iterdir())
    done, _ = make(tmp_path, "--wheels", str(folder), "server")
    assert done.returncode == 0, done.stderr
    assert sorted(place.iterdir()) == before


def test_a_wheel_that_is_there_already_is_kept(tmp_path: Path) -> None:
    root, folder = tmp_path / "root", tmp_path / "wheels"
    place = root / "manifests" / "images" / "wheels"
    for wheels in (place, folder):
        wheels.mkdir(parents=True)
        (wheels / "mine-1-py3-none-any.whl").write_text(wheels.name)
    (root / "Dockerfile").touch()
    done, calls = make(tmp_path, "--root", str(root), "--wheels", str(folder), "server")
    assert (done.returncode, calls) == (2, [])
    assert "has a mine-1-py3-none-any.whl of its own" in done.stderr
    assert (place / "mine-1-py3-none-any.whl").read_text() == "wheels"


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


def test_only_what_the_build_names_is_sent_to_it_and_counts_as_its_source() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert "*" in ignored
    allowed = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert {*build.INPUTS} == {"Dockerfile", ".dockerignore", *allowed}
    file = (ROOT / "Dockerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", file, re.M) for word in line.split()}
    mounted = set(re.findall(r"--mount=type=bind,source=([^,]+)", file))
    assert {s for s in copied | mounted if not any(s == a or s.startswith(f"{a}/") for a in allowed)} == set()
