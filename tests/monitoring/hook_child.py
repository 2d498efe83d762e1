"""Hooks to be killed: a process that has imported everything forks one for each line `STORE FOLDER` it reads.

It answers each line with the hook's process id, and once that is dead with how it ended. A hook says that it lives
by one byte for each look at the store or write to it, on the file descriptor named on the command line: whoever kills
it can count work done, which no machine does faster or slower than another.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from tests.monitoring.test_campaign import FOLLOWED
from tests.monitoring.world import MODEL, Dying, Place, Runs, World

from trimtab.core.store import open_store
from trimtab.monitoring.hook_service import HookService


class Telling(Dying):
    """A store that tells of each operation before it is done."""

    def __init__(self, url: str, told: int) -> None:
        super().__init__(open_store(url))
        self.told = told

    def tell(self) -> None:
        os.write(self.told, b".")

    def create(self, key: str, body: bytes) -> bool:
        self.tell()
        return super().create(key, body)

    def get(self, key: str) -> bytes:
        self.tell()
        return super().get(key)

    def list(self, prefix: str, after: str | None = None) -> Iterator[str]:
        self.tell()
        return super().list(prefix, after)


def work(url: str, folder: str, told: int) -> None:
    """Answer alerts and step until killed."""
    world = World(open_store(url), Path(folder), FOLLOWED)
    service = HookService(Telling(url, told), Runs(world), Place(), [MODEL], 0.001)
    while True:
        service.answer(MODEL, "drift")
        service.round()
        time.sleep(0.001)


def main(told: int) -> None:
    """Fork a hook a line."""
    for late in ("_strptime", "pandas", "pyarrow.pandas_compat", "trimtab.core.logsource"):
        importlib.import_module(late)  # what would otherwise be imported by each hook once more
    for line in sys.stdin:
        url, folder = line.split()
        pid = os.fork()
        if pid == 0:
            try:
                work(url, folder, told)
            except BaseException:  # noqa: BLE001 - the last frame of a process; whoever counts on it is told
                traceback.print_exc()
            os._exit(1)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
