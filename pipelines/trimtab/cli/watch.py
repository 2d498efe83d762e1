"""`trimtab watch`: windows, verdicts, metrics, reports and alarms of a model's champion."""

from __future__ import annotations

from typing import Annotated

import typer


def watch(
    model: Annotated[str, typer.Argument(help="The model to watch; left out where the store has one.")] = "",
    host: Annotated[str, typer.Option(help="Address of the metrics; loopback unless told.")] = "127.0.0.1",
    metrics_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the Prometheus metrics.")] = 9092,
    poll_seconds: Annotated[float, typer.Option(min=0.05, help="Pause between two looks at the store.")] = 5.0,
    hook: Annotated[str, typer.Option(help="Base URL of the hook; by default TRIMTAB_HOOK_URL; '-' for none.")] = "",
    reports: Annotated[bool, typer.Option(help="Draw a report when the verdict changes.")] = True,
) -> None:
    """Judge the champion's windows: has it drifted, since when, and what does it cost?"""
    import signal
    import threading

    from prometheus_client import CollectorRegistry, Counter, start_http_server

    from trimtab.cli.choose import only_model
    from trimtab.core import logs, settings
    from trimtab.core.store import OPERATIONS, open_store, probe
    from trimtab.core.store.keys import check_name
    from trimtab.core.tokens import ensure_token
    from trimtab.monitoring.alarm import Alarm, http_sender
    from trimtab.monitoring.metrics import WatchMetrics
    from trimtab.monitoring.report import Reporter
    from trimtab.monitoring.watch import Watch, run

    chosen = settings.load()
    registry = CollectorRegistry()
    errors = Counter(
        "trimtab_store_errors", "Requests to the store that failed, retried or not", ["operation"], registry=registry
    )
    for operation in OPERATIONS:
        errors.labels(operation)
    store = open_store(chosen.store, chosen, on_error=lambda operation: errors.labels(operation).inc())
    probe(store, "watch")
    name = check_name(model) if model else only_model(store)
    logs.setup(chosen.log_level, process="watch", model=name)
    url = hook or chosen.hook_url
    alarm = None if url == "-" else Alarm(store, name, url, http_sender(url, ensure_token(chosen)))
    reporter = Reporter(store) if reports else None
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    metrics, thread = start_http_server(metrics_port, addr=host, registry=registry)
    typer.echo(f"watching {name} (metrics on http://{host}:{metrics.server_port}/metrics); Ctrl-C ends it", err=True)
    try:
        run(Watch(store, name, WatchMetrics(registry), reporter, alarm), stop, poll_seconds)
    finally:
        if reporter is not None:
            reporter.stop()
        metrics.shutdown()
        metrics.server_close()
        thread.join(timeout=5)
