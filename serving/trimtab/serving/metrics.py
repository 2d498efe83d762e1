"""The server's Prometheus metrics; the registry is passed in, labels are bounded, versions leave with the fold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

from trimtab.core.store import OPERATIONS

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

TOP_LABELS = 20
BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics:
    """All that one server counts.

    Args:
        registry: where the metrics are registered.
        model: the model's name, a label of every metric.
    """

    def __init__(self, registry: CollectorRegistry, model: str) -> None:
        self._model = model
        self._requests = Counter(
            "trimtab_server_requests_total",
            "Requests answered.",
            ["model", "version", "protocol", "code"],
            registry=registry,
        )
        self._seconds = Histogram(
            "trimtab_server_request_seconds",
            "Time from a request's arrival to its answer.",
            ["model", "version", "protocol"],
            buckets=BUCKETS,
            registry=registry,
        )
        in_flight = Gauge("trimtab_server_in_flight", "Requests being answered.", ["model"], registry=registry)
        self._predictions = Counter(
            "trimtab_server_predictions_total",
            "Rows answered, by label.",
            ["model", "version", "label"],
            registry=registry,
        )
        rows = Counter("trimtab_log_rows_total", "Rows of the prediction log.", ["model", "outcome"], registry=registry)
        spool = Gauge("trimtab_log_spool_bytes", "Bytes that wait for the store.", ["model"], registry=registry)
        labels = Counter("trimtab_labels_total", "Labels received.", ["model", "outcome"], registry=registry)
        self._store_errors = Counter(
            "trimtab_store_errors_total", "Requests to the store that failed.", ["operation"], registry=registry
        )
        for operation in OPERATIONS:
            self._store_errors.labels(operation)
        self.in_flight = in_flight.labels(model)
        self._rows = {outcome: rows.labels(model, outcome) for outcome in ("written", "spooled", "dropped")}
        self._spool = spool.labels(model)
        self._labels = {o: labels.labels(model, o) for o in ("accepted", "refused", "written", "dropped")}
        # Children are kept: looking one up by its labels costs as much as counting.
        self._request_children: dict[tuple[str, str, int], Counter] = {}
        self._time_children: dict[tuple[str, str], Histogram] = {}
        self._label_children: dict[tuple[str, str], Counter] = {}

    def answered(self, version: str, protocol: str, code: int, seconds: float) -> None:
        """Count one answer."""
        key = (version, protocol, code)
        child = self._request_children.get(key)
        if child is None:
            child = self._request_children[key] = self._requests.labels(self._model, version, protocol, str(code))
        child.inc()
        timer = self._time_children.get((version, protocol))
        if timer is None:
            timer = self._time_children[(version, protocol)] = self._seconds.labels(self._model, version, protocol)
        timer.observe(seconds)

    def predicted(self, version: str, label: str, rows: int = 1) -> None:
        """Count rows answered with a label; a number is counted under `value`."""
        child = self._label_children.get((version, label))
        if child is None:
            known = sum(1 for v, _ in self._label_children if v == version)
            if known >= TOP_LABELS:
                label = "other"
            child = self._predictions.labels(self._model, version, label)
            if known <= TOP_LABELS:
                self._label_children[(version, label)] = child
        child.inc(rows)

    def log_spooled(self, rows: int) -> None:
        """Rows that reached the disk."""
        self._rows["spooled"].inc(rows)

    def log_written(self, rows: int) -> None:
        """Rows that reached the store."""
        self._rows["written"].inc(rows)

    def log_dropped(self, rows: int) -> None:
        """Rows that were lost: queue or spool full, disk refused, line torn."""
        self._rows["dropped"].inc(rows)

    def labels(self, outcome: str, rows: int) -> None:
        """Labels accepted, refused, written to the store, or dropped."""
        self._labels[outcome].inc(rows)

    def spool_bytes(self, size: int) -> None:
        """What waits on disk for the store."""
        self._spool.set(size)

    def store_error(self, operation: str, count: int = 1) -> None:
        """A request to the store failed."""
        self._store_errors.labels(operation).inc(count)

    def keep(self, versions: list[str]) -> None:
        """Remove what was counted for versions that no longer serve; requests without a version stay."""
        stay = {*versions, ""}
        for request in [key for key in self._request_children if key[0] not in stay]:
            del self._request_children[request]
            self._requests.remove(self._model, request[0], request[1], str(request[2]))
        for timer in [key for key in self._time_children if key[0] not in stay]:
            del self._time_children[timer]
            self._seconds.remove(self._model, *timer)
        for label in [key for key in self._label_children if key[0] not in stay]:
            del self._label_children[label]
            self._predictions.remove(self._model, *label)
