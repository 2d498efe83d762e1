"""`trimtab runs`: what was run, why, and how it ended."""

from __future__ import annotations

from typing import Annotated

import typer


def runs(
    key: Annotated[str, typer.Argument(help="a run's key, to see its stages")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="facts as JSON")] = False,
) -> None:
    """List the runs of the store, or show one run's stages with their cost."""
    import json

    from rich.console import Console

    from trimtab.core import settings as environment
    from trimtab.core.store import open_store
    from trimtab.pipelines import history

    settings = environment.load()
    store = open_store(settings.store, settings)
    facts = history.one(store, key) if key else history.every(store)
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    Console().print(history.stages_table(facts) if isinstance(facts, dict) else history.runs_table(facts))
