"""What one server is told at its start."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path

MIB = 1 << 20


def server_name() -> str:
    """A name that no other start of any server has, and that sorts by the moment of the start.

    >>> len(server_name())
    18
    """
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(3)}"


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
    name: str = field(default_factory=server_name)

    @property
    def home(self) -> Path:
        """The folder of this model's spool, shared by all its servers on this machine."""
        return self.spool / self.model
