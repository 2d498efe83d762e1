"""`trimtab serve`: the model server."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from trimtab.core.settings import load

if TYPE_CHECKING:
    import typer

    from trimtab.serving.process import Ready


def serve(
    model: Annotated[str, typer.Argument(help="The model to serve; may be left out where the store has one.")] = "",
    bundle: Annotated[
        str,
        typer.Option(
            help="Serve this one version and never follow the ledger: a folder, or s3://…/models/<model>/versions/<v>."
        ),
    ] = "",
    host: Annotated[str, typer.Option(help="Address to answer on; loopback unless told.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of REST, feedback and page; 0 takes a free one.")
    ] = 8080,
    metrics_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the Prometheus metrics; 0 takes a free one.")
    ] = 9091,
    poll_seconds: Annotated[float, typer.Option(min=0.05, max=3600, help="How often the ledger is read.")] = 2.0,
    flush_seconds: Annotated[
        float, typer.Option(min=0.05, max=3600, help="A log file is closed after so long …")
    ] = 5.0,
    flush_rows: Annotated[int, typer.Option(min=1, max=10_000_000, help="… or after so many rows.")] = 20_000,
    spool: Annotated[Path | None, typer.Option(help="Folder for what the store does not have yet.")] = None,
    body_mib: Annotated[
        float | None,
        typer.Option(min=0.001, max=4096, help="Largest request body, MiB; by default the project's max_body_mb."),
    ] = None,
    drain_seconds: Annotated[
        float, typer.Option(min=0, max=3600, help="How long a stopping server finishes its work.")
    ] = 20.0,
    threads: Annotated[int, typer.Option(min=1, max=256, help="Threads of one model run.")] = 1,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that answer on the one port.")] = 1,
    latency_ms: Annotated[
        float | None,
        typer.Option(
            min=1, max=3_600_000, help="Longest time to an answer at overload; by default the project's latency_ms."
        ),
    ] = None,
    deadline_ms: Annotated[
        float | None,
        typer.Option(min=1, max=3_600_000, help="When a request is given up; by default the project's deadline_ms."),
    ] = None,
    max_connections: Annotated[int, typer.Option(min=1, max=1_000_000, help="Open connections of one worker.")] = 1000,
    keep_alive_seconds: Annotated[
        float, typer.Option(min=0.1, max=86400, help="How long an idle connection is kept.")
    ] = 75.0,
    head_seconds: Annotated[
        float, typer.Option(min=0.1, max=3600, help="How long a request's head may take to come.")
    ] = 10.0,
    body_seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="How long its body may take.")] = 20.0,
    hook_url: Annotated[
        str, typer.Option(help="Where the hook's pages are, for the page's links; by default TRIMTAB_HOOK_URL.")
    ] = "",
    require_key: Annotated[
        bool | None,
        typer.Option(
            "--require-key/--no-require-key",
            help="Ask for an API key; by default as the project says, else unless the host is loopback.",
        ),
    ] = None,
) -> None:
    """Serve a model over KServe's V1 and V2 REST protocol; champion and canary follow the ledger."""
    # pydantic looks through all installed packages for plugins of its own: a tenth of a server's start.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from trimtab.cli.choose import only_model
    from trimtab.core import logs
    from trimtab.core.store import open_store
    from trimtab.core.store.keys import check_name
    from trimtab.core.tokens import ensure_token
    from trimtab.serving.config import MIB, ServerConfig
    from trimtab.serving.process import run_server

    settings = load()
    if bundle:
        model = _model_of(bundle, model)
    if not model:
        model = only_model(open_store(settings.store, settings))
    check_name(model)
    logs.setup(settings.log_level, process="server", model=model)
    ensure_token(settings)
    config = ServerConfig(
        model=model,
        store=settings.store,
        spool=spool or settings.spool,
        trusted=settings.trusted_keys,
        tokens=settings.tokens,
        host=host,
        port=port,
        metrics_port=metrics_port,
        poll_seconds=poll_seconds,
        flush_seconds=flush_seconds,
        flush_rows=flush_rows,
        body_bytes=None if body_mib is None else int(body_mib * MIB),
        drain_seconds=drain_seconds,
        threads=threads,
        workers=workers,
        latency_ms=latency_ms,
        deadline_ms=deadline_ms,
        max_connections=max_connections,
        keep_alive_seconds=keep_alive_seconds,
        head_seconds=head_seconds,
        body_seconds=body_seconds,
        require_key=require_key,
        hook_url=hook_url or settings.hook_url,
        bundle=bundle,
    )

    def say(ready: Ready) -> None:
        url = f"http://{host}:{ready.rest}"
        if ready.version:
            line = f"serving {model} {ready.version} on {url} (metrics on {ready.metrics})"
        else:
            why = ready.why if ready.why.startswith("no version") else f"no version serves: {ready.why}"
            line = f"{why.rstrip('.')}. Listening on {url} (metrics on {ready.metrics})"
        sys.stderr.write(f"{line}; Ctrl-C drains and ends\nfeedback takes the token in {settings.token_file}\n")

    run_server(config, settings, say)


def _model_of(bundle: str, model: str) -> str:
    """The model that a bundle is of, which must be the one that was named, where one was."""
    from trimtab.core.errors import ProjectError
    from trimtab.serving.fixed import locate

    found = locate(bundle).model
    if model not in {"", found}:
        raise ProjectError("the bundle is of another model", object=bundle, expected=model, got=found)
    return found
