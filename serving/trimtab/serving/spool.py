"""The spool: segments on disk between the request path and the store.

Layout below `<spool>/<model>/`, one folder for each start of a server:

    <server>/owner.lock           held (flock) by the server while it lives
    <server>/ship.lock            held by the process that ships this folder
    <server>/tally                how many rows were answered, and how many of them are on disk (`tally`)
    <server>/log/00000000.open    being written; frames of answered requests (`frames`)
    <server>/log/00000000.done    finished: the shipper takes it, and deletes it once the store has its rows
    <server>/labels/…             the same for feedback, lines of JSON, each on disk before its call is answered
    <server>/schemas/<version>.json
    bad/                          what could not be converted, kept for a person to look at
    lost/<server>.json            rows that a killed server had in memory, until a living one has counted them

What a dead server left open counts as finished: what is whole is taken; a torn end was still in memory as well.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from trimtab.serving.tally import Tally

OPEN, DONE = ".open", ".done"
# A segment of so many bytes is finished, however few its rows: the shipper holds one in memory.
SEGMENT_BYTES = 16_000_000
# What the system writes at once is in so many parts at most.
_MOST_PARTS = 1024


class SegmentWriter:
    """Appends frames or lines to numbered segments; a segment is finished after some seconds, rows or bytes.

    Args:
        folder: `<server>/log` or `<server>/labels`.
        seconds, rows: when a segment is finished, whichever comes first.
        sync: flush each append to the disk itself, so that it outlives a power cut.
        tally: told of each write before it begins.
    """

    def __init__(
        self, folder: Path, seconds: float, rows: int, *, sync: bool = False, tally: Tally | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._seconds, self._limit, self._sync, self._tally = seconds, rows, sync, tally
        self._lock = threading.Lock()
        self._number = 0
        self._file: IO[bytes] | None = None
        self._rows = self._size = 0
        self._since = 0.0

    def append(self, parts: Sequence[bytes | memoryview], rows: int) -> None:
        """Write whole frames, or lines that each end in a newline, with so many rows in all.

        Args:
            parts: their bytes, one after another.
            rows: how many rows they hold.

        Raises:
            OSError: the disk did not take them; nothing is left half-written in the segment.
        """
        with self._lock:
            if self._file is None:
                self._file = (self.folder / f"{self._number:08d}{OPEN}").open("ab", buffering=0)
                self._since, self._size = time.monotonic(), self._file.tell()
            start, size = self._size, sum(map(len, parts))
            if self._tally is not None:
                self._tally.begin(self._number, start, rows)
            try:
                for at in range(0, len(parts), _MOST_PARTS):
                    _write_whole(self._file, parts[at : at + _MOST_PARTS])
                if self._sync:
                    os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(start)
                raise
            self._rows += rows
            self._size += size
            if self._rows >= self._limit or self._size >= SEGMENT_BYTES:
                self._finish()

    def tick(self) -> None:
        """Finish the segment if it is old enough."""
        with self._lock:
            if self._file is not None and time.monotonic() - self._since >= self._seconds:
                self._finish()

    def finish(self) -> None:
        """Finish the open segment, so that it can be shipped."""
        with self._lock:
            self._finish()

    def _finish(self) -> None:
        if self._file is None:
            return
        self._file.close()
        opened = self.folder / f"{self._number:08d}{OPEN}"
        opened.replace(opened.with_suffix(DONE))
        self._file, self._rows = None, 0
        self._number += 1


def _write_whole(file: IO[bytes], parts: Sequence[bytes | memoryview]) -> None:
    """Write parts as they lie, without putting them together before."""
    left = sum(map(len, parts)) - os.writev(file.fileno(), parts)
    if left:  # the disk took a part
        body = memoryview(b"".join(parts))[-left:]
        while body:
            body = body[file.write(body) :]


def finished(folder: Path, *, abandoned: bool = False) -> list[Path]:
    """The segments that can be shipped, oldest first; `abandoned`: their writer is dead, open ones count too."""
    suffixes = {DONE, OPEN} if abandoned else {DONE}
    with contextlib.suppress(FileNotFoundError):
        return sorted(path for path in folder.iterdir() if path.suffix in suffixes)
    return []


def read_lines(path: Path) -> tuple[list[bytes], bool]:
    """The whole lines of a segment of labels, and whether its last one was torn."""
    body = path.read_bytes()
    whole, _, torn = body.rpartition(b"\n")
    return (whole.split(b"\n") if whole else []), bool(torn)


@contextlib.contextmanager
def held(path: Path) -> Iterator[bool]:
    """Try to hold a lock file for as long as the block runs; False where another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def size_of(home: Path) -> int:
    """Bytes of all segments of all servers below a model's spool."""
    total = 0
    for pattern in ("*/log/*", "*/labels/*"):
        for path in home.glob(pattern):
            with contextlib.suppress(OSError):
                total += path.stat().st_size
    return total
