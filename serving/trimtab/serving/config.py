"""What one server is told at its start."""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path

MIB = 1 << 20
# More runs at once than this gain nothing: the event loop must hand out their rows.
MAX_RUNS = 8


def server_name() -> str:
    """A name that no other start of any server has, and that sorts by the moment of the start.

    >>> len(server_name())
    18
    """
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(3)}"


def processors(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> float:
    """Processors that this process may use: those it is bound to, or its container's share of them.

    Args:
        quota: the container's limit, `<microseconds> <of so many>` (cgroup v2).
    """
    bound = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    try:
        allowed, period = quota.read_text().split()
        return bound if allowed == "max" else min(bound, int(allowed) / int(period))
    except (OSError, ValueError):
        return bound


@dataclass(frozen=True)
class ServerConfig:
    """Settings of one server.

    Attributes:
        model: the model it serves.
        store: URL of the store.
        spool: folder for what the store does not have yet, and for fetched bundles.
        trusted: folder of the public keys whose signatures it accepts.
        tokens: file of hashed tokens that it accepts.
        host, port: where it answers; loopback by default, port 0 takes a free one.
        metrics_port: where Prometheus scrapes it, on the same host.
        poll_seconds: how often the ledger is read.
        flush_seconds, flush_rows: a log file is closed after so long or so many rows, whichever comes first.
        queue_rows: answered rows that may wait in memory for the disk; more are dropped and counted.
        spool_bytes: what may wait on disk for the store; beyond it rows are dropped and counted, labels refused.
        body_bytes: largest request body; None: what the served version's project says.
        drain_seconds: how long a stopping server waits for requests in flight and for the store.
        threads: threads of ONNX Runtime for one run.
        workers: processes that answer; above one they share the port, the metrics' port and the shipper.
        latency_ms: longest time to an answer at overload; None: what the served version's project says.
        deadline_ms: when a request without a deadline of its own is given up; None: likewise.
        max_connections: open connections of one worker; the next ones are told 429.
        keep_alive_seconds: how long a connection that asks nothing more is kept.
        head_seconds: how long a request's head may take to arrive, and a new connection may say nothing.
        body_seconds: how long its body may take, and longer only while it comes at a fair rate.
        hook_url: where the hook's own pages are, for the page's links; empty: no links.
        bundle: the one version that this server serves, a folder or its place in a store; empty: it follows the ledger.
        require_key: whether predictions need an API key; None: as the served version's project and `host` say.
        name: unique for each start; log files carry it.
    """

    model: str
    store: str
    spool: Path
    trusted: Path
    tokens: Path
    host: str = "127.0.0.1"
    port: int = 8080
    metrics_port: int = 9091
    poll_seconds: float = 2.0
    flush_seconds: float = 5.0
    flush_rows: int = 20_000
    queue_rows: int = 50_000
    spool_bytes: int = 2048 * MIB
    body_bytes: int | None = None
    drain_seconds: float = 20.0
    threads: int = 1
    workers: int = 1
    latency_ms: float | None = None
    deadline_ms: float | None = None
    max_connections: int = 1000
    keep_alive_seconds: float = 75.0
    head_seconds: float = 10.0
    body_seconds: float = 20.0
    hook_url: str = ""
    require_key: bool | None = None
    bundle: str = ""
    name: str = field(default_factory=server_name)

    @property
    def runs(self) -> int:
        """How many runs of a slow model one worker has at once: what its part of the processors can do."""
        return max(1, min(MAX_RUNS, int(processors() / (self.threads * self.workers))))

    @property
    def home(self) -> Path:
        """The folder of this model's spool, shared by all its servers on this machine."""
        return self.spool / self.model
