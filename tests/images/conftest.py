"""The images, built once a session; and a tiny model, trained in containers and, beside it, on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.pipelines.conftest import QUICK, until
from tests.servers.docker import ROOT, Docker

from trimtab.core import runs, settings, signing
from trimtab.core.project import load_project
from trimtab.core.stage_records import stage_results
from trimtab.core.store import Store, open_store
from trimtab.pipelines.local import make_request

IMAGES = ("server", "monitor", "stage")
USER = 10001
# Flags of `docker run` as the manifests ask for them.
HARDENED = (
    *("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--memory=768m", "--pids-limit=128"),
    *("--tmpfs", "/tmp:size=64m"),
)


@dataclass(frozen=True)
class Trained:
    """One project, trained twice.

    Attributes:
        folder: where containers trained it: `store`, `signing.pem`, `trusted/`; the images' user may write there.
        store, key: the containers' store, and the run's key in it.
        here, here_key: the same of the run on this machine.
        said: what KFP's runner printed.
    """

    folder: Path
    store: Store
    key: str
    here: Store
    here_key: str
    said: str

    def results(self) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
        """The stages' results in containers, and on this machine."""
        return stage_results(self.store, self.key), stage_results(self.here, self.here_key)


def open_to_all(folder: Path) -> None:
    """Let the images' user write below a folder, as a volume of a pod with its fsGroup would."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o777 if path.is_dir() else path.stat().st_mode | 0o666)
    for path in folder.parents:
        if path.stat().st_uid == os.getuid() and path.stat().st_mode & 0o005 != 0o005 and path != Path("/tmp"):
            path.chmod(path.stat().st_mode | 0o055)


def healthy(docker: Docker, container: str, seconds: float = 60.0) -> None:
    """Wait until a container's health check passes; it may not end meanwhile."""

    def passes() -> bool:
        said = docker("inspect", "--format", "{{.State.Running}} {{.State.Health.Status}}", container).stdout
        assert said.startswith("true"), docker("logs", container).stderr
        return said.strip().endswith(" healthy")

    until(passes, seconds)


def containers_run(docker: Docker, image: str, key: str, folder: Path) -> str:
    """The pipeline of a project in containers; what the runner printed."""
    words = [sys.executable, "-m", "tests.images.in_containers", key, image, str(folder)]
    # KFP's client speaks to the daemon of DOCKER_HOST, with that client's own settings.
    done = subprocess.run(
        words, cwd=ROOT, env={**docker.environ, "NO_COLOR": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout


@pytest.fixture(scope="session")
def trained(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A project trained by KFP's DockerRunner in the stage image, and by `trimtab run` on this machine."""
    place = tmp_path_factory.mktemp("trained")
    folder = place / "inside"
    artifacts = place / f"{folder.name}-artifacts"
    for made in (folder / "store", artifacts):
        made.mkdir(parents=True)
    file = place / "project.yaml"
    file.write_text(QUICK)
    mine = settings.load({"TRIMTAB_HOME": str(folder), "TRIMTAB_TRUSTED_KEYS": str(folder / "trusted")})
    signing.ensure_keypair(mine)
    store = open_store((folder / "store").as_uri())
    key = runs.open_run(store, make_request(load_project(file), store))
    open_to_all(place)
    # A private key is its user's alone: a Secret's file has this owner on a cluster.
    (folder / "signing.pem").chmod(0o600)
    os.chown(folder / "signing.pem", USER, USER)
    said = containers_run(docker, docker.build("stage"), key, folder)
    here = (place / "here").as_uri()
    command = [sys.executable, "-m", "trimtab.cli.app", "run", str(file), "--json"]
    environment = {**os.environ, "TRIMTAB_STORE": here, "TRIMTAB_HOME": str(place / "home")}
    local = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert local.returncode == 0, local.stderr
    return Trained(folder, store, key, open_store(here), str(json.loads(local.stdout)["key"]), said)
