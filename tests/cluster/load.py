"""Requests at a steady rate over kept connections; every answer, with its prediction id, and every loss is on record.

A request is sent once. What is tried again is only a connection: one that the other side has closed is not used, and
one that nobody accepts is opened anew (to another pod, where a Service stands before several); both are counted.
"""

from __future__ import annotations

import http.client
import json
import select
import threading
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Answer:
    """An answer: prediction id, status, when it came (monotonic seconds), how long it took."""

    id: str
    status: int
    at: float
    took: float


@dataclass
class Load:
    """Sends one row `rate` times a second; `with Load(…) as load` starts and ends it.

    Args:
        host, port: the server's, or a Service's.
        path: of the prediction.
        row: the JSON body.
        token: bearer token.
        rate: requests a second, by all connections together.
        connections: how many send.

    Attributes:
        answers, lost: requests that were answered, and why those that were sent were not.
        refused: connections that nobody accepted; the request went to the next.
    """

    host: str
    port: int
    path: str
    row: dict[str, Any]
    token: str = ""
    rate: float = 50.0
    connections: int = 8
    answers: list[Answer] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    refused: int = 0
    _slot: int = 0
    _stopped: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)
    _begun: float = 0.0

    def __enter__(self) -> Load:
        self._begun = time.monotonic()
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(self.connections)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Send nothing more, and wait for the last answers."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(60)

    @property
    def sent(self) -> int:
        """How many requests were answered or lost so far."""
        return len(self.answers) + len(self.lost)

    def wait(self, more: int, seconds: float = 60.0) -> None:
        """Wait for so many further answers."""
        wanted, deadline = len(self.answers) + more, time.monotonic() + seconds
        while len(self.answers) < wanted:
            assert time.monotonic() < deadline, f"{more} answers did not come within {seconds:g} s: {self.words()}"
            time.sleep(0.05)

    def words(self) -> str:
        """In one line."""
        bad = sorted({a.status for a in self.answers if a.status != 200})
        slowest = max((a.took for a in self.answers), default=0.0)
        return (
            f"{len(self.answers)} answers (slowest {slowest:.2f} s{f', statuses {bad}' if bad else ''}), "
            f"{len(self.lost)} lost {self.lost[:3]}, {self.refused} connections refused"
        )

    def _send(self) -> None:
        body = json.dumps(self.row).encode()
        headers = {"content-type": "application/json"}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        while not self._stopped.is_set():
            with self._lock:
                due = self._begun + self._slot / self.rate
                self._slot += 1
            if self._stopped.wait(max(0.0, due - time.monotonic())) or not self._connected(connection):
                break
            begun = time.monotonic()
            try:
                connection.request("POST", self.path, body, headers)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(f"{type(error).__name__}: {error}")
                connection.close()
                continue
            now = time.monotonic()
            self.answers.append(Answer(answer.getheader("x-prediction-id", ""), answer.status, now, now - begun))
        connection.close()

    def _connected(self, connection: http.client.HTTPConnection) -> bool:
        if connection.sock is not None and select.select([connection.sock], [], [], 0)[0]:
            connection.close()  # the other side has closed it
        while connection.sock is None and not self._stopped.is_set():
            try:
                connection.connect()
            except OSError:
                connection.close()
                self.refused += 1
                self._stopped.wait(0.05)
        return connection.sock is not None
