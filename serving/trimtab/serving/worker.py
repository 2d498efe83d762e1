"""One of several workers: a process that answers requests, kept by `workers.run_workers`.

Started as `python -m trimtab.serving.worker <JSON>` with its socket as an inherited descriptor. Standard input brings
orders (drain, end at once); its end means that the keeper is gone, and drains too. On standard output the worker
reports, a JSON line at a time: what serves, what it has counted, and what it died of.
"""

from __future__ import annotations

import dataclasses
import os
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from trimtab.core.errors import TrimtabError
from trimtab.serving.config import ServerConfig
from trimtab.serving.metrics import Metrics

if TYPE_CHECKING:
    from trimtab.serving.traffic import Traffic

# How often the keeper learns what was counted: what a killed worker counted since the last time is not exported.
REPORT_SECONDS = 0.1


def to_json(config: ServerConfig, descriptor: int) -> str:
    """What a worker is told at its start; nothing of it is secret, since everyone may read a command line."""
    fields = {name: str(value) if isinstance(value, Path) else value for name, value in vars(config).items()}
    return orjson.dumps({"config": fields, "socket": descriptor}).decode()


def from_json(text: str) -> tuple[ServerConfig, int]:
    """The same, read again."""
    told = orjson.loads(text)
    paths = {field.name for field in dataclasses.fields(ServerConfig) if field.type == "Path"}
    fields: dict[str, Any] = {name: Path(value) if name in paths else value for name, value in told["config"].items()}
    return ServerConfig(**fields), int(told["socket"])


class Reporter:
    """Tells the keeper what was counted, whenever that changed.

    Args:
        metrics: what is counted.
        descriptor: where it is written.
    """

    def __init__(self, metrics: Metrics, descriptor: int) -> None:
        self._metrics, self._descriptor = metrics, descriptor
        self._last: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="report", daemon=True)

    def start(self) -> None:
        """Start reporting."""
        self._thread.start()

    def finish(self) -> None:
        """Report what was counted to the end."""
        self._ending.set()
        self._thread.join()

    def say(self, **facts: object) -> None:
        """Write one line."""
        line = memoryview(orjson.dumps(facts) + b"\n")
        with self._lock:
            try:
                while line:
                    line = line[os.write(self._descriptor, line) :]
            except OSError:  # the keeper is gone; the end of standard input says so too
                self._ending.set()

    def _work(self) -> None:
        while True:
            last = self._ending.wait(REPORT_SECONDS)
            dump = self._metrics.dump()
            if dump != self._last:
                self._last = dump
                self.say(dump=dump)
            if last:
                return


def run(text: str, report_to: int) -> int:
    """Answer until told to stop; returns the exit code."""
    from trimtab.core import logs, settings
    from trimtab.serving.process import answer, leave_folder, own_folder

    config, descriptor = from_json(text)
    read = settings.load()
    logs.setup(read.log_level, process="server", model=config.model, worker=config.name)
    metrics = Metrics(config.model)
    reporter = Reporter(metrics, report_to)

    def ready(traffic: Traffic) -> None:
        reporter.say(version=traffic.champion.version if traffic.champion else "", why=traffic.why)

    reporter.start()
    try:
        with own_folder(config):
            answer(config, read, socket.socket(fileno=descriptor), metrics, ready, orders=0)
            leave_folder(config)
    except TrimtabError as error:
        reporter.say(fatal=str(error), code=error.exit_code)
        return error.exit_code
    finally:
        reporter.finish()
    return 0


def main() -> None:
    """Entry of the process."""
    report_to = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints is no report
    sys.exit(run(sys.argv[1], report_to))


if __name__ == "__main__":
    main()
