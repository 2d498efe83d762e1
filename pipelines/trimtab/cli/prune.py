"""`trimtab prune`: take away what nobody needs any more."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from trimtab.cli.kubeflow import Header, Host, Namespace, TokenFile


def prune(
    days: Annotated[float, typer.Option(min=0.0, help="runs of the backend that ended longer ago")] = 30.0,
    yes: Annotated[bool, typer.Option("--yes", help="do it; without, only say what would be done")] = False,
    host: Host = "",
    namespace: Namespace = "",
    token_file: TokenFile = "",
    header: Header = None,
    as_json: Annotated[bool, typer.Option("--json", help="facts as JSON")] = False,
) -> None:
    """Delete old runs of the Kubeflow backend and garbage of the store; never a record, a version or its run."""
    import json

    from trimtab.cli.kubeflow import connect
    from trimtab.core import settings as environment
    from trimtab.core.records import utcnow
    from trimtab.core.store import open_store
    from trimtab.pipelines import prune as pruning

    settings = environment.load()
    store = open_store(settings.store, settings)
    kubeflow = connect(settings, host, namespace, token_file, header) if host or settings.kubeflow.endpoint else None
    now = utcnow()
    found = pruning.garbage(store)
    old = pruning.old_runs(kubeflow, store, days, now) if kubeflow is not None else []
    facts: dict[str, Any] = {
        "garbage": [{"prefix": g.prefix, "keys": g.keys, "why": g.why, "ripe": g.ripe(now)} for g in found],
        "runs": [{"id": r.id, "name": r.name, "state": r.state, "ended_at": str(r.finished_at)} for r in old],
        "done": yes,
    }
    if yes:
        facts["deleted_keys"], facts["noted"] = pruning.take(store, found, now)
        facts["deleted_runs"] = pruning.take_runs(kubeflow, store, old) if kubeflow is not None else 0
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    for one in facts["garbage"]:
        when = "may go" if one["ripe"] else "may go a day after `prune --yes` saw it first"
        typer.echo(f"{one['prefix']}: {one['keys']} keys, {one['why']}; {when}")
    for run in facts["runs"]:
        typer.echo(f"run {run['name']} ({run['id']}): {run['state']}, ended {run['ended_at'][:16]}")
    if kubeflow is None:
        typer.echo("no Kubeflow API is named, so its runs were not looked at (--host or KF_PIPELINES_ENDPOINT)")
    if yes:
        typer.echo(f"deleted {facts['deleted_runs']} runs and {facts['deleted_keys']} keys, noted {facts['noted']}")
    elif found or old:
        typer.echo("nothing was done: --yes does it")
    else:
        typer.echo("there is nothing to take away")
