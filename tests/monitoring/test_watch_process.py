"""`trimtab watch` as a process: answers with metrics, judges, alarms, ends when asked."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
from tests.monitoring.stream import MODEL, Stream, draw

from trimtab.core.store import Store
from trimtab.monitoring import windows


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def metrics(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        return str(answer.read().decode())


def test_it_watches_and_ends_clean(store: Store, tmp_path: Path) -> None:
    stream = Stream(store, tmp_path)
    version, rng = stream.publish(), np.random.default_rng(0)
    port = free_port()
    environment = {**os.environ, "TRIMTAB_STORE": store.url, "TRIMTAB_HOME": str(tmp_path / "home")}
    process = subprocess.Popen(
        [sys.executable, "-m", "trimtab.cli.app", "watch", "--metrics-port", str(port), "--poll-seconds", "0.1",
         "--hook", f"http://127.0.0.1:{free_port()}", "--no-reports"],
        env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        text = _until(port, "trimtab_watch_verdict", process)
        for flip in (0.0, 0.4):
            stream.label(stream.answer(version, draw(rng, 100, flip=flip)))
        text = _until(port, 'layer="joined",model="stream"', process, "2.0")
        assert f'version="{version}"' in text
        last = windows.latest(store, MODEL, version)
        assert last is not None
        assert (last.window, last.verdict) == (2, "drift")
        # Evidently's process needs pandas; pyarrow alone would bring it into this one.
        assert "/pandas/" not in Path(f"/proc/{process.pid}/maps").read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "the hook does not answer" in log
    assert "Traceback" not in log


def _until(port: int, text: str, process: subprocess.Popen[str], value: str = "") -> str:
    """Ask for the metrics until a line holds the text (and ends in the value)."""
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        try:
            found = metrics(port)
        except (OSError, urllib.error.URLError):
            time.sleep(0.05)
            continue
        if any(text in line and line.endswith(value) for line in found.splitlines()):
            return found
        time.sleep(0.05)
    raise AssertionError(f"no {text} in the metrics")
