"""What is wrong with a version's log: files missing in a server's counting, unreadable, gone, late; clocks ahead.

A server numbers the files of each of its starts from 0, over all versions that it serves, so a number that never
turns up while later ones do is a file that was lost on its way. Everything is named, counted and shown; nothing here
decides about drift.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from trimtab.core import predictions

if TYPE_CHECKING:
    from trimtab.core.store import Store

# A number may turn up after later ones for so long before it counts as missing.
GRACE = timedelta(minutes=2)
# Rows so far ahead of the watch's clock say that a clock is off.
AHEAD = timedelta(seconds=60)
# A clock counts as mended when no row was ahead for so long.
MENDED = timedelta(hours=1)
# Names in a record, and numbers of a server that are looked at, at most.
NAMED, WIDEST = 10, 10_000
_NAME = re.compile(r"(.+)-(\d{8,})\.parquet")


@dataclass
class _Writer:
    """One start of a server: its numbers seen, as a first one and gaps since."""

    first: int
    next: int
    hour: str
    gaps: dict[int, datetime] = field(default_factory=dict)

    def add(self, n: int, hour: str, now: datetime) -> None:
        self.gaps.pop(n, None)
        if n < self.first:
            for lost in range(max(n + 1, self.first - WIDEST), self.first):
                self.gaps[lost] = now
            self.first, self.hour = n, min(self.hour, hour)
        for lost in range(max(self.next, n - WIDEST), n):
            self.gaps[lost] = now
        self.next = max(self.next, n + 1)


class LogHealth:
    """What is wrong with one version's log.

    Args:
        store: where it lies.
        model: the model.
        version: the version that is followed; other versions' files are looked at only where a number is missing.
    """

    def __init__(self, store: Store, model: str, version: str) -> None:
        self.store = store
        self.model = model
        self.version = version
        self.ahead = timedelta(0)
        self.counts = {"read": 0, "late": 0, "unreadable": 0, "gone": 0}
        self._writers: dict[str, _Writer] = {}
        self._named: dict[str, dict[str, None]] = {"unreadable": {}, "gone": {}}
        self._looked: datetime | None = None
        self._ahead_at: datetime | None = None

    def read(self, key: str, newest: datetime | None, now: datetime) -> None:
        """A file was read; its newest row is of that time."""
        self.counts["read"] += 1
        self._number(key, now)
        if newest is not None and newest - now > AHEAD:
            self.ahead, self._ahead_at = max(self.ahead, newest - now), now
        elif self._ahead_at is not None and now - self._ahead_at > MENDED:
            self.ahead, self._ahead_at = timedelta(0), None

    def unreadable(self, key: str, now: datetime) -> None:
        """A file turned up that is no log file."""
        self._number(key, now)
        self._name("unreadable", key)

    def senseless(self, key: str) -> None:
        """A file's rows could be read and not understood."""
        self._name("unreadable", key)

    def gone(self, key: str) -> None:
        """A file that was in a window is not there any more."""
        self._name("gone", key)

    def late(self, files: int) -> None:
        """So many files turned up after a window with newer rows was cut."""
        self.counts["late"] += files

    def missing(self, now: datetime) -> list[str]:
        """Names of files that were lost on their way, sorted."""
        due = [(name, w, n) for name, w in self._writers.items() for n, at in w.gaps.items() if now - at >= GRACE]
        if due and (self._looked is None or now - self._looked >= GRACE):
            self._looked = now
            self._look_elsewhere(min(w.hour for _, w, _ in due))
        return sorted(f"{name}-{n:08d}" for name, w, n in due if n in w.gaps)

    def facts(self, now: datetime) -> dict[str, Any] | None:
        """As a field of the verdict's record; None where nothing is wrong."""
        lost = self.missing(now)
        found: dict[str, Any] = {}
        if lost:
            found |= {"missing": lost[:NAMED], "missing_count": len(lost)}
        for kind, names in self._named.items():
            if names:
                found |= {kind: list(names)[-NAMED:], f"{kind}_count": self.counts[kind]}
        if self.ahead > AHEAD:
            found["ahead_seconds"] = round(self.ahead.total_seconds(), 1)
        return found or None

    def _name(self, kind: str, key: str) -> None:
        if key not in self._named[kind]:
            self.counts[kind] += 1
            self._named[kind][key] = None
            while len(self._named[kind]) > 100 * NAMED:
                self._named[kind].pop(next(iter(self._named[kind])))

    def _number(self, key: str, now: datetime) -> None:
        match = _NAME.fullmatch(key.rpartition("/")[2])
        if match is None:
            return
        hour, n = key.split("/")[-2], int(match[2])
        known = self._writers.get(match[1])
        if known is None:
            # What came before its first file of this version was another version's.
            self._writers[match[1]] = _Writer(n, n + 1, hour)
        else:
            known.add(n, hour, now)

    def _look_elsewhere(self, hour: str) -> None:
        """Numbers that went to other versions are not missing."""
        for version in predictions.versions(self.store, self.model):
            if version == self.version:
                continue
            prefix = f"predictions/{self.model}/{version}/"
            for key in self.store.list(prefix, after=f"{prefix}{hour}"):
                match = _NAME.fullmatch(key.rpartition("/")[2])
                if match is not None and match[1] in self._writers:
                    self._writers[match[1]].gaps.pop(int(match[2]), None)
