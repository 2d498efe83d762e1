"""`trimtab hook`: the retrain hook with the rollout controller."""

from __future__ import annotations

from typing import Annotated

import typer


def hook(
    models: Annotated[list[str] | None, typer.Argument(help="The models to look after; all of the store's.")] = None,
    host: Annotated[str, typer.Option(help="Address to answer on; loopback unless told.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of alerts, status and reports; 0 takes a free one.")
    ] = 8090,
    metrics_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the Prometheus metrics.")] = 9095,
    poll_seconds: Annotated[float, typer.Option(min=0.05, help="Pause between two looks at the store.")] = 5.0,
    server_metrics: Annotated[
        str, typer.Option(help="The model server's metrics, by which failed requests are judged; '' for none.")
    ] = "http://127.0.0.1:9091/metrics",
    actuator: Annotated[
        str, typer.Option(help="Where versions serve: `server`, one model server; `kserve`, a cluster.")
    ] = "server",
    launcher: Annotated[
        str, typer.Option(help="Where retrains run: `local`, processes here; `kubeflow`, a cluster.")
    ] = "local",
    namespace: Annotated[str, typer.Option(help="Where models serve on the cluster; by default the pod's own.")] = "",
    runs_in: Annotated[
        str, typer.Option(help="Where retrains run on the cluster [default: TRIMTAB_KUBEFLOW_NAMESPACE].")
    ] = "",
) -> None:
    """Answer alerts with retrain campaigns, and take new versions from canary to champion or back."""
    import socket

    from prometheus_client import CollectorRegistry, Counter, start_http_server

    from trimtab.cli.actuators import make_actuator
    from trimtab.cli.launchers import make_launcher
    from trimtab.core import logs, settings
    from trimtab.core.store import OPERATIONS, open_store, probe
    from trimtab.core.store.keys import check_name
    from trimtab.core.tokens import TokenFile, ensure_token
    from trimtab.monitoring.hook import make_app
    from trimtab.monitoring.hook_metrics import HookCollector
    from trimtab.monitoring.hook_service import HookService, serve
    from trimtab.monitoring.lean import without_pandas
    from trimtab.monitoring.remember import Remembering

    without_pandas()
    chosen = settings.load()
    logs.setup(chosen.log_level, process="hook")
    registry = CollectorRegistry()
    errors = Counter(
        "trimtab_store_errors", "Requests to the store that failed, retried or not", ["operation"], registry=registry
    )
    for operation in OPERATIONS:
        errors.labels(operation)
    store = Remembering(open_store(chosen.store, chosen, on_error=lambda operation: errors.labels(operation).inc()))
    probe(store, "hook")
    ensure_token(chosen)
    service = HookService(
        store,
        make_launcher(launcher, runs_in, store, chosen),
        make_actuator(actuator, namespace, store, server_metrics),
        [check_name(m) for m in models or []],
        poll_seconds,
    )
    registry.register(HookCollector(store, service.known))
    if port == 0:
        with socket.socket() as free:
            free.bind((host, 0))
            port = int(free.getsockname()[1])
    metrics, thread = start_http_server(metrics_port, addr=host, registry=registry)
    typer.echo(f"hook on http://{host}:{port} (metrics on {metrics.server_port}); Ctrl-C ends it", err=True)
    try:
        serve(service, make_app(store, TokenFile(chosen.tokens), service.answers, service.status), host, port)
    finally:
        metrics.shutdown()
        metrics.server_close()
        thread.join(timeout=5)
