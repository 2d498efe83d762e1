"""The images at work with a read-only root, no capability, no new privileges, and limits on memory and processes."""

from __future__ import annotations

import json
import shutil
import urllib.request
from pathlib import Path

import pytest
import yaml
from tests.images.conftest import HARDENED, IMAGES, Trained, healthy, open_to_all
from tests.pipelines.conftest import QUICK, until
from tests.servers.docker import Docker
from tests.servers.minio import free_port

from trimtab.core import ledger
from trimtab.core.store import open_store
from trimtab.monitoring import controller

pytestmark = pytest.mark.images

WRITES = "for place in / /opt /usr /etc /home /var; do touch $place/x 2>/dev/null && echo $place; done; touch /tmp/x"


@pytest.mark.parametrize("image", IMAGES)
def test_nothing_but_tmp_can_be_written(docker: Docker, image: str) -> None:
    done = docker.run(docker.build(image), "-c", WRITES, options=("--entrypoint=sh", *HARDENED))
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("greedy", "code", "said"),
    [
        ("x = bytearray(2**30)", 137, ""),
        ("import os, signal\nwhile True: os.fork() or signal.pause()", 1, "BlockingIOError"),
    ],
    ids=["memory", "processes"],
)
def test_the_limits_hold(docker: Docker, greedy: str, code: int, said: str) -> None:
    options = ("--entrypoint=python3", *HARDENED)
    done = docker.run(docker.build("server"), "-c", greedy, options=options, check=False)
    assert done.returncode == code, done.stderr
    assert said in done.stderr


def test_the_server_serves_what_was_trained_in_containers(docker: Docker, trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(trained.folder / "store", tmp_path / "store")
    shutil.copytree(trained.folder / "trusted", tmp_path / "trusted")
    (tmp_path / "spool").mkdir()
    store = open_store((tmp_path / "store").as_uri())
    controller.append_without_evidence(store, "quick")  # as a command does where no hook answers
    assert ledger.state(store, "quick").champion
    open_to_all(tmp_path)
    port, metrics = free_port(), free_port()
    options = (
        *HARDENED,
        *("--network=host", "-v", f"{tmp_path}/store:/store", "-v", f"{tmp_path}/spool:/spool"),
        *("-v", f"{tmp_path}/trusted:/trusted:ro"),
        *("-e", "TRIMTAB_STORE=file:///store", "-e", "TRIMTAB_SPOOL=/spool"),
        *("-e", "TRIMTAB_TRUSTED_KEYS=/trusted"),
        *("--health-cmd", f"python3 /usr/share/trimtab/health.py {port}/v2/health/ready"),
        *("--health-interval=1s", "--health-start-period=0s"),
    )
    words = ("quick", "--port", str(port), "--metrics-port", str(metrics), "--flush-seconds", "0.2")
    with docker.container(docker.build("server"), *words, options=options) as container:
        healthy(docker, container)
        expected = json.loads(next((tmp_path / "store").rglob("expected.json")).read_text())
        assert expected
        body = json.dumps({"instances": [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/models/quick:predict",
            data=body,
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            predictions = json.load(answer)["predictions"]
        assert len(predictions) == 2
        assert predictions[0] != predictions[1]
        until(lambda: list((tmp_path / "store" / "predictions").rglob("*.parquet")), 30)
        # It ends when told to, with what it answered on disk.
        docker("stop", "--time", "30", container)
        state = json.loads(docker("inspect", "--format", "{{json .State}}", container).stdout)
        assert (state["ExitCode"], state["OOMKilled"]) == (0, False), docker("logs", container).stderr


def test_the_monitor_has_every_command_it_needs(docker: Docker) -> None:
    for command in ((), ("watch",), ("hook",), ("doctor",), ("status",), ("rollback",)):
        assert "Usage:" in docker.run(docker.build("monitor"), *command, "--help", options=HARDENED).stdout


def test_the_monitor_watches_and_answers_its_health_check(docker: Docker, trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(trained.folder / "store", tmp_path / "store")
    open_to_all(tmp_path)
    port = free_port()
    options = (
        *HARDENED,
        *("--network=host", "-v", f"{tmp_path}/store:/store", "-e", "TRIMTAB_STORE=file:///store"),
        *("--health-cmd", f"python3 /usr/share/trimtab/health.py {port}/metrics 1/metrics"),
        *("--health-interval=1s", "--health-start-period=0s"),
    )
    words = ("watch", "quick", "--metrics-port", str(port))
    with docker.container(docker.build("monitor"), *words, options=options) as container:
        healthy(docker, container, 90)


def test_the_doctor_runs_in_it(docker: Docker) -> None:
    done = docker.run(docker.build("monitor"), "doctor", "--json", options=HARDENED, check=False)
    assert done.returncode in (0, 1, 2), done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(done.stdout)


def test_the_stage_image_runs_a_compiled_component_by_its_own_command(docker: Docker, tmp_path: Path) -> None:
    from trimtab.core.project import parse_project
    from trimtab.pipelines.compile import compile_project

    out = tmp_path / "quick.yaml"
    compile_project(parse_project(QUICK, "quick.yaml"), out)
    spec = next(yaml.safe_load_all(out.read_text()))
    container = spec["deploymentSpec"]["executors"]["exec-ingest"]["container"]
    shown = docker.run(
        docker.build("stage"), *container["command"], "--help", options=HARDENED, check=False, seconds=60
    )
    # KFP's wrapper wrote the component below /tmp, and its executor asks for the input that a pod is given.
    assert "--executor_input" in shown.stdout + shown.stderr


def test_every_stage_can_be_imported_with_what_the_image_holds(docker: Docker) -> None:
    stages = ("define", "ingest", "validate", "prepare", "baseline", "train", "evaluate", "select")
    code = "; ".join(f"import trimtab.{stage}.stage" for stage in (*stages, "export", "publish", "deploy"))
    docker.run(docker.build("stage"), "python3", "-c", code, options=HARDENED)
    told = docker.run(docker.build("stage"), "python3", "-m", "trimtab.cli.app", "--version", options=HARDENED)
    assert told.stdout.startswith("trimtab ")


def test_a_client_of_the_same_machine_builds_the_same_image_again(docker: Docker) -> None:
    assert docker.build("server", again=True) == docker.build("server")
