"""`trimtab cancel`: end a run, wherever it is at work."""

from __future__ import annotations

from typing import Annotated

import typer

from trimtab.cli.kubeflow import Header, Host, Namespace, TokenFile


def cancel(
    key: Annotated[str, typer.Argument(help="the run's key, or its beginning")],
    host: Host = "",
    namespace: Namespace = "",
    token_file: TokenFile = "",
    header: Header = None,
    as_json: Annotated[bool, typer.Option("--json", help="facts as JSON")] = False,
) -> None:
    """End a run on this machine or on a cluster; nothing happens where it has ended."""
    import json

    from trimtab.cli.kubeflow import connect
    from trimtab.cli.which import person
    from trimtab.core import runs
    from trimtab.core import settings as environment
    from trimtab.core.store import open_store
    from trimtab.pipelines import history
    from trimtab.pipelines.kubeflow_follow import cancel as end_there
    from trimtab.pipelines.kubeflow_submit import at_work
    from trimtab.pipelines.launcher import LocalLauncher

    settings = environment.load()
    store = open_store(settings.store, settings)
    key = history.find_key(store, key)
    state = history.state_of(store, key)
    if state in ("new", "running") and history.place_of(store, key) == "cluster":
        kubeflow = connect(settings, host, namespace, token_file, header)
        run = at_work(kubeflow, store, key)
        state = end_there(kubeflow, store, key, run.id, person()) if run is not None else history.state_of(store, key)
    elif state in ("new", "running"):
        LocalLauncher(store, settings).cancel(key)
        state = "cancelled" if runs.newest(store, key) else "new"
    typer.echo(json.dumps({"key": key, "state": state}) if as_json else f"run {key}: {state}")
