"""Keeps the shipper process alive beside the server, and counts what it reports."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from trimtab.serving.config import ServerConfig
    from trimtab.serving.metrics import Metrics

logger = logging.getLogger(__name__)

# A sibling that ends is started again after so long, doubling up to half a minute until it reports something.
FIRST_SECONDS = 0.5
# Arrow's own allocator keeps some 15 MB more here, and saves no time.
SHIPPER_ENVIRON = {"ARROW_DEFAULT_MEMORY_POOL": "system"}


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
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name="shipper", daemon=True)

    @property
    def pid(self) -> int | None:
        """The sibling's process id, while it runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start the thread that keeps the sibling running; nothing happens where it does."""
        if self._thread.ident is None:
            self._thread.start()

    def finish(self, unshipped: Callable[[], bool]) -> None:
        """Tell the sibling that nothing more is written; it ships what is left, for `drain_seconds` at most.

        Args:
            unshipped: whether something is left. A sibling that has died, or was never started, gets a successor.
        """
        with self._lock:
            self._stopping.set()
            process = self._process
        failed = process is None or (self._end(process) and process.returncode != 0)
        if self._thread.ident is not None:
            self._thread.join(5)
        if failed and unshipped():
            with contextlib.suppress(OSError):
                last = self._spawn()
                counting = threading.Thread(target=self._read, args=(last,), daemon=True)
                counting.start()
                self._end(last)
                counting.join(5)

    def _end(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait for its end; False where one had to be made."""
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(self._config.drain_seconds + 5)
        except subprocess.TimeoutExpired:
            logger.error("the shipper does not end; what it has not shipped stays in the spool")
            process.kill()
            process.wait()
            return False
        return True

    def _spawn(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "trimtab.serving.shipper", self._argument],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**SHIPPER_ENVIRON, **os.environ},
            process_group=0,  # what is sent to the server's group is not for it: the end of its input ends it
        )

    def _keep(self) -> None:
        """Start it, and start it again whenever it ends."""
        delay = FIRST_SECONDS
        while True:
            try:
                with self._lock:
                    if self._stopping.is_set():
                        return
                    process = self._process = self._spawn()
            except OSError as error:
                logger.error("the shipper cannot be started: %s; it is tried again", error)
            else:
                if self._read(process):
                    delay = FIRST_SECONDS
                code = process.wait()
                if self._stopping.is_set():
                    return
                logger.error("the shipper ended with %d; it is started again", code)
            if self._stopping.wait(delay):
                return
            delay = min(30.0, delay * 2)

    def _read(self, process: subprocess.Popen[bytes]) -> bool:
        """Count what it reports until it ends; returns whether it reported anything."""
        assert process.stdout is not None
        said = False
        for line in process.stdout:
            self._count(line)
            said = True
        process.stdout.close()
        return said

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
