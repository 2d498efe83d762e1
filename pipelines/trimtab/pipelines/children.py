"""The child process that runs one pipeline: started, found again, ended.

It leads a process group of its own, so that ending it takes the running stage along, and its output goes to a log
file in the run's folder.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.core.processes import local_id, pid_of, running
from trimtab.pipelines.work import run_folder

if TYPE_CHECKING:
    from trimtab.core.store import Store

_GRACE_SECONDS = 3.0


class Child:
    """A child process that runs one run; known by the name that it claims the run with.

    Attributes:
        name: its process's name (`processes.local_id`).
        log: its output.
        failure: where it leaves the facts of an error that it could not put into the run record.
    """

    def __init__(self, name: str, folder: Path, process: subprocess.Popen[bytes] | None = None) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.failure = folder / f"{name}.error.json"
        self._process = process

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        if self._process is not None:
            return self._process.poll() is None
        return running(self.name)

    def end(self) -> None:
        """End it and its stage: told first, killed after a grace."""
        end_group(self.name)
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_SECONDS)


def start(store: Store, key: str, work: Path, *, attached: bool) -> Child:
    """Start a child for a run.

    Args:
        store: the store that holds the run's request.
        key: the run.
        work: the local work folder.
        attached: it ends when this process does.
    """
    folder = run_folder(work, key)
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "trimtab.pipelines.local", "--key", key, "--store", store.url]
    command += ["--work", str(work), "--parent", str(os.getpid()) if attached else ""]
    pending = folder / f"starting-{os.getpid()}-{time.monotonic_ns()}.log"
    with pending.open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    child = Child(local_id(process.pid), folder, process)
    # Reaped as soon as it ends, whether or not anybody asks how it is: no zombie stays behind.
    threading.Thread(target=process.wait, name="reap", daemon=True).start()
    pending.replace(child.log)
    launched = folder / "launched.json"
    partial = folder / f"launched-{os.getpid()}.part"
    partial.write_text(json.dumps({"name": child.name}))
    partial.replace(launched)
    return child


def find(key: str, work: Path) -> Child | None:
    """The child that was started last for a run on this machine; None where none was."""
    folder = run_folder(work, key)
    try:
        name = str(json.loads((folder / "launched.json").read_text())["name"])
    except (OSError, ValueError, KeyError):
        return None
    return Child(name, folder)


def end_group(name: str) -> None:
    """End a process that leads a group, with its group; nothing happens where it has ended."""
    pid = pid_of(name)
    if pid is None or not running(name):
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGTERM)
    until = time.monotonic() + _GRACE_SECONDS
    while running(name) and time.monotonic() < until:
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def end_with_parent(parent: int) -> None:
    """Be told to end when the parent dies, however it dies (Linux; elsewhere the parent must end us itself)."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGTERM)
        if os.getppid() != parent:  # it died before we asked
            os.kill(os.getpid(), signal.SIGTERM)
