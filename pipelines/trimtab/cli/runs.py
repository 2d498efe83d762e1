"""`trimtab runs`: what was run, why, where, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.kubeflow import Header, Host, Namespace, TokenFile

if TYPE_CHECKING:
    from trimtab.pipelines.kubeflow_api import Kubeflow


def runs(
    key: Annotated[str, typer.Argument(help="a run's key, to see its stages")] = "",
    schedules: Annotated[bool, typer.Option("--schedules", help="list the cluster's schedules instead")] = False,
    delete_schedule: Annotated[str, typer.Option(help="end the schedule of that name")] = "",
    host: Host = "",
    namespace: Namespace = "",
    token_file: TokenFile = "",
    header: Header = None,
    as_json: Annotated[bool, typer.Option("--json", help="facts as JSON")] = False,
) -> None:
    """List the runs of the store, here and on a cluster, or show one run's stages with their cost."""
    import json

    from rich.console import Console

    from trimtab.cli.kubeflow import connect
    from trimtab.core import settings as environment
    from trimtab.core.store import open_store
    from trimtab.pipelines import history

    settings = environment.load()
    if schedules or delete_schedule:
        _schedules(connect(settings, host, namespace, token_file, header), delete_schedule, as_json)
        return
    store = open_store(settings.store, settings)
    if host or settings.kubeflow.endpoint:
        # The backend knows how runs ended that nobody followed.
        from trimtab.pipelines.kubeflow_records import refresh

        refresh(connect(settings, host, namespace, token_file, header), store)
    facts = history.one(store, key) if key else history.every(store)
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    Console().print(history.stages_table(facts) if isinstance(facts, dict) else history.runs_table(facts))


def _schedules(kubeflow: Kubeflow, delete: str, as_json: bool) -> None:
    import json

    from rich.console import Console
    from rich.table import Table

    from trimtab.core.errors import ProjectError

    kubeflow.health()
    found = kubeflow.recurring(delete)
    if delete:
        if not found:
            raise ProjectError(f"there is no schedule {delete}", hint="trimtab runs --schedules lists them")
        for one in found:
            kubeflow.delete_recurring(one.id)
    facts = [{"name": r.name, "id": r.id, "when": r.when, "enabled": r.enabled and not delete} for r in found]
    if as_json:
        typer.echo(json.dumps(facts))
        return
    if delete:
        typer.echo(f"schedule {delete} is ended")
        return
    table = Table("schedule", "when", "enabled", "id", box=None)
    for r in facts:
        table.add_row(str(r["name"]), str(r["when"]), "yes" if r["enabled"] else "no", str(r["id"]))
    Console().print(table)
