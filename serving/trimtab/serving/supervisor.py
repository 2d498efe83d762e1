"""Keeps the shipper process alive beside the server, and counts what it reports."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from trimtab.serving.config import ServerConfig
    from trimtab.serving.metrics import Metrics

logger = logging.getLogger(__name__)


class Shipper:
    """The sibling process that ships the spool: started, restarted when it dies, ended with the server.

    Args:
        config: the server's settings.
        metrics: counts rows and labels that reached the store.
        log_level: of the sibling's own log lines.
    """

    def __init__(self, config: ServerConfig, metrics: Metrics, log_level: str = "INFO") -> None:
        self._config, self._metrics = config, metrics
        self._argument = orjson.dumps(
            {
                "home": str(config.home),
                "name": config.name,
                "model": config.model,
                "store": config.store,
                "poll": min(1.0, max(0.05, config.flush_seconds / 4)),
                "drain": config.drain_seconds,
                "log_level": log_level,
            }
        ).decode()
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._watch, name="shipper", daemon=True)

    @property
    def pid(self) -> int | None:
        """The sibling's process id, while it runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start the sibling and the thread that watches it; nothing happens where they are."""
        if self._process is not None:
            return
        self._process = self._spawn()
        self._thread.start()

    def finish(self) -> None:
        """Tell the sibling that nothing more is written; it ships what is left, for `drain_seconds` at most."""
        self._stopping.set()
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(self._config.drain_seconds + 5)
        except subprocess.TimeoutExpired:
            logger.error("the shipper does not end; what it has not shipped stays in the spool")
            process.kill()
            process.wait()
        self._thread.join(5)

    def _spawn(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "trimtab.serving.shipper", self._argument],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def _watch(self) -> None:
        delay = 0.5
        while True:
            process = self._process
            assert process is not None
            assert process.stdout is not None
            for line in process.stdout:
                self._count(line)
                delay = 0.5
            process.stdout.close()
            code = process.wait()
            if self._stopping.is_set():
                return
            logger.error("the shipper ended with %d; it is started again", code)
            if self._stopping.wait(delay):
                return
            delay = min(30.0, delay * 2)
            self._process = self._spawn()

    def _count(self, line: bytes) -> None:
        try:
            report = orjson.loads(line)
        except orjson.JSONDecodeError:
            return
        self._metrics.log_written(report["written"])
        self._metrics.log_dropped(report["dropped"])
        self._metrics.labels("written", report["labels"])
        self._metrics.labels("dropped", report["labels_dropped"])
        for operation in report["store_errors"]:
            self._metrics.store_error(operation)
