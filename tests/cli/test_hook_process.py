"""`trimtab hook` as a process: answers, counts, ends as it should."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from tests.monitoring.world import MODEL, START, World

from trimtab.core import settings
from trimtab.core.store import Store
from trimtab.core.tokens import ensure_token


@dataclass
class Hook:
    process: subprocess.Popen[str]
    url: str
    metrics: str
    token: str


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture
def hook(store: Store, tmp_path: Path) -> Iterator[Hook]:
    world = World(store, tmp_path, {"campaign": {"paused": True}})
    world.verdict(world.champion(), 1, start=START)
    environment = {**os.environ, "TRIMTAB_STORE": store.url}
    port, metrics = free_port(), free_port()
    command = ["hook", "--port", str(port), "--metrics-port", str(metrics), "--poll-seconds", "0.1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "trimtab.cli.app", *command, "--server-metrics", ""],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 120
        while time.monotonic() < end and process.poll() is None:
            try:
                if httpx.get(f"{url}/healthz").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.05)
        yield Hook(process, url, f"http://127.0.0.1:{metrics}/metrics", ensure_token(settings.load()))
    finally:
        process.kill()
        process.communicate()


def test_it_answers_counts_and_ends_on_sigterm(hook: Hook) -> None:
    body = {"version": "4", "alerts": [{"status": "firing", "labels": {"model": MODEL}}]}
    assert httpx.post(f"{hook.url}/alerts", json=body).status_code == 401
    answer = httpx.post(f"{hook.url}/alerts", json=body, headers={"Authorization": f"Bearer {hook.token}"})
    assert (answer.status_code, answer.json()) == (202, {"reason": "the project file pauses campaigns"})
    text = httpx.get(hook.metrics).text
    assert f'trimtab_campaign_state{{model="{MODEL}",state="paused"}} 1.0' in text
    assert "trimtab_store_errors_total" in text
    hook.process.send_signal(signal.SIGTERM)
    said = hook.process.communicate(timeout=120)[1]
    assert hook.process.returncode == 0
    assert "Traceback" not in said


def test_ctrl_c_ends_it_without_a_traceback(hook: Hook) -> None:
    hook.process.send_signal(signal.SIGINT)
    said = hook.process.communicate(timeout=120)[1]
    assert hook.process.returncode in {0, 130}
    assert "Traceback" not in said
