"""What one worker counts: plain numbers, added to on the request path and read when Prometheus asks.

A counter of prometheus_client costs a lock and two calls, which several times a request is a tenth of a small model's
answer. Here the event loop alone writes what is counted on each request, so that needs no lock; what several threads
count takes one. `scrape.Scrape` makes Prometheus' families of one worker's numbers, or of several workers'.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from trimtab.serving.families import (
    FAMILIES,
    IN_FLIGHT,
    LABELS,
    LOST,
    OF_VERSION,
    PREDICTIONS,
    ROWS,
    RUN_ROWS,
    RUNS,
    SHADOW,
    SPOOL,
    STORE_ERRORS,
)

TOP_LABELS = 20
BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Level:
    """Something that rises and falls; one thread changes it."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self) -> None:
        """One more."""
        self.value += 1

    def dec(self) -> None:
        """One less."""
        self.value -= 1


class Answers:
    """Answers of one version, protocol and code: how many took how long."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0


class Metrics:
    """All that one worker counts.

    Args:
        model: the model's name, a label of nearly every metric.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self.in_flight = Level()
        self._answers: dict[tuple[str, str, int], Answers] = {}
        self._predicted: dict[tuple[str, str], int] = {}
        self._values: dict[str, dict[tuple[str, ...], float]] = {
            family.name: dict.fromkeys(family.zero, 0) for family in FAMILIES
        }
        self._versions: list[str] = []
        self._lock = threading.Lock()

    def answered(self, version: str, protocol: str, code: int, seconds: float) -> None:
        """Count one answer; on the event loop alone."""
        answers = self._answers.get((version, protocol, code))
        if answers is None:
            answers = self._answers[(version, protocol, code)] = Answers()
        answers.buckets[bisect_left(BUCKETS, seconds)] += 1
        answers.seconds += seconds

    def predicted(self, version: str, label: str, rows: int = 1) -> None:
        """Count rows answered with a label, on the event loop alone; a number is counted under `value`."""
        counts = self._predicted
        try:
            counts[version, label] += rows
        except KeyError:
            known = sum(1 for v, _ in counts if v == version)
            key = (version, label if known < TOP_LABELS else "other")
            counts[key] = counts.get(key, 0) + rows

    def predicted_many(self, version: str, labels: Sequence[str], rows: Sequence[int]) -> None:
        """Count rows by label, in the labels' order; those behind the last number have none."""
        counts = self._predicted
        for label, n in zip(labels, rows, strict=False):
            if n:
                try:
                    counts[version, label] += n
                except KeyError:
                    self.predicted(version, label, n)

    def add(self, name: str, *labels: str, n: float = 1) -> None:
        """Count something rarer than a request, from any thread.

        Args:
            name: one of `families.FAMILIES`.
            labels: values of its labels, without the model.
            n: how much to add.
        """
        values = self._values[name]
        with self._lock:
            values[labels] = values.get(labels, 0) + n

    def set(self, name: str, *labels: str, value: float) -> None:
        """Set a level or a state, from any thread."""
        with self._lock:
            self._values[name][labels] = value

    def log_spooled(self, rows: int) -> None:
        """Rows that reached the disk."""
        self.add(ROWS, "spooled", n=rows)

    def log_written(self, rows: int) -> None:
        """Rows that reached the store."""
        self.add(ROWS, "written", n=rows)

    def log_dropped(self, rows: int) -> None:
        """Rows that were lost: queue or spool full, disk refused."""
        self.add(ROWS, "dropped", n=rows)

    def log_lost(self, rows: int) -> None:
        """Rows that were in the memory of a server that was killed: dropped, and counted by themselves too."""
        self.add(ROWS, "dropped", n=rows)
        self.add(LOST, n=rows)

    def labels(self, outcome: str, rows: int) -> None:
        """Labels accepted, refused, written to the store, or dropped."""
        self.add(LABELS, outcome, n=rows)

    def shadowed(self, version: str, outcome: str, rows: int) -> None:
        """Rows offered to the version in the shadow: it agreed, differed, failed, or they were shed."""
        self.add(SHADOW, version, outcome, n=rows)

    def ran(self, rows: int) -> None:
        """A run of a slow model, with rows of one or several requests."""
        self.add(RUNS)
        self.add(RUN_ROWS, n=rows)

    def spool_bytes(self, size: int) -> None:
        """What waits on disk for the store."""
        self.set(SPOOL, value=size)

    def store_error(self, operation: str, count: int = 1) -> None:
        """A request to the store failed."""
        self.add(STORE_ERRORS, operation, n=count)

    def value(self, name: str, *labels: str) -> float:
        """What a metric has come to."""
        if name == IN_FLIGHT:
            return self.in_flight.value
        if name == PREDICTIONS:
            return self._predicted.get((labels[0], labels[1]), 0)
        return self._values[name].get(labels, 0)

    def keep(self, versions: list[str]) -> None:
        """Remove what was counted for versions that no longer serve; requests without a version stay."""
        self._versions = list(versions)
        stay = {*versions, ""}
        for answers in [key for key in list(self._answers) if key[0] not in stay]:
            del self._answers[answers]
        for label in [key for key in list(self._predicted) if key[0] not in stay]:
            del self._predicted[label]
        with self._lock:
            for name in OF_VERSION:
                values = self._values[name]
                for labels in [key for key in values if key[0] not in stay]:
                    del values[labels]

    def dump(self) -> dict[str, Any]:
        """Everything counted, fit for JSON: `scrape.Scrape` adds up those of several workers.

        Returns:
            `versions` that serve or are counted; `answers`: [version, protocol, code, seconds, buckets]; and `values`:
            for each metric pairs of its label values and its number.
        """
        answers = [[*key, found.seconds, list(found.buckets)] for key, found in list(self._answers.items())]
        with self._lock:
            values = {name: [[list(k), v] for k, v in found.items()] for name, found in self._values.items()}
        values[PREDICTIONS] = [[list(k), v] for k, v in list(self._predicted.items())]
        values[IN_FLIGHT] = [[[], self.in_flight.value]]
        versions = {*self._versions, *(key[0] for key in [*self._answers, *self._predicted])}
        return {"versions": sorted(versions), "answers": answers, "values": values}
