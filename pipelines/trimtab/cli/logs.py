"""`trimtab logs`: what a run's stages wrote, and why it failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.kubeflow import Header, Host, Namespace, TokenFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from trimtab.core.settings import Settings
    from trimtab.core.store import Store
    from trimtab.pipelines.kubeflow_api import Kubeflow


def logs(
    key: Annotated[str, typer.Argument(help="the run's key, or its beginning")],
    stage: Annotated[str, typer.Argument(help="one stage alone, e.g. train or train.mlp")] = "",
    host: Host = "",
    namespace: Namespace = "",
    token_file: TokenFile = "",
    header: Header = None,
    as_json: Annotated[bool, typer.Option("--json", help="facts as JSON")] = False,
) -> None:
    """Show what a run's stages wrote: from the cluster, or the log of a run on this machine."""
    import json

    from trimtab.cli.kubeflow import connect
    from trimtab.core import runs
    from trimtab.core import settings as environment
    from trimtab.core.store import open_store
    from trimtab.pipelines import history
    from trimtab.pipelines.kubeflow_records import failed_starts

    settings = environment.load()
    store = open_store(settings.store, settings)
    early = history.early(store, key)
    if early is not None:  # it failed before it had a key, and its first stage's error is all there is
        found, errors = [], [early]
    else:
        key = history.find_key(store, key)
        found = _found(store, settings, key, stage, lambda: connect(settings, host, namespace, token_file, header))
        errors = [*failed_starts(store, key), *runs.errors(store, key)]
    errors = [e for e in errors if stage in ("", str(e["stage"]))]
    if as_json:
        typer.echo(json.dumps({"key": key, "logs": dict(found), "errors": errors}, ensure_ascii=False))
        return
    for name, text in found:
        typer.echo(f"── {name}")
        typer.echo(text.rstrip())
    for error in errors:
        typer.echo(f"── {error['stage']} failed: {error['message']}")
    if not found and not errors:
        typer.echo("nothing is kept of it that can be read here", err=True)


def _found(
    store: Store, settings: Settings, key: str, stage: str, connected: Callable[[], Kubeflow]
) -> list[tuple[str, str]]:
    from trimtab.pipelines import history

    if history.place_of(store, key) == "cluster":
        return _of_cluster(connected(), store, settings, key, stage)
    return _of_this_machine(store, settings, key)


def _of_this_machine(store: Store, settings: Settings, key: str) -> list[tuple[str, str]]:
    from trimtab.pipelines import work

    folder = work.run_folder(work.work_folder(store.url, settings), key)
    return [(f.name, f.read_text(errors="replace")) for f in sorted(folder.glob("*.log"))]


def _of_cluster(kubeflow: Kubeflow, store: Store, settings: Settings, key: str, stage: str) -> list[tuple[str, str]]:
    """The log that KFP keeps of each task, else its pod's by the API."""
    from trimtab.core import runs
    from trimtab.pipelines.kubeflow_records import lost_or, owner, started
    from trimtab.pipelines.kubeflow_why import executor_logs, stage_of, task_of

    last = owner(store, key)
    ids = [last.run_id] if last is not None else [s.run_id for s in started(store, key)[-1:]]
    run = lost_or(kubeflow, ids[0]) if ids else None
    if run is None:
        return []
    wanted = {stage.replace(".", " "), stage.partition(".")[0]} if stage else None
    kept = executor_logs(run, runs.read_request(store, key).model, settings)
    found = [(name, text) for name, text in kept.items() if wanted is None or name in wanted]
    for task in run.tasks:
        name = task_of(task)
        of_wanted = wanted is None or name in wanted or stage_of(name) in wanted
        if not task.pods or not name or not of_wanted or stage_of(name) in map(stage_of, kept):
            continue
        text = "\n".join(t for t in (kubeflow.node_log(run.id, p) for p in task.pods) if t)
        if text:
            found.append((name, text))
    return found
