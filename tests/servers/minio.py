"""A real MinIO on a free loopback port, gone when the tests are."""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

BINARY = Path(__file__).resolve().parents[2] / ".servers" / "minio"
_READY_SECONDS = 60.0


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class MinioServer:
    """A MinIO process over a folder.

    Attributes:
        endpoint: its URL.
        access_key, secret_key: its root user.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "minio.log"
        self.access_key, self.secret_key = "tester", secrets.token_hex(16)
        self.endpoint = ""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, port: int | None = None) -> None:
        """Start it and wait until it is ready; another port is tried where one was taken in the meantime."""
        for _ in range(3):
            self._launch(port or free_port())
            if self._wait():
                return
            self.stop()
        raise RuntimeError(f"MinIO did not become ready:\n{self._log.read_text()[-2000:]}")

    def stop(self, hard: bool = False) -> None:
        """End it, by SIGKILL when `hard`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL if hard else signal.SIGTERM)
            self._process.wait(20)
            self._process = None

    def _launch(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        (self._folder / "data").mkdir(parents=True, exist_ok=True)
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self._folder),
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
            "MINIO_CI_CD": "1",
        }
        command = [str(BINARY), "server", "--quiet", "--address", f"127.0.0.1:{port}", str(self._folder / "data")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, preexec_fn=die_with_parent
            )

    def _wait(self) -> bool:
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline and self._process is not None and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.endpoint}/minio/health/ready", timeout=2):
                    return True
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        return False


def die_with_parent() -> None:
    """No server outlives tests that were killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
