"""Real processes that are killed with signal 9, forked from one that has imported everything.

Each child says by one byte for each look at the store, or write to it, that it has come so far. So the moment at
which it is killed is drawn in work done, which is the same on a fast machine, a slow one and a busy one.

The forking process reads lines `<kind> <store> <folder>`, and answers each with the child's process id.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.monitoring.world import Dying

from trimtab.core.store import open_store

# What the children would import on their way, each of them once more.
LATE = ("_strptime", "pandas", "pyarrow.pandas_compat", "scipy.stats", "trimtab.core.logsource")
KINDS = {"hook": "tests.monitoring.hook_child", "watch": "tests.monitoring.watch_child"}


class Telling(Dying):
    """A store that tells of each operation before it is done."""

    def __init__(self, url: str, told: int) -> None:
        super().__init__(open_store(url))
        self.told = told

    def create(self, key: str, body: bytes) -> bool:
        os.write(self.told, b".")
        return super().create(key, body)

    def get(self, key: str) -> bytes:
        os.write(self.told, b".")
        return super().get(key)

    def list(self, prefix: str, after: str | None = None) -> Iterator[str]:
        os.write(self.told, b".")
        return super().list(prefix, after)


class Nursery:
    """The forking process, as a test sees it."""

    def __init__(self, root: Path) -> None:
        self.told, theirs = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.monitoring.nursery", str(theirs)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])},
            cwd=root,
            text=True,
            pass_fds=[theirs],
        )
        os.close(theirs)

    def start(self, kind: str, store: str, folder: Path) -> int:
        """Let a child work on a store; its process id."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{kind} {store} {folder}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def kill_after(self, operations: int, kind: str, store: str, folder: Path, children: int = 1) -> None:
        """Children work side by side, and are killed at what follows so many operations on the store."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        pids = [self.start(kind, store, folder) for _ in range(children)]
        while operations > 0:
            operations -= len(os.read(self.told, operations))
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.process.stdin.write("reap\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline().split() == ["-9"] * children, "a child had ended by itself"
        # What they still said before they died is not of the next one.
        os.set_blocking(self.told, False)
        with contextlib.suppress(BlockingIOError):
            while os.read(self.told, 65536):
                pass
        os.set_blocking(self.told, True)

    def close(self) -> None:
        """End the forking process."""
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        self.process.wait()
        os.close(self.told)


def main(told: int) -> None:
    """Fork a child a line; `reap` answers with how those that were forked since have ended."""
    works: dict[str, Callable[[str, str, int], None]] = {k: importlib.import_module(m).work for k, m in KINDS.items()}
    for late in LATE:
        importlib.import_module(late)
    born: list[int] = []
    for line in sys.stdin:
        if line == "reap\n":
            ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in born]
            sys.stdout.write(" ".join(map(str, ends)) + "\n")
            born.clear()
        else:
            kind, url, folder = line.split()
            pid = os.fork()
            if pid == 0:
                try:
                    while True:
                        works[kind](url, folder, told)
                        time.sleep(0.001)
                except BaseException:  # noqa: BLE001 - the last frame of a process; whoever counts on it is told
                    traceback.print_exc()
                    os.write(told, b"." * 1000)
                os._exit(1)
            born.append(pid)
            sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
