"""Requests at a fixed rate from a few threads, each sent once and each counted, and their labels back a moment later.

The rate holds whatever the answers take (as long as a thread is free): a server that stalls makes requests late and
does not make them fewer. Nothing that was sent is sent again, so that what a caller without retries would lose is seen;
what nobody accepted was not sent: it is counted, and tried again a moment later (at another pod, where a Service stands
before several).
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.cluster.waiting import Missed

from trimtab.client import Client
from trimtab.core.errors import RequestError

# Requests at once, at most.
THREADS = 8
# Failures that are kept word by word; all are counted.
KEPT_FAILURES = 50
# Pause before a request that nobody accepted is tried again, seconds.
REFUSED_SECONDS = 0.05


@dataclass(frozen=True)
class Row:
    """What is asked, and the truth that comes back as its label; empty where none does."""

    record: dict[str, Any]
    truth: str = ""


@dataclass(frozen=True)
class Answer:
    """An answer: prediction id, the version that gave it, when it came (seconds since the epoch), how long it took."""

    id: str
    version: str
    at: float
    took: float


@dataclass(frozen=True)
class Failure:
    """A request without an answer: when (seconds since the epoch), why, and whether a server said so (4xx, 5xx)."""

    at: float
    why: str
    told: bool = False


@dataclass
class Counted:
    """What a load has seen.

    Attributes:
        requests, failed: all that were sent, and those without an answer.
        failures: the first of those.
        refused: connections that nobody accepted.
        answers: every answer to a row.
        right: answers that were the truth.
        by_version, first_answer: answers by version, and when each version answered first (seconds since the epoch).
        labels, failed_labels: labels that were sent and taken, and those refused.
    """

    requests: int = 0
    failed: int = 0
    failures: list[Failure] = field(default_factory=list)
    refused: int = 0
    answers: list[Answer] = field(default_factory=list)
    right: int = 0
    by_version: Counter[str] = field(default_factory=Counter)
    first_answer: dict[str, float] = field(default_factory=dict)
    labels: int = 0
    failed_labels: int = 0

    @property
    def slowest(self) -> float:
        """The longest that an answer took, seconds."""
        return max((answer.took for answer in list(self.answers)), default=0.0)

    def words(self) -> str:
        """In one line, with the first failures."""
        versions = ", ".join(f"{v} {n}" for v, n in self.by_version.items()) or "none"
        why = "; ".join(f"{time.strftime('%H:%M:%S', time.gmtime(f.at))} {f.why}" for f in self.failures[:5])
        return (
            f"{self.requests} requests, {self.failed} failed, {self.refused} connections refused, slowest answer "
            f"{self.slowest:.2f} s, answered by {versions}" + (f" ({why})" if why else "")
        )


class Load:
    """Sends rows in turn, over and over, at a fixed rate; `with Load(…) as load` starts and ends it.

    Args:
        url: base URL of the server, or of what stands before it.
        model: the model's name.
        rows: what is sent, in order; after the last comes row `again`.
        rate: requests a second.
        threads: requests at once, at most; each has a connection of its own.
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
        threads: int = THREADS,
        token: str = "",
        again: int = 0,
        label_seconds: float = 0.0,
        timeout: float = 10.0,
    ) -> None:
        self.model, self.rows, self.rate, self.again = model, rows, rate, again
        self.seen = Counted()
        self._clients = [Client(url, token, retries=0, timeout=timeout, connections=1) for _ in range(threads + 1)]
        self._label_seconds = label_seconds
        self._labels: list[dict[str, Any]] = []
        self._held = threading.Event()
        self._posting = threading.Lock()
        self._stopped = threading.Event()
        self._answered = threading.Condition()
        self._slots = itertools.count()
        self._begun = 0.0
        self._threads = [
            threading.Thread(target=self._send, args=(client,), name=f"load-{n}", daemon=True)
            for n, client in enumerate(self._clients[:threads])
        ]
        if label_seconds:
            last = self._clients[-1]
            self._threads.append(threading.Thread(target=self._label, args=(last,), name="labels", daemon=True))

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
        for client in self._clients:
            client.close()
        return self.seen

    def wait(self, more: int, seconds: float = 60.0) -> None:
        """Wait for so many further answers.

        Raises:
            Missed: they did not come.
        """
        with self._answered:
            wanted = len(self.seen.answers) + more
            if not self._answered.wait_for(lambda: len(self.seen.answers) >= wanted, seconds):
                raise Missed(f"{more} answers did not come within {seconds:g} s: {self.seen.words()}")

    def hold_labels(self) -> None:
        """Labels are kept from now on, as they are when people are slow; those on their way have arrived."""
        self._held.set()
        with self._posting:
            pass

    def release_labels(self) -> None:
        """Labels go back again, those that were kept first."""
        self._held.clear()

    def row(self, n: int) -> Row:
        """The row of request `n`, from 0."""
        over = n - len(self.rows)
        return self.rows[n] if over < 0 else self.rows[self.again + over % (len(self.rows) - self.again)]

    def _send(self, client: Client) -> None:
        while True:
            n = next(self._slots)
            if self._stopped.wait(max(0.0, self._begun + n / self.rate - time.monotonic())):
                return
            self._ask(client, self.row(n), v2=n % 2 == 1)

    def _ask(self, client: Client, row: Row, *, v2: bool) -> None:
        while not self._stopped.is_set():
            begun = time.monotonic()
            try:
                identity, version, label = self._answer(client, row, v2=v2)
            except (RequestError, OSError, LookupError) as error:
                if isinstance(error, RequestError) and error.got == "NewConnectionError":
                    with self._answered:
                        self.seen.refused += 1
                    self._stopped.wait(REFUSED_SECONDS)
                    continue
                self._failed(error)
                return
            answer = Answer(identity, version, time.time(), time.monotonic() - begun)
            with self._answered:
                seen = self.seen
                seen.requests += 1
                seen.answers.append(answer)
                seen.by_version[version] += 1
                seen.first_answer.setdefault(version, answer.at)
                seen.right += label == row.truth
                if row.truth:
                    self._labels.append({"id": identity, "value": row.truth, "source": "load"})
                self._answered.notify_all()
            return

    def _answer(self, client: Client, row: Row, *, v2: bool) -> tuple[str, str, str]:
        """Prediction id, version and label."""
        if v2:
            got = client.infer(self.model, {name: [value] for name, value in row.record.items()})
            return got.ids[0], got.version, str(next(iter(got.outputs.values()))[0])
        told = client.predict(self.model, [row.record])
        return told.ids[0], told.version, str(told.predictions[0])

    def _failed(self, error: Exception) -> None:
        why, told = f"{type(error).__name__}: {error}", False
        if isinstance(error, RequestError):
            why, told = error.sentence(), not error.got  # a connection that broke is got in place of an answer
        with self._answered:
            self.seen.requests += 1
            self.seen.failed += 1
            if len(self.seen.failures) < KEPT_FAILURES:
                self.seen.failures.append(Failure(time.time(), why, told))

    def _label(self, client: Client) -> None:
        while not self._stopped.wait(self._label_seconds):
            with self._posting:
                if not self._held.is_set():
                    self._post_labels(client)

    def _post_labels(self, client: Client) -> None:
        with self._answered:
            batch, self._labels = self._labels[:1000], self._labels[1000:]
        if not batch:
            return
        try:
            client.feedback(self.model, batch)
        except (RequestError, OSError) as error:
            with self._answered:
                self.seen.failed_labels += len(batch)
            self._failed(error)
        else:
            with self._answered:
                self.seen.labels += len(batch)
                self.seen.requests += 1
