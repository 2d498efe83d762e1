"""The Serving dashboard: traffic, errors, latency, and whether every answered row reaches the log."""

from __future__ import annotations

from typing import Any

from dashboards.opening import assemble
from dashboards.parts import Placed, Query, Section, graph, of

REQUESTS = of("trimtab_server_requests_total")
FAILED = of("trimtab_server_requests_total", code="~5..")
SECONDS = of("trimtab_server_request_seconds_bucket")


def quantile(q: float) -> Query:
    """A quantile of the time from arrival to answer."""
    expr = f"histogram_quantile({q}, sum by (model, version, le) (rate({SECONDS}[$__rate_interval])))"
    return Query(expr, f"{{{{model}}}} {{{{version}}}} p{q * 100:g}")


def rate(expr: str, by: str) -> str:
    """A counter's rate, summed by labels."""
    return f"sum by ({by}) (rate({expr}[$__rate_interval]))"


def build() -> dict[str, Any]:
    """The dashboard as Grafana's JSON."""
    # A server without a failure has no series of failures: 0 is said only where requests are seen.
    failing = (
        f"({rate(FAILED, 'model, version')} or 0 * {rate(REQUESTS, 'model, version')})"
        f" / {rate(REQUESTS, 'model, version')}"
    )
    alive = (
        "0 * count by (job) (trimtab_server_in_flight or trimtab_watch_last_look_timestamp_seconds"
        ' or trimtab_runs_total{outcome="succeeded"})'
    )
    errors = "sum by (job, operation) (rate(trimtab_store_errors_total[$__rate_interval]))"
    return assemble(
        "trimtab-serving",
        "Traffic, errors and latency of the model servers, and whether every answered row reaches the log.",
        [
            Section(
                "Requests",
                [
                    Placed(
                        graph(
                            "Requests by version",
                            "Requests answered a second. During a canary two versions share them.",
                            "reqps",
                            [Query(rate(REQUESTS, "model, version"), "{{model}} {{version}}")],
                            stacked=True,
                        )
                    ),
                    Placed(
                        graph(
                            "Requests by protocol and status",
                            "4xx is a caller's mistake, 5xx is ours.",
                            "reqps",
                            [Query(rate(REQUESTS, "model, protocol, code"), "{{model}} {{protocol}} {{code}}")],
                        )
                    ),
                    Placed(
                        graph(
                            "Share of requests that failed (5xx)",
                            "What burns the error budget. A server that is away shows no line at all: look at the "
                            "processes on the overview.",
                            "percentunit",
                            [Query(failing, "{{model}} {{version}}")],
                        )
                    ),
                    Placed(
                        graph(
                            "Time to answer",
                            "Median, 95th and 99th percentile from a request's arrival to its answer, by version.",
                            "s",
                            [quantile(0.5), quantile(0.95), quantile(0.99)],
                        )
                    ),
                    Placed(
                        graph(
                            "Requests being answered now",
                            "A line that climbs and stays is a server that cannot keep up.",
                            "short",
                            [Query(of("trimtab_server_in_flight"), "{{model}} {{instance}}")],
                        )
                    ),
                    Placed(
                        graph(
                            "Answers by label",
                            "Rows answered a second, by predicted label (the 20 most frequent). A mix that shifts "
                            "is drift that needs no labels to be seen.",
                            "cps",
                            [
                                Query(
                                    rate(of("trimtab_server_predictions_total"), "model, label"),
                                    "{{model}} {{label}}",
                                )
                            ],
                            stacked=True,
                        )
                    ),
                ],
            ),
            Section(
                "Prediction log and labels",
                [
                    Placed(
                        graph(
                            "Rows of the prediction log",
                            "spooled: on the server's disk. written: in the store. dropped: lost, never silently; "
                            "any dropped row is worth an hour's look.",
                            "cps",
                            [Query(rate(of("trimtab_log_rows_total"), "model, outcome"), "{{model}} {{outcome}}")],
                        )
                    ),
                    Placed(
                        graph(
                            "Rows waiting on disk",
                            "Bytes that wait for the store. Climbs while the store is away, falls when it is back.",
                            "bytes",
                            [Query(of("trimtab_log_spool_bytes"), "{{model}} {{instance}}")],
                        )
                    ),
                    Placed(
                        graph(
                            "Labels that came",
                            "By POST /feedback: accepted, refused, written to the store, dropped.",
                            "cps",
                            [Query(rate(of("trimtab_labels_total"), "model, outcome"), "{{model}} {{outcome}}")],
                        )
                    ),
                    Placed(
                        graph(
                            "Failed requests to the store",
                            "Of server, watch and hook, by operation, retried or not. Nothing but zero is normal.",
                            "reqps",
                            # A process without an error may have no series of errors: 0 only while it is up.
                            [Query(f"{errors} or {alive}", "{{job}} {{operation}}")],
                        )
                    ),
                ],
            ),
        ],
    )
