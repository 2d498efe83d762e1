"""What `trimtab serve` says at its start and its end: what serves, or why nothing does, and where the token is."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.serving.bundles import Place, running, starting


def test_the_start_names_the_version_and_the_token_file_but_never_the_token(place: Place) -> None:
    version = place.serve("churn", "mixed")
    with running(place, "churn") as server:
        server.until(lambda: "feedback takes the token" in server.log.read_text())
        text = server.log.read_text()
        assert f"serving churn {version} on {server.url}" in text
        assert f"the token in {place.settings.token_file}" in text
        assert place.settings.token_file.read_text().strip() not in text
    assert "SIGTERM: draining" in server.log.read_text()


def test_a_model_that_the_store_does_not_know_is_waited_for_and_said_so(place: Place) -> None:
    place.serve("churn", "mixed")
    with running(place, "nope", wait=False) as server:
        server.until(lambda: "Ctrl-C drains" in server.log.read_text())
        assert "no version of nope yet: waiting for its first (the store has: churn)" in server.log.read_text()
        assert "serving nope" not in server.log.read_text()
        assert "waiting for its first" in server.get("/v2/health/ready")[1]["error"]
        place.say("nope", "published", place.publish("nope", "digits"))
        server.until(lambda: "nope has been promoted yet" in server.get("/v2/health/ready")[1]["error"])
        place.serve("nope", "digits")
        server.until_ready()


def test_a_version_refused_at_the_start_is_not_said_to_serve(place: Place) -> None:
    version = place.serve("churn", "mixed")
    key = f"models/churn/versions/{version}/model.onnx"
    place.store.put(key, place.store.get(key) + b"x")
    with running(place, "churn", wait=False) as server:
        server.until(lambda: "Ctrl-C drains" in server.log.read_text())
        (line,) = [line for line in server.log.read_text().splitlines() if "Ctrl-C drains" in line]
        assert line.startswith(f"no version serves: {version} was refused: ")
        assert "model.onnx" in line
        assert f"Listening on {server.url}" in line


@pytest.mark.campaign
def test_a_store_that_is_away_does_not_keep_the_start_silent(place: Place) -> None:
    place.environ |= {
        "TRIMTAB_STORE": "s3://bucket/x",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }
    with starting(place, "churn") as server:
        server.until(lambda: "Ctrl-C drains" in server.log.read_text())
        assert "no version serves: " in server.log.read_text()
        assert "Traceback" not in server.log.read_text()


def test_the_collector_is_off_for_the_start_alone() -> None:
    """Off from the command line on; on again once the model answers, or where Typer reads the words after all."""
    told = "import gc, sys; from trimtab.cli import app; assert not app._serve(sys.argv[1:]); print(gc.isenabled())"
    said = subprocess.run([sys.executable, "-c", told, "--no-such"], capture_output=True, text=True, check=True)
    assert said.stdout == "True\n"
    warm = """
import asyncio, gc, sys
from types import SimpleNamespace
from trimtab.serving import process

class App:
    async def warm_site(self):
        print(gc.isenabled())
        raise RuntimeError

follower = SimpleNamespace(looked=SimpleNamespace(is_set=lambda: True))
gc.disable()
try:
    asyncio.run(process._warm(App(), follower))
except RuntimeError:
    print(gc.isenabled(), sys.getswitchinterval() < 0.005)
"""
    assert subprocess.run([sys.executable, "-c", warm], capture_output=True, text=True, check=True).stdout == (
        "False\nTrue True\n"
    )
