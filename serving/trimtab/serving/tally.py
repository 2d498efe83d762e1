"""How many answered rows a server had in memory when it was killed: exact, from a few numbers in a mapped file.

`<server>/tally` is a page of 64-bit numbers that the living server keeps. Memory that maps a file outlives kill -9, so
what stands there holds at any moment:

    0          rows accepted from answered requests
    1          number of writes begun; its lowest bit says which of the two notes below is the newest
    2          1: the server ended as it should, nothing is in memory
    4 to 7     a note: rows settled (on disk, or dropped and counted) before a write; its segment; where in that it
               begins; its rows
    8 to 11    the other note

A note is written before it becomes the newest, and that before its write. So what a killed server lost is: accepted,
less settled before the newest write, less those of that write's rows that are whole in its segment. A segment that is
gone was shipped, and was whole.

Whoever takes over the dead server's folder leaves the number as `<spool>/<model>/lost/<server>.json`, once; the server
that can take that file away counts it.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from pathlib import Path

import orjson

from trimtab.serving import frames

FILE = "tally"
LOST = "lost"
_BYTES = 4096
_ACCEPTED, _WRITES, _CLOSED, _NOTES, _NOTE = 0, 1, 2, 4, 4


class Tally:
    """The living server's side.

    Args:
        folder: the server's folder in the spool.

    Raises:
        OSError: the disk has no room for a page.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, bytes(_BYTES))  # blocks of its own: a full disk must not fail a write to memory
            self._map = mmap.mmap(descriptor, _BYTES)
        finally:
            os.close(descriptor)
        self._words = memoryview(self._map).cast("Q")
        self._accepted = self._settled = 0

    @property
    def waiting(self) -> int:
        """Rows accepted and not settled."""
        return self._accepted - self._settled

    def accept(self, rows: int) -> None:
        """Rows of an answered request are taken; one thread alone calls this."""
        self._accepted += rows
        self._words[_ACCEPTED] = self._accepted

    def begin(self, segment: int, offset: int, rows: int) -> None:
        """A write begins at this place of this segment."""
        words = self._words
        writes = words[_WRITES] + 1
        place = _NOTES + _NOTE * (writes & 1)
        words[place], words[place + 1], words[place + 2], words[place + 3] = self._settled, segment, offset, rows
        words[_WRITES] = writes

    def settle(self, rows: int) -> None:
        """Rows are on disk, or dropped and counted."""
        self._settled += rows

    def close(self) -> None:
        """Nothing is in memory any more, and nothing more will come."""
        self.begin(0, 0, 0)
        self._words[_CLOSED] = 1


def closed(folder: Path) -> bool:
    """Whether the folder's server ended as it should."""
    words = _read(folder)
    return words is None or bool(words[_CLOSED])


def lost_rows(folder: Path) -> int:
    """Rows that a dead server had in memory; to be asked before its segments are shipped."""
    words = _read(folder)
    if words is None:
        return 0
    place = _NOTES + _NOTE * (words[_WRITES] & 1)
    settled, segment, offset, rows = words[place : place + _NOTE]
    for path in (folder / "log").glob(f"{segment:08d}.*"):
        with contextlib.suppress(Exception):  # damaged bytes can mean anything
            rows = min(rows, sum(frame.rows for frame, _ in frames.decode(path.read_bytes(), offset)))
    return max(0, words[_ACCEPTED] - settled - rows)


def leave(folder: Path) -> None:
    """Leave what a dead server lost for a living one to count; again after a kill in between is the same.

    Raises:
        OSError: the spool cannot be written.
    """
    mine = folder / f"{LOST}.json"
    if (folder / FILE).exists():
        rows = lost_rows(folder)
        if rows:
            fresh = folder / f".{LOST}.new"
            fresh.write_bytes(orjson.dumps({"rows": rows}))
            fresh.replace(mine)
        (folder / FILE).unlink()
    if mine.exists():
        target = folder.parent / LOST
        target.mkdir(exist_ok=True)
        mine.replace(target / f"{folder.name}.json")


def claim(home: Path) -> dict[str, int]:
    """Take what dead servers lost, by server; each number is given to one caller alone."""
    found: dict[str, int] = {}
    for path in sorted((home / LOST).glob("*.json")):
        taken = path.with_suffix(f".{os.getpid()}")
        try:
            path.rename(taken)  # of several servers one succeeds
            found[path.stem] = int(orjson.loads(taken.read_bytes())["rows"])
            taken.unlink()
        except (OSError, ValueError, KeyError, TypeError):
            continue
    if found:
        with contextlib.suppress(OSError):
            (home / LOST).rmdir()
    return found


def _read(folder: Path) -> memoryview | None:
    try:
        body = (folder / FILE).read_bytes()
    except FileNotFoundError:
        return None
    return memoryview(body).cast("Q") if len(body) == _BYTES else None
