"""Which process is which, so that a later one can tell whether it has ended.

A process id alone comes back after a while, so a process is named by its id, its start time and the boot it belongs
to; the name is a segment of a store key.
"""

from __future__ import annotations

import functools
import os
import re
import threading
import time
from pathlib import Path

_LOCAL_ID = re.compile(r"local-([0-9a-f]{8})-(\d+)-(\d+)")


@functools.cache
def boot_id() -> str:
    """The machine's boot, 8 hex; zeros where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().replace("-", "")[:8]
    except OSError:
        return "0" * 8


def start_time(pid: int) -> int | None:
    """When a process started, in the system's ticks since boot; None when it has ended (a zombie has).

    Where there is no `/proc`, 0 for any process that exists.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return _exists(pid)
    fields = text.rpartition(")")[2].split()  # the command's name may hold spaces and brackets
    return None if fields[0] in "ZX" else int(fields[19])


def _exists(pid: int) -> int | None:
    if Path("/proc/self").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return 0


def local_id(pid: int | None = None) -> str:
    """The name of a running process (by default this one).

    >>> running(local_id())
    True
    """
    pid = os.getpid() if pid is None else pid
    return f"local-{boot_id()}-{pid}-{start_time(pid) or 0}"


def pid_of(name: str) -> int | None:
    """The process id in a name that `local_id` made; None for any other text.

    >>> pid_of("local-0a1b2c3d-4711-99"), pid_of("c0ffee00-1111")
    (4711, None)
    """
    match = _LOCAL_ID.fullmatch(name)
    return int(match[2]) if match else None


def running(name: str) -> bool:
    """Whether the process of that name still runs on this machine.

    >>> running("local-00000000-1-1")
    False
    """
    match = _LOCAL_ID.fullmatch(name)
    if match is None or match[1] != boot_id():
        return False
    return start_time(int(match[2])) == int(match[3])


def end_with(name: str, every: float = 0.5) -> None:
    """End this process at once when the process of that name ends.

    A stage whose run was killed would otherwise go on alone, beside the run that takes its place.
    """

    def watch() -> None:
        while running(name):
            time.sleep(every)
        os._exit(137)

    threading.Thread(target=watch, name="end-with", daemon=True).start()
