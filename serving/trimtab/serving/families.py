"""The server's metrics by name: what each counts, its labels, and how several workers' figures become one."""

from __future__ import annotations

from typing import Literal, NamedTuple

from trimtab.core.store import OPERATIONS


class Family(NamedTuple):
    """One metric.

    Attributes:
        name: as Prometheus sees it.
        help: what it is.
        labels: names of its labels after `model`, or all where `model` is not among them.
        kind: how it is exported, and joined: counters and levels add up, the largest state counts.
        of_model: whether `model` is its first label.
        zero: label values that are exported before anything was counted.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()
    kind: Literal["counter", "level", "state"] = "counter"
    of_model: bool = True
    zero: tuple[tuple[str, ...], ...] = ()

    @property
    def names(self) -> list[str]:
        """All its label names."""
        return [*(["model"] if self.of_model else []), *self.labels]


REQUESTS = "trimtab_server_requests_total"
SECONDS = "trimtab_server_request_seconds"
IN_FLIGHT = "trimtab_server_in_flight"
PREDICTIONS = "trimtab_server_predictions_total"
ROWS = "trimtab_log_rows_total"
LOST = "trimtab_log_lost_rows_total"
SPOOL = "trimtab_log_spool_bytes"
LABELS = "trimtab_labels_total"
SHADOW = "trimtab_server_shadow_rows_total"
RUNS = "trimtab_server_runs_total"
RUN_ROWS = "trimtab_server_run_rows_total"
STORE_ERRORS = "trimtab_store_errors_total"

# Labels that hold a version: what was counted for one that no longer serves is exported no more.
OF_VERSION = frozenset({PREDICTIONS, SHADOW})

FAMILIES: tuple[Family, ...] = (
    Family(IN_FLIGHT, "Requests being answered.", kind="level", zero=((),)),
    Family(PREDICTIONS, "Rows answered, by label.", ("version", "label")),
    Family(ROWS, "Rows of the prediction log.", ("outcome",), zero=(("written",), ("spooled",), ("dropped",))),
    Family(LOST, "Rows that were in a killed server's memory; `dropped` has them too.", zero=((),)),
    Family(SPOOL, "Bytes that wait for the store.", kind="state", zero=((),)),
    Family(LABELS, "Labels received.", ("outcome",), zero=(("accepted",), ("refused",), ("written",), ("dropped",))),
    Family(SHADOW, "Rows offered to the version in the shadow, by what became of them.", ("version", "outcome")),
    Family(RUNS, "Runs of slow models.", zero=((),)),
    Family(RUN_ROWS, "Rows in runs of slow models.", zero=((),)),
    Family(
        STORE_ERRORS,
        "Requests to the store that failed.",
        ("operation",),
        of_model=False,
        zero=tuple((operation,) for operation in OPERATIONS),
    ),
)
