"""Requests at a fixed rate from a few threads, each sent once and each counted, and their labels back a moment later.

The rate holds whatever the answers take (as long as a thread is free): a server that stalls makes requests late and
does not make them fewer. Nothing is tried again, so that what a caller without retries would lose is seen.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from trimtab.client import Client
from trimtab.core.errors import RequestError

# Failures that are kept word by word; all are counted.
KEPT_FAILURES = 50


@dataclass(frozen=True)
class Row:
    """What is asked, and the truth that comes back as its label; empty where none does."""

    record: dict[str, Any]
    truth: str = ""


@dataclass(frozen=True)
class Failure:
    """A request that was not answered: when (seconds since the epoch), and why."""

    at: float
    why: str


@dataclass
class Counted:
    """What a load has seen.

    Attributes:
        requests, failed: all that were sent, and those without an answer.
        failures: the first of those.
        right: answers that were the truth.
        by_version, first_answer: answers by version, and when each version answered first (seconds since the epoch).
        slowest: the longest that an answer took, seconds.
        labels, failed_labels: labels that were sent and taken, and those refused.
    """

    requests: int = 0
    failed: int = 0
    failures: list[Failure] = field(default_factory=list)
    right: int = 0
    by_version: Counter[str] = field(default_factory=Counter)
    first_answer: dict[str, float] = field(default_factory=dict)
    slowest: float = 0.0
    labels: int = 0
    failed_labels: int = 0

    def words(self) -> str:
        """In one line, with the first failures."""
        versions = ", ".join(f"{v} {n}" for v, n in self.by_version.items()) or "none"
        why = "; ".join(f"{time.strftime('%H:%M:%S', time.gmtime(f.at))} {f.why}" for f in self.failures[:5])
        return f"{self.requests} requests, {self.failed} failed, answered by {versions}" + (f" ({why})" if why else "")


class Load:
    """Sends rows in turn, over and over, at a fixed rate; `with Load(…) as load` starts and ends it.

    Args:
        url: base URL of the server, or of what stands before it.
        model: the model's name.
        rows: what is sent, in order; after the last comes row `again`.
        rate: requests a second.
        threads: requests at once, at most.
        token: bearer token of requests and labels.
        again: index of the row that follows the last one.
        label_seconds: labels go back in batches, so often; 0 for no labels.
        timeout: seconds until a request counts as failed.
    """

    def __init__(
        self,
        url: str,
        model: str,
        rows: Sequence[Row],
        rate: float,
        *,
        threads: int = 8,
        token: str = "",
        again: int = 0,
        label_seconds: float = 0.0,
        timeout: float = 10.0,
    ) -> None:
        self.model, self.rows, self.rate, self.again = model, rows, rate, again
        self.seen = Counted()
        self._client = Client(url, token, retries=0, timeout=timeout, connections=threads + 1)
        self._label_seconds = label_seconds
        self._labels: list[dict[str, Any]] = []
        self._held = threading.Event()
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._slots = itertools.count()
        self._begun = 0.0
        self._threads = [threading.Thread(target=self._send, name=f"load-{n}", daemon=True) for n in range(threads)]
        if label_seconds:
            self._threads.append(threading.Thread(target=self._label, name="labels", daemon=True))

    def __enter__(self) -> Load:
        self._begun = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> Counted:
        """End it after the requests that are under way; what it has seen."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout=30)
        self._client.close()
        return self.seen

    def hold_labels(self) -> None:
        """Labels are kept from now on, as they are when people are slow."""
        self._held.set()

    def release_labels(self) -> None:
        """Labels go back again, those that were kept first."""
        self._held.clear()

    def row(self, n: int) -> Row:
        """The row of request `n`, from 0."""
        over = n - len(self.rows)
        return self.rows[n] if over < 0 else self.rows[self.again + over % (len(self.rows) - self.again)]

    def _send(self) -> None:
        while True:
            n = next(self._slots)
            if self._stopped.wait(max(0.0, self._begun + n / self.rate - time.monotonic())):
                return
            self._ask(self.row(n), v2=n % 2 == 1)

    def _ask(self, row: Row, *, v2: bool) -> None:
        begun = time.monotonic()
        try:
            if v2:
                got = self._client.infer(self.model, {name: [value] for name, value in row.record.items()})
                identity, version, label = got.ids[0], got.version, next(iter(got.outputs.values()))[0]
            else:
                told = self._client.predict(self.model, [row.record])
                identity, version, label = told.ids[0], told.version, told.predictions[0]
        except (RequestError, OSError, LookupError) as error:
            self._failed(error)
            return
        took = time.monotonic() - begun
        with self._lock:
            seen = self.seen
            seen.requests += 1
            seen.by_version[version] += 1
            seen.first_answer.setdefault(version, time.time())
            seen.slowest = max(seen.slowest, took)
            seen.right += str(label) == row.truth
            if row.truth:
                self._labels.append({"id": identity, "value": row.truth, "source": "load"})

    def _failed(self, error: Exception) -> None:
        why = error.sentence() if isinstance(error, RequestError) else f"{type(error).__name__}: {error}"
        with self._lock:
            self.seen.requests += 1
            self.seen.failed += 1
            if len(self.seen.failures) < KEPT_FAILURES:
                self.seen.failures.append(Failure(time.time(), why))

    def _label(self) -> None:
        while not self._stopped.wait(self._label_seconds):
            if not self._held.is_set():
                self._post_labels()

    def _post_labels(self) -> None:
        with self._lock:
            batch, self._labels = self._labels[:1000], self._labels[1000:]
        if not batch:
            return
        try:
            self._client.feedback(self.model, batch)
        except (RequestError, OSError) as error:
            with self._lock:
                self.seen.failed_labels += len(batch)
            self._failed(error)
        else:
            with self._lock:
                self.seen.labels += len(batch)
                self.seen.requests += 1
