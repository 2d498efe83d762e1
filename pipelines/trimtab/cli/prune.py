"""`trimtab prune`: take away what nobody needs any more."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from trimtab.cli.kubeflow import Header, Host, Namespace, TokenFile

MOST_DAYS = 36_500


def prune(
    days: Annotated[float, typer.Option(help="runs that ended, and pipeline versions made, longer ago")] = 30.0,
    keep: Annotated[int, typer.Option(min=1, help="newest versions of each pipeline that stay")] = 5,
    yes: Annotated[bool, typer.Option("--yes", help="do it; without, only say what would be done")] = False,
    host: Host = "",
    namespace: Namespace = "",
    token_file: TokenFile = "",
    header: Header = None,
    as_json: Annotated[bool, typer.Option("--json", help="facts as JSON")] = False,
) -> None:
    """Delete the backend's old runs and unused pipeline versions, and garbage of the store.

    Records, models' versions and the runs that these came from stay.
    """
    import json

    from trimtab.cli.kubeflow import connect
    from trimtab.core import settings as environment
    from trimtab.core.errors import ProjectError
    from trimtab.core.records import utcnow
    from trimtab.core.store import open_store
    from trimtab.pipelines import prune as pruning

    settings = environment.load()
    if not 0 <= days <= MOST_DAYS:
        raise ProjectError("option --days", expected=f"0 to {MOST_DAYS}", got=f"{days:g}")
    store = open_store(settings.store, settings)
    kubeflow = connect(settings, host, namespace, token_file, header) if host or settings.kubeflow.endpoint else None
    now = utcnow()
    found = pruning.garbage(store)
    old = pruning.old_runs(kubeflow, store, days, now) if kubeflow is not None else []
    unused = [] if kubeflow is None else pruning.old_versions(kubeflow, store, days, keep, old, now)
    facts: dict[str, Any] = {
        "garbage": [{"prefix": g.prefix, "keys": g.keys, "why": g.why, "ripe": g.ripe(now)} for g in found],
        "runs": [{"id": r.id, "name": r.name, "state": r.state, "ended_at": str(r.finished_at)} for r in old],
        "versions": [{"id": v.id, "name": v.name, "created_at": str(v.created_at)} for v in unused],
        "done": yes,
    }
    if yes:
        facts["deleted_runs"] = pruning.take_runs(kubeflow, store, old) if kubeflow is not None else 0
        facts["deleted_versions"] = pruning.take_versions(kubeflow, unused) if kubeflow is not None else 0
        # Last, since most who may prune the backend may not delete from the store.
        facts["deleted_keys"], facts["noted"] = pruning.take(store, found, now)
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    for one in facts["garbage"]:
        when = "may go" if one["ripe"] else "may go a day after `prune --yes` saw it first"
        typer.echo(f"{one['prefix']}: {one['keys']} keys, {one['why']}; {when}")
    for run in facts["runs"]:
        typer.echo(f"run {run['name']} ({run['id']}): {run['state']}, ended {run['ended_at'][:16]}")
    for version in facts["versions"]:
        typer.echo(f"version {version['name']}: made {version['created_at'][:16]}, no run and no schedule names it")
    if kubeflow is None:
        typer.echo("no Kubeflow API is named, so its runs were not looked at (--host or KF_PIPELINES_ENDPOINT)")
    if yes:
        typer.echo(
            f"deleted {facts['deleted_runs']} runs, {facts['deleted_versions']} pipeline versions and "
            f"{facts['deleted_keys']} keys, noted {facts['noted']}"
        )
    elif found or old or unused:
        typer.echo("nothing was done: --yes does it")
    else:
        typer.echo("there is nothing to take away")
