"""`trimtab logs`: what a run's stages wrote, and why it failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.kubeflow import Header, Host, Namespace, TokenFile

if TYPE_CHECKING:
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

    from trimtab.cli.kubeflow import connect, find_key
    from trimtab.core import runs
    from trimtab.core import settings as environment
    from trimtab.core.store import open_store
    from trimtab.pipelines import history

    settings = environment.load()
    store = open_store(settings.store, settings)
    key = find_key(store, key)
    errors = [e for e in runs.errors(store, key) if stage in ("", str(e["stage"]))]
    if history.place_of(store, key) == "cluster":
        found = _of_cluster(connect(settings, host, namespace, token_file, header), store, settings, key, stage)
    else:
        found = _of_this_machine(store, settings, key)
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


def _of_this_machine(store: Store, settings: Settings, key: str) -> list[tuple[str, str]]:
    from trimtab.pipelines import work

    folder = work.run_folder(work.work_folder(store.url, settings), key)
    return [(f.name, f.read_text(errors="replace")) for f in sorted(folder.glob("*.log"))]


def _of_cluster(kubeflow: Kubeflow, store: Store, settings: Settings, key: str, stage: str) -> list[tuple[str, str]]:
    """The log that KFP keeps of each task, else its pod's by the API."""
    from trimtab.pipelines.kubeflow_records import lost_or, owner, started
    from trimtab.pipelines.kubeflow_why import executor_logs, task_of

    last = owner(store, key)
    ids = [last.run_id] if last is not None else [s.run_id for s in started(store, key)[-1:]]
    run = lost_or(kubeflow, ids[0]) if ids else None
    if run is None:
        return []
    wanted = {"", stage.replace(".", " "), stage.partition(".")[0]} if stage else None
    kept = dict(executor_logs(run, settings))
    found: list[tuple[str, str]] = []
    for task in run.tasks:
        name = task_of(task)
        if not task.pods or not name or (wanted is not None and name not in wanted):
            continue
        text = kept.pop(name, "") or "\n".join(t for t in (kubeflow.node_log(run.id, p) for p in task.pods) if t)
        if text:
            found.append((name, text))
    return found
