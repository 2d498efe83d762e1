"""One measurement: a server under a load, with the CPU it used and the memory it had meanwhile."""

from __future__ import annotations

import statistics
import threading
from dataclasses import replace
from typing import Any

from benchmarks.serving_bench.load import Generator, Load
from benchmarks.serving_bench.processes import Use
from benchmarks.serving_bench.servers import Server


class Peak(threading.Thread):
    """Samples a server's memory four times a second."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self._server, self._done = server, threading.Event()
        self.worker = self.shipper = 0.0

    def run(self) -> None:
        """Until `stop`."""
        while not self._done.wait(0.25):
            use = self._server.use()
            self.worker, self.shipper = max(self.worker, use.rss_mb), max(self.shipper, use.shipper_rss_mb)

    def stop(self) -> None:
        """End the thread."""
        self._done.set()
        self.join()


def under(server: Server, load: Load, *, requests: list[str] | None = None) -> dict[str, Any]:
    """Facts of one measurement (see `load.report`), `cpu_us` a request of what answers, and memory in MB.

    Raises:
        RuntimeError: a request was refused or failed: a benchmark of errors says nothing.
    """
    load = replace(load, port=server.port, requests=requests or server.requests)
    generator = Generator(load)
    peak = Peak(server)
    peak.start()
    before: Use = server.use()
    facts = generator.measure()
    used = server.use().since(before)
    peak.stop()
    good = facts["statuses"].get("200", 0)
    if good != sum(facts["statuses"].values()) or not good:
        tail = server.log.read_text(errors="replace")[-600:]
        raise RuntimeError(f"{server.name}: {facts['statuses']}, {facts['first_error']}; its log ends: {tail}")
    return {
        **facts,
        "cpu_us": round(1e6 * used.cpu / good, 2),
        "cores": round(used.cpu / load.seconds, 3),
        "client_cores": round(facts["client_cpu_s"] / load.seconds, 3),
        "shipper_cpu_s": round(used.shipper_cpu, 3),
        "rss_mb": round(peak.worker, 1),
        "shipper_rss_mb": round(peak.shipper, 1),
    }


def spread(values: list[float], digits: int = 3) -> dict[str, float]:
    """Median, smallest and largest of repeats."""
    if not values:
        return {}
    return {
        "median": round(statistics.median(values), digits),
        "low": round(min(values), digits),
        "high": round(max(values), digits),
        "repeats": len(values),
    }


def ratios(over: list[dict[str, Any]], under: list[dict[str, Any]], key: str) -> dict[str, float]:
    """The ratio of a fact in each repeat, and its spread: what slows both down cancels out."""
    return spread([a[key] / b[key] for a, b in zip(over, under, strict=True)])


def mean(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means of the facts of several measurements that stand for one."""
    keys = [k for k, v in rows[0].items() if isinstance(v, (int, float))]
    return {key: round(statistics.fmean(float(row[key]) for row in rows), 4) for key in keys}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of the facts of several repeats."""
    keys = [k for k, v in rows[0].items() if isinstance(v, (int, float))]
    return {key: round(statistics.median(float(row[key]) for row in rows), 4) for key in keys}
