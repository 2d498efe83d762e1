"""The demo's child processes: started, waited for until they answer, and always ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from trimtab.core.errors import RunError

# How long a process may take to answer for the first time, and to end when asked, seconds.
START_SECONDS = 60.0
STOP_SECONDS = 10.0


def free_ports(count: int) -> list[int]:
    """Ports on the loopback interface that are free now, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [int(s.getsockname()[1]) for s in sockets]
    finally:
        for s in sockets:
            s.close()


def tail(log: Path, lines: int = 5) -> str:
    """The last lines of a log, for an error's sentence."""
    with contextlib.suppress(OSError):
        return " | ".join(log.read_text(errors="replace").splitlines()[-lines:])
    return ""


class Processes:
    """A set of processes, most of them `trimtab …`, each the head of its own process group.

    Args:
        environment: what they run with.
        logs: folder that takes each one's output as `<name>.log`.
    """

    def __init__(self, environment: Mapping[str, str], logs: Path) -> None:
        self.environment = dict(environment)
        self.logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._files: list[BinaryIO] = []

    def start(self, name: str, arguments: Sequence[str]) -> None:
        """Start `trimtab <arguments>`."""
        self.launch(name, [sys.executable, "-m", "trimtab.cli.app", *arguments])

    def launch(self, name: str, command: Sequence[str]) -> None:
        """Start another program."""
        file = (self.logs / f"{name}.log").open("ab")
        self._files.append(file)
        self._running[name] = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=self.environment,
            start_new_session=True,
        )

    def check(self) -> None:
        """Raise if one of them ended by itself.

        Raises:
            RunError: with the process's name and the end of its log.
        """
        for name, process in self._running.items():
            if process.poll() is not None:
                log = self.logs / f"{name}.log"
                raise RunError(
                    f"the {name} process ended with {process.returncode}",
                    object=str(log),
                    got=tail(log),
                    hint="read its log",
                )

    def wait_until_answers(self, name: str, url: str) -> None:
        """Wait until a URL answers with 200.

        Raises:
            RunError: it does not, or a process ended.
        """
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            self.check()
            with contextlib.suppress(OSError, urllib.error.URLError), urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - loopback
                if answer.status == 200:
                    return
            time.sleep(0.05)
        raise RunError(
            f"the {name} process does not answer after {START_SECONDS:.0f} s",
            object=url,
            hint=f"read {self.logs / name}.log",
        )

    def wait(self, name: str) -> int:
        """Wait for one to end by itself; its exit code."""
        code = self._running[name].wait()
        del self._running[name]
        return code

    def stop(self) -> None:
        """End all of them: asked first, the hook before the others so that it starts nothing more; then killed."""
        order = sorted(self._running, key=lambda name: name != "hook")
        for name in order:
            _signal(self._running[name], signal.SIGTERM)
        end = time.monotonic() + STOP_SECONDS
        for name in order:
            process = self._running.pop(name)
            try:
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                _signal(process, signal.SIGKILL)
                process.wait()
            _signal_group(process.pid, signal.SIGKILL)
        for file in self._files:
            file.close()
        self._files.clear()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(number)


def _signal_group(pid: int, number: signal.Signals) -> None:
    """What is left of a group whose head has ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


@contextlib.contextmanager
def interrupts_as_exceptions() -> Iterator[None]:
    """SIGTERM and a closed terminal raise KeyboardInterrupt as Ctrl-C does, so that all clean up in the same way."""

    def raise_interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = {n: signal.signal(n, raise_interrupt) for n in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)


@contextlib.contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP do nothing while the cleaning up is under way."""
    before = {n: signal.signal(n, signal.SIG_IGN) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)
