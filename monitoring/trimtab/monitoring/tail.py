"""The end of a version's prediction log: files as they turn up, each once, cut into windows.

The log is listed from a little before the newest known hour, and now and then whole, because a file that ships late
lies under its rows' hour. What was seen is kept as ranges of the servers' file numbers, not as names, so that memory
does not grow with the log.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from trimtab.core import predictions
from trimtab.core.predictions import hour_of
from trimtab.core.records import parse_time, rfc3339
from trimtab.monitoring.windows import Cut, Piece

if TYPE_CHECKING:
    from trimtab.core.store import Store

# Files are looked for from so long before the newest known hour, and in the whole listing once in so long.
OVERLAP = timedelta(hours=2)
WHOLE_EVERY = timedelta(seconds=60)
# A long log is listed whole less often: so many keys a second, on average, and no more.
WHOLE_KEYS = 200
# Tables of files not yet in a window are kept, up to so many bytes; beyond, they are read again when needed.
CACHE_BYTES = 48 << 20
_NAME = re.compile(r"(.+)-(\d{8,})\.parquet")


class Seen:
    """Keys of numbered files that were seen: for each writer the number up to which all were, and those beyond."""

    def __init__(self) -> None:
        self._upto: dict[str, int] = {}
        self._beyond: dict[str, set[int]] = {}
        self._odd: set[str] = set()

    def __contains__(self, key: str) -> bool:
        match = _NAME.fullmatch(key.rpartition("/")[2])
        if match is None:
            return key in self._odd
        writer, n = match[1], int(match[2])
        return n < self._upto.get(writer, 0) or n in self._beyond.get(writer, ())

    def add(self, key: str) -> None:
        """This one was seen."""
        match = _NAME.fullmatch(key.rpartition("/")[2])
        if match is None:
            self._odd.add(key)
            return
        writer, beyond = match[1], self._beyond.setdefault(match[1], set())
        beyond.add(int(match[2]))
        upto = self._upto.get(writer, 0)
        while upto in beyond:
            beyond.remove(upto)
            upto += 1
        self._upto[writer] = upto


class NewFiles:
    """New keys under a prefix whose next segment is an hour.

    Args:
        store: where they lie.
        prefix: ends with `/`.
        since: keys of earlier hours are never looked at; None looks at all.
    """

    def __init__(self, store: Store, prefix: str, since: datetime | None = None) -> None:
        self.store = store
        self.prefix = prefix
        self.since = since
        self.seen = Seen()
        self._newest = ""
        self._whole: datetime | None = None
        self._keys = 0

    def look(self, now: datetime) -> list[str]:
        """Keys not seen before, sorted; they count as seen now."""
        after = f"{self.prefix}{hour_of(self.since)}" if self.since else None
        whole = self._whole is None or now - self._whole >= max(WHOLE_EVERY, timedelta(seconds=self._keys / WHOLE_KEYS))
        if not whole and self._newest:
            near = f"{self.prefix}{hour_of(parse_time(f'{self._newest}:00:00Z') - OVERLAP)}"
            after = max(after, near) if after else near
        found, keys = [], 0
        for key in self.store.list(self.prefix, after=after):
            keys += 1
            if key in self.seen:
                continue
            self.seen.add(key)
            found.append(key)
            hour = key[len(self.prefix) :].partition("/")[0]
            if len(hour) == 13:  # a clock that is ahead must not hide what others write now
                self._newest = max(self._newest, min(hour, hour_of(now)))
        if whole:
            self._whole, self._keys = now, keys
        return found


class Tables:
    """Tables of log files, kept up to a size, the longest unused forgotten first.

    Args:
        store: where the files lie.
        columns: the columns that are read.
    """

    def __init__(self, store: Store, columns: Sequence[str]) -> None:
        self.store = store
        self.columns = list(columns)
        self._kept: OrderedDict[str, pa.Table] = OrderedDict()
        self._bytes = 0

    def read(self, key: str) -> pa.Table:
        """The rows of a file.

        Raises:
            NotFound: the file is gone.
            DataError: it is no Parquet.
        """
        table = self._kept.get(key)
        if table is None:
            table = self._kept[key] = predictions.read_files(self.store, [key], self.columns)
            self._bytes += table.nbytes
        self._kept.move_to_end(key)
        while self._bytes > CACHE_BYTES and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return table

    def pieces(self, pieces: Iterable[Piece]) -> Iterable[pa.Table]:
        """The rows of pieces, one table each."""
        for piece in pieces:
            yield self.read(piece.key).slice(piece.start, piece.stop - piece.start)


@dataclass
class _Waiting:
    """Rows of a file that are in no window yet."""

    key: str
    start: int
    stop: int
    first: datetime
    last: datetime


@dataclass
class Tail:
    """Rows that are in no window yet, in the order in which their files turned up.

    Attributes:
        rows: rows of a window.
        minutes: a window is cut after so many minutes too; None for never.
        reference: digest of the reference, for the cuts.
        until: time of the newest row that is in a window.
        next: number of the next window.
    """

    rows: int
    minutes: float | None
    reference: str
    until: datetime | None = None
    next: int = 1
    waiting: list[_Waiting] = field(default_factory=list)

    def take(self, cut: Cut, now: datetime | None = None) -> None:
        """A window was cut (by us, by another watch, before a restart): its rows wait no longer.

        Args:
            cut: who is in it.
            now: the time, so that rows dated ahead of it do not make all others late.
        """
        taken = {p.key: p.stop for p in cut.pieces}
        left = []
        for one in self.waiting:
            one.start = max(one.start, taken.get(one.key, 0))
            if one.start < one.stop:
                left.append(one)
        self.waiting = left
        self.next = max(self.next, cut.window + 1)
        last = parse_time(cut.last_time)
        last = min(last, now) if now is not None else last
        self.until = last if self.until is None else max(self.until, last)

    def add(self, key: str, table: pa.Table, start: int = 0) -> None:
        """A file turned up, or the rest of one from row `start` on."""
        if table.num_rows > start:
            span = pc.min_max(table["_time"].slice(start)).as_py()
            self.waiting.append(_Waiting(key, start, table.num_rows, span["min"], span["max"]))

    def cut(self, now: datetime, times: Callable[[Piece], pa.ChunkedArray]) -> Cut | None:
        """The next window, when it is due; its rows wait until `take`.

        Args:
            now: the time.
            times: gives the times of a piece's rows.
        """
        due = sum(w.stop - w.start for w in self.waiting)
        reason = "rows" if due >= self.rows else ""
        if not reason and self.minutes is not None and self.waiting:
            oldest = min(w.first for w in self.waiting)
            reason = "time" if now - oldest >= timedelta(minutes=self.minutes) else ""
        if not reason:
            return None
        pieces, left = [], self.rows
        for one in self.waiting:
            if left == 0:
                break
            stop = min(one.stop, one.start + left)
            left -= stop - one.start
            late = self.until is not None and one.last < self.until
            pieces.append(Piece(one.key, one.start, stop, late))
        spans = [pc.min_max(times(p)).as_py() for p in pieces]
        first, last = min(s["min"] for s in spans), max(s["max"] for s in spans)
        return Cut(self.next, tuple(pieces), reason, self.reference, rfc3339(first), rfc3339(last))
