"""`trimtab history`: the ledger of a model in words."""

from __future__ import annotations

from typing import Annotated

import typer


def history(
    model: Annotated[str, typer.Argument(help="The model; may be left out where the store has one.")] = "",
    at: Annotated[str, typer.Option(help="Only: what served at this moment, e.g. 2026-11-21T14:05:00Z.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="The same facts as JSON.")] = False,
) -> None:
    """Tell what happened to a model's versions: when, by whom and why."""
    import json

    from rich.console import Console
    from rich.markup import escape

    from trimtab.cli.which import open_model
    from trimtab.core import ledger
    from trimtab.core.records import parse_time, rfc3339
    from trimtab.monitoring.overview import event_words

    _, store, name = open_model(model)
    if at:
        state = ledger.state_at(store, name, parse_time(at))
        facts = {"at": at, "champion": state.champion, "canary": state.canary, "canary_percent": state.canary_percent}
        if as_json:
            typer.echo(json.dumps(facts))
        else:
            canary = f", and {state.canary} {state.canary_percent} % of requests" if state.canary else ""
            typer.echo(f"at {at} {name} was served by {state.champion or 'nothing'}{canary}")
        return
    entries = ledger.read(store, name)
    if as_json:
        keys = ("seq", "event", "version", "percent", "who", "why")
        rows = [
            {**{k: getattr(e, k) for k in keys}, "at": rfc3339(e.at), "evidence": dict(e.evidence or {})}
            for e in entries
        ]
        typer.echo(json.dumps({"model": name, "entries": rows}, ensure_ascii=False))
        return
    console = Console(soft_wrap=True)
    for entry in entries:
        moment = entry.at.strftime("%Y-%m-%d %H:%M:%S")
        console.print(f"{moment}  {escape(event_words(entry))}  [dim]({escape(entry.who)})[/]", highlight=False)
    if not entries:
        console.print(f"nothing has happened to {name} yet")
