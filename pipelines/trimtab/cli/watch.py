"""`trimtab watch`: windows, verdicts, metrics, reports and alarms of the champions of all models."""

from __future__ import annotations

from typing import Annotated

import typer


def watch(
    models: Annotated[list[str] | None, typer.Argument(help="The models to watch; all of the store's.")] = None,
    host: Annotated[str, typer.Option(help="Address of the metrics; loopback unless told.")] = "127.0.0.1",
    metrics_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the Prometheus metrics.")] = 9092,
    poll_seconds: Annotated[float, typer.Option(min=0.05, help="Pause between two looks at the store.")] = 5.0,
    hook: Annotated[str, typer.Option(help="Base URL of the hook; by default TRIMTAB_HOOK_URL; '-' for none.")] = "",
    reports: Annotated[bool, typer.Option(help="Draw a report when the verdict changes.")] = True,
) -> None:
    """Judge the champions' windows: has one drifted, since when, and what does it cost?"""
    import signal
    import threading

    from prometheus_client import CollectorRegistry, Counter, start_http_server

    from trimtab.core import logs, settings
    from trimtab.core.store import OPERATIONS, open_store, probe
    from trimtab.core.store.keys import check_name
    from trimtab.core.tokens import ensure_token
    from trimtab.monitoring.alarm import Alarm, http_sender
    from trimtab.monitoring.lean import without_pandas
    from trimtab.monitoring.metrics import WatchMetrics
    from trimtab.monitoring.models import POLLS, Models
    from trimtab.monitoring.report import Reporter
    from trimtab.monitoring.turns import Turns
    from trimtab.monitoring.watch import Watch
    from trimtab.monitoring.watches import Watches

    without_pandas()
    chosen = settings.load()
    registry = CollectorRegistry()
    errors = Counter(
        "trimtab_store_errors", "Requests to the store that failed, retried or not", ["operation"], registry=registry
    )
    for operation in OPERATIONS:
        errors.labels(operation)
    store = open_store(chosen.store, chosen, on_error=lambda operation: errors.labels(operation).inc())
    probe(store, "watch")
    names = [check_name(model) for model in models or []]
    logs.setup(chosen.log_level, process="watch")
    url = hook or chosen.hook_url
    send = None if url == "-" else http_sender(url, ensure_token(chosen))
    reporter = Reporter(store) if reports else None
    shown = WatchMetrics(registry)

    def make(model: str) -> Watch:
        return Watch(store, model, shown, reporter, Alarm(store, model, url, send) if send else None)

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    metrics, thread = start_http_server(metrics_port, addr=host, registry=registry)
    about = ", ".join(names) or f"all models of {store.url}"
    typer.echo(f"watching {about} (metrics on http://{host}:{metrics.server_port}/metrics); Ctrl-C ends it", err=True)
    try:
        Watches(Models(store, names, POLLS * poll_seconds), make, shown, Turns(poll_seconds)).run(stop)
    finally:
        if reporter is not None:
            reporter.stop()
        metrics.shutdown()
        metrics.server_close()
        thread.join(timeout=5)
