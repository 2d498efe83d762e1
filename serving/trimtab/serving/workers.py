"""Several workers behind one port: started, started again when they die, counted together, drained together.

This process answers no request. It holds what outlives a worker: the sockets, one for each worker, so that connections
which wait for a dead one are taken by the next; the metrics' port, with the numbers of all workers, those that ended
included; and the one shipper, which ships every worker's spool.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import orjson

from trimtab.core.errors import TrimtabError
from trimtab.serving.listening import listen, listen_shared, serve_metrics
from trimtab.serving.metrics import Metrics
from trimtab.serving.process import DRAIN, FORCE, START_SECONDS, Ready, leave_folder, own_folder, unshipped
from trimtab.serving.scrape import added, ended
from trimtab.serving.supervisor import Shipper
from trimtab.serving.worker import to_json

if TYPE_CHECKING:
    import socket

    from trimtab.core.settings import Settings
    from trimtab.serving.config import ServerConfig

logger = logging.getLogger(__name__)

# A worker that dies is started again after so long, doubling while it dies within a minute.
FIRST_SECONDS, LONGEST_SECONDS = 0.2, 30.0
STEADY_SECONDS = 60.0
# How much longer than the drain a worker may take to end, before it is killed.
GRACE_SECONDS = 10.0


class Worker:
    """One worker process and those started in its place.

    Args:
        config: the server's settings.
        number: which of the workers it is.
        bound: its socket.
        changed: called when it said what serves, or cannot go on.

    Attributes:
        ready: what it said that it serves and why not, once it did.
        fatal: what no other start would heal.
        dump: what the present process has counted; `past`: what those before it had.
    """

    def __init__(self, config: ServerConfig, number: int, bound: socket.socket, changed: Callable[[], None]) -> None:
        self._config, self._number, self._bound, self._changed = config, number, bound, changed
        self.ready: tuple[str, str] | None = None
        self.fatal: TrimtabError | None = None
        self.dump: dict[str, Any] | None = None
        self.past: dict[str, Any] | None = None
        self._starts = 0
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name=f"worker-{number}", daemon=True)

    def start(self) -> None:
        """Start the process and the thread that keeps it."""
        self._process = self._spawn()
        self._thread.start()

    def order(self, order: bytes) -> None:
        """Tell it to drain, or to end at once."""
        with self._lock:
            self._stopping.set()
            process = self._process
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):  # it has ended
                process.stdin.write(order)
                process.stdin.flush()

    def join(self, seconds: float) -> None:
        """Wait for its end, and make one where it takes too long."""
        self._thread.join(max(0.0, seconds))
        if self._thread.is_alive() and self._process is not None:
            logger.error("worker %d does not end and is killed; its log stays in the spool", self._number)
            self._process.kill()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether it is still being kept."""
        return self._thread.is_alive()

    def dumps(self) -> Iterator[dict[str, Any]]:
        """What it has counted: now, and before it was started again."""
        with self._lock:
            found = [self.dump, self.past]
        return (dump for dump in found if dump is not None)

    def _spawn(self) -> subprocess.Popen[bytes]:
        config = dataclasses.replace(self._config, name=f"{self._config.name}w{self._number}s{self._starts}")
        self._starts += 1
        descriptor = self._bound.fileno()
        return subprocess.Popen(
            [sys.executable, "-m", "trimtab.serving.worker", to_json(config, descriptor)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[descriptor],
        )

    def _keep(self) -> None:
        delay = FIRST_SECONDS
        while True:
            began = time.monotonic()
            process = self._process
            assert process is not None
            assert process.stdout is not None
            for line in process.stdout:
                self._take(line)
            process.stdout.close()
            code = process.wait()
            with self._lock:
                if self.dump is not None:
                    self.past = ended(self.dump) if self.past is None else added(self.past, ended(self.dump))
                    self.dump = None
            if self.fatal is not None:
                self._changed()
                return
            if self._stopping.is_set():
                return
            logger.error("worker %d ended with %d; it is started again", self._number, code)
            delay = FIRST_SECONDS if time.monotonic() - began > STEADY_SECONDS else delay
            if self._stopping.wait(delay):
                return
            delay = min(LONGEST_SECONDS, delay * 2)
            with self._lock:
                if self._stopping.is_set():
                    return
                self._process = self._spawn()

    def _take(self, line: bytes) -> None:
        try:
            said = orjson.loads(line)
        except orjson.JSONDecodeError:  # it was killed while it wrote
            return
        if "dump" in said:
            with self._lock:
                self.dump = said["dump"]
        elif "fatal" in said:
            self.fatal = TrimtabError(said["fatal"])
            self.fatal.exit_code = said["code"]
        else:
            self.ready = said["version"], said["why"]
            self._changed()


def run_workers(
    config: ServerConfig,
    settings: Settings,
    on_ready: Callable[[Ready], None] | None = None,
) -> None:
    """Keep `config.workers` workers until SIGTERM or SIGINT; arguments and errors as `process.run_server`."""
    sockets, guard = listen_shared(config.host, config.port, config.workers)
    metrics_socket = listen(config.host, config.metrics_port)
    ports = sockets[0].getsockname()[1], metrics_socket.getsockname()[1]
    # Signals and news of the workers are bytes in one pipe, so that a signal needs no lock.
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def tell(what: bytes) -> None:
        with contextlib.suppress(BlockingIOError):  # full: there is enough to read
            os.write(writer, what)

    metrics = Metrics(config.model)
    workers = [Worker(config, i, bound, lambda: tell(b"w")) for i, bound in enumerate(sockets)]
    owner = own_folder(config)
    shipper = Shipper(config, metrics, settings.log_level)
    close_metrics = serve_metrics(
        metrics_socket,
        config.model,
        lambda: [metrics.dump(), *(dump for worker in workers for dump in worker.dumps())],
    )
    before: dict[int, Any] = {}
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(ValueError):  # only the main thread gets signals
            before[number] = signal.signal(number, lambda *_: tell(b"s"))
    try:
        for worker in workers:
            worker.start()
        shipper.start()
        logger.info(
            "listening with %d workers",
            config.workers,
            extra={"host": config.host, "port": ports[0], "metrics_port": ports[1], "server": config.name},
        )
        _wait(workers, reader, lambda version, why: on_ready(Ready(*ports, version, why)) if on_ready else None)
        logger.info("draining; requests in flight are answered, then the log is written and shipped")
    finally:
        _drain(workers, reader, config.drain_seconds + GRACE_SECONDS)
        for bound in sockets:
            bound.close()
        guard.close()
        shipper.finish(lambda: unshipped(config))
        close_metrics()
        leave_folder(config)
        owner.close()
        for caught, handler in before.items():
            signal.signal(caught, handler)
        os.close(reader)
        os.close(writer)
    for worker in workers:
        if worker.fatal is not None:
            raise worker.fatal


def _wait(workers: list[Worker], reader: int, say: Callable[[str, str], None]) -> None:
    """Until a signal comes or a worker cannot go on; meanwhile say once what serves."""
    deadline: float | None = time.monotonic() + START_SECONDS
    while True:
        news = b""
        if select.select([reader], [], [], None if deadline is None else max(0.0, deadline - time.monotonic()))[0]:
            news = os.read(reader, 4096)
        if b"s" in news or any(worker.fatal is not None for worker in workers):
            return
        said = [worker.ready for worker in workers if worker.ready is not None]
        if deadline is not None and (len(said) == len(workers) or time.monotonic() >= deadline):
            deadline = None
            say(*max(said, default=("", "the server is starting")))


def _drain(workers: list[Worker], reader: int, seconds: float) -> None:
    """Let all workers finish what is in flight; a second signal lets them finish nothing."""
    for worker in workers:
        worker.order(DRAIN)
    deadline = time.monotonic() + seconds
    while any(worker.alive for worker in workers) and time.monotonic() < deadline:
        if select.select([reader], [], [], 0.05)[0] and b"s" in os.read(reader, 4096):
            for worker in workers:
                worker.order(FORCE)
    for worker in workers:
        worker.join(deadline - time.monotonic())
