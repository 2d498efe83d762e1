"""A load generator that costs little: raw sockets and epoll, requests made beforehand, a process of its own.

`python -m benchmarks.serving_bench.load` reads one JSON line (see `Load`) from standard input, connects, warms up,
says `ready`, waits for a line, sends for `seconds`, and writes one JSON line of what it saw (see `report`).
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import select
import socket
import subprocess
import sys
import time
from array import array
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


@dataclass
class Load:
    """What is sent where.

    Attributes:
        port: of loopback.
        requests: whole HTTP requests as latin-1 text, sent in turn.
        connections: keep-alive connections.
        seconds: how long it is measured.
        warm: seconds before that.
        rate: requests a second whatever the answers do (open loop); 0: each connection asks as soon as it was
            answered (closed loop).
        awake: look for answers all the while, where the generator has a processor of its own (see `awaited`); not for
            servers that could use that processor.
    """

    port: int
    requests: list[str]
    connections: int = 8
    seconds: float = 3.0
    warm: float = 0.3
    rate: float = 0.0
    awake: bool = False


@dataclass
class Tally:
    """What was seen: seconds of each answered request, statuses, how late an open loop's requests were sent.

    `vain`: how often a generator that stays awake looked for an answer where there was none.
    """

    latencies: array[float] = field(default_factory=lambda: array("d"))
    lateness: array[float] = field(default_factory=lambda: array("d"))
    statuses: Counter[str] = field(default_factory=Counter)
    first_error: str = ""
    vain: int = 0


def whole(data: bytes) -> int:
    """Where the first answer in `data` ends, or 0 if it is not all there.

    >>> whole(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
    40
    >>> whole(b"HTTP/1.1 200 OK\\r\\ntransfer-encoding: chunked\\r\\n\\r\\n2\\r\\nok\\r\\n0\\r\\n\\r\\n")
    59
    >>> whole(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\no")
    0
    """
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return 0
    found = LENGTH.search(data, 0, head + 2)
    if found:
        end = head + 4 + int(found[1])
        return end if len(data) >= end else 0
    if not CHUNKED.search(data, 0, head + 2):
        return head + 4
    at = head + 4
    while (line := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:line].split(b";")[0], 16)
        at = line + 2 + size + 2
        if len(data) < at:
            return 0
        if size == 0:
            return at
    return 0


class Connection:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.rest = b""
        self.sent_at = 0.0
        self.socket = self._connect()

    def _connect(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def send(self, request: bytes) -> None:
        """Send a request and note when."""
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bytes | None:
        """What the socket has; an answer once it is whole."""
        data = self.socket.recv(262_144)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        if self.rest:
            data = self.rest + data
        end = whole(data)
        self.rest = b"" if end else data
        return data if end else None

    def again(self) -> None:
        """A new connection in its place."""
        self.socket.close()
        self.rest = b""
        self.socket = self._connect()


def awaited(poll: select.epoll, awake: bool, limit: float = 30.0) -> tuple[list[tuple[int, int]], int]:
    """What can be read, once anything can, and how often it was looked in vain; nothing after `limit` seconds.

    Who stays awake looks all the while. A server that must wake its client pays for that, on a virtual machine with
    a trip to the host, and the more often the slower it is: small differences between servers become large ones.
    """
    if not awake:
        return poll.poll(limit), 0
    end, vain = time.perf_counter() + limit, 0
    while not (ready := poll.poll(0)) and time.perf_counter() < end:
        vain += 1
    return ready, vain


def looking(times: int = 2000) -> float:
    """CPU seconds that a look in vain takes."""
    with select.epoll() as poll:
        started = time.process_time()
        for _ in range(times):
            poll.poll(0)
            time.perf_counter()
        return (time.process_time() - started) / times


def closed(connections: list[Connection], seconds: float, requests: list[bytes], awake: bool) -> Tally:
    """Each connection asks as soon as it was answered; `awake`: see `awaited`."""
    seen, latencies = Tally(), array("d")
    poll, by_fd = select.epoll(), {}
    for connection in connections:
        by_fd[connection.socket.fileno()] = connection
        poll.register(connection.socket.fileno(), select.EPOLLIN)
    n, count, now = 0, len(requests), time.perf_counter
    for connection in connections:
        connection.send(requests[n % count])
        n += 1
    end, waiting = now() + seconds, len(connections)
    good = vain = 0
    while waiting:
        ready, looked = awaited(poll, awake)
        vain += looked
        if not ready:
            seen.statuses["timeout"] += waiting
            break
        for fd, _ in ready:
            connection = by_fd[fd]
            try:
                answer = connection.receive()
            except OSError as error:
                seen.statuses[type(error).__name__] += 1
                poll.unregister(fd)
                del by_fd[fd]
                connection.again()
                by_fd[connection.socket.fileno()] = connection
                poll.register(connection.socket.fileno(), select.EPOLLIN)
                answer = b""
            if answer is None:
                continue
            done = now()
            if answer[9:12] == b"200":
                good += 1
                if done <= end:
                    latencies.append(done - connection.sent_at)
            elif answer:
                seen.statuses[answer[9:12].decode()] += 1
                seen.first_error = seen.first_error or answer[-300:].decode("latin-1")
            if done < end:
                connection.send(requests[n % count])
                n += 1
            else:
                waiting -= 1
    poll.close()
    seen.latencies, seen.vain = latencies, vain
    seen.statuses["200"] += good
    return seen


def opened(load: Load, connections: list[Connection], requests: list[bytes]) -> Tally:
    """Requests at a fixed rate, each on a free connection, a new one where none is free."""
    seen, now = Tally(), time.perf_counter
    free = list(connections)
    busy: dict[int, Connection] = {}
    poll = select.epoll()  # takes any number of connections, which `select` does not; waits by milliseconds alone
    start, n, total = now() + 0.01, 0, int(load.rate * load.seconds)
    while n < total or busy:
        due = start + n / load.rate
        wait = max(0.0, due - now()) if n < total else 5.0
        if busy or wait:
            select.select([poll], [], [], wait)  # waits by microseconds
        ready = poll.poll(0)
        if not ready and n >= total:
            seen.statuses["timeout"] += len(busy)
            break
        for one, _ in ready:
            connection = busy[one]
            try:
                answer = connection.receive()
            except OSError as error:
                seen.statuses[type(error).__name__] += 1
                poll.unregister(one)
                del busy[one]
                continue
            if answer is None:
                continue
            poll.unregister(one)
            seen.latencies.append(now() - connection.sent_at)
            seen.statuses[answer[9:12].decode()] += 1
            free.append(busy.pop(one))
        if n < total and now() >= due:
            connection = free.pop(0) if free else Connection(load.port)
            connection.send(requests[n % len(requests)])
            seen.lateness.append(connection.sent_at - due)
            busy[connection.socket.fileno()] = connection
            poll.register(connection.socket, select.EPOLLIN)
            n += 1
    poll.close()
    return seen


def percentile(values: list[float], share: float) -> float:
    """The value below which that share of the sorted values lies, in milliseconds."""
    return round(1000 * values[min(len(values) - 1, int(share * len(values)))], 4) if values else float("nan")


def report(seen: Tally, wall: float, cpu: float) -> dict[str, Any]:
    """Facts of one measurement; latencies in milliseconds, `client_cpu_s` what the generator itself worked."""
    ordered, late = sorted(seen.latencies), sorted(seen.lateness)
    return {
        "requests": len(ordered),
        "rps": round(len(ordered) / wall, 1),
        "statuses": dict(seen.statuses),
        "first_error": seen.first_error,
        "p50_ms": percentile(ordered, 0.5),
        "p90_ms": percentile(ordered, 0.9),
        "p99_ms": percentile(ordered, 0.99),
        "max_ms": percentile(ordered, 1.0),
        "sent_late_p99_ms": percentile(late, 0.99) if late else 0.0,
        "looked_in_vain": seen.vain,
        "client_cpu_s": round(max(0.0, cpu - seen.vain * looking()), 3),
    }


def settle() -> bool:
    """Stay on one processor, the last, and say whether there are others.

    Otherwise it is chance whether the server must share its own.

    A guest's scheduler takes a sleeping processor for one that its host has taken away, and wakes the generator on the
    server's.
    """
    with suppress(OSError, AttributeError):
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) > 1:
            os.sched_setaffinity(0, allowed[-1:])
            return True
    return False


def main() -> None:
    load = Load(**json.loads(sys.stdin.readline()))
    awake = settle() and load.awake
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(29, 1000, 0, 0, 0)  # PR_SET_TIMERSLACK: wake within 1 µs of what was asked
    requests = [one.encode("latin-1") for one in load.requests]
    connections = [Connection(load.port) for _ in range(load.connections)]
    if load.warm:
        closed(connections, load.warm, requests, awake)
    print("ready", flush=True)
    sys.stdin.readline()
    wall, cpu = time.perf_counter(), time.process_time()
    ask = partial(opened, load) if load.rate else partial(closed, seconds=load.seconds, awake=awake)
    seen = ask(connections, requests=requests)
    wall = time.perf_counter() - wall if load.rate else load.seconds
    print(json.dumps(report(seen, wall, time.process_time() - cpu)), flush=True)


class Generator:
    """A load generator's process, connected and warmed up; `measure` starts it and waits for its facts."""

    def __init__(self, load: Load) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.serving_bench.load"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._say(json.dumps(asdict(load)))
        if self._hear() != "ready":
            raise RuntimeError("the load generator did not start")

    def measure(self) -> dict[str, Any]:
        """Send, and return what `report` says."""
        self._say("go")
        facts: dict[str, Any] = json.loads(self._hear())
        self._process.communicate(timeout=60)
        return facts

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


if __name__ == "__main__":
    main()
