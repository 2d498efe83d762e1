"""A program of the control plane: started with a log, awaited, ended; it never outlives the tests."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.servers.minio import die_with_parent


class Process:
    """A running program with its log.

    Args:
        name: of the log file.
        command: the program and its arguments.
        folder: where the log goes, and the working directory.
        environ: the whole environment besides PATH and HOME.
    """

    def __init__(self, name: str, command: Sequence[str], folder: Path, environ: Mapping[str, str] | None = None):
        self.name, self.log = name, folder / f"{name}.log"
        folder.mkdir(parents=True, exist_ok=True)
        env = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder), **(environ or {})}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def stop(self, seconds: float = 10.0) -> None:
        """End it: SIGTERM, and SIGKILL where that is not enough."""
        if self.running:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait(10)

    def said(self, lines: int = 20) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def wait_until(
    look: Callable[[], object], seconds: float, what: str, needs: Sequence[Process] = (), every: float = 0.1
) -> None:
    """Wait until `look` gives something true.

    Raises:
        RuntimeError: it did not within `seconds`, or a process that it needs has ended; with the end of its log.
    """
    deadline = time.monotonic() + seconds
    while not look():
        ended = [p for p in needs if not p.running]
        if ended:
            raise RuntimeError(f"{ended[0].name} ended while {what} was awaited:\n{ended[0].said()}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not come within {seconds:g} s\n" + "\n".join(p.said(8) for p in needs))
        time.sleep(every)
