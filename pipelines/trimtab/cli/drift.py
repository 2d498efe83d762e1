"""`trimtab drift`: what the watch saw over a stretch of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

# Fields shown, at most.
FIELDS = 15


def drift(
    model: Annotated[str, typer.Argument(help="The model; may be left out where the store has one.")] = "",
    since: Annotated[str, typer.Option(help="From when on: 24h, 7d, or a time such as 2026-11-20T14:00:00Z.")] = "24h",
    version: Annotated[str, typer.Option(help="Of this version alone; by default of all that were watched.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="The same facts as JSON.")] = False,
) -> None:
    """Show the windows since a moment: verdicts, how long they lasted, and which fields moved; reads the store only."""
    import json

    from trimtab.cli.which import open_model, published
    from trimtab.core.records import utcnow
    from trimtab.monitoring.overtime import over_time, since_of

    _, store, name = open_model(model)
    only = [published(store, name, version, or_watched=True)] if version else None
    found = over_time(store, name, since_of(since, utcnow()), only)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    from rich.console import Console

    show(Console(soft_wrap=True), found)


def show(console: Console, found: dict[str, Any]) -> None:
    """Print what was seen, for people."""
    from rich.markup import escape

    from trimtab.cli.explain import shown

    rows, counts = found["windows"], found["counts"]
    console.print(f"[bold]{escape(found['model'])}[/] since {found['since']}", highlight=False)
    if not rows:
        console.print("no window ended since then; is `trimtab watch` running, and is there traffic?")
        return
    told = ", ".join(f"{n:,} {level}" for level, n in counts.items())
    console.print(f"{len(rows):,} windows: {told}", highlight=False)
    colours = {"none": "green", "watch": "yellow", "drift": "red"}
    for row in rows:
        realised, expected = (shown(row[k], row["metric"]) for k in ("realised", "expected"))
        moved = f"  moved: {', '.join(row['fields'][:4])}" if row["layers"].get("inputs") != "none" else ""
        line = (
            f"{row['last_time'][:19].replace('T', ' ')}  {row['version']} {row['window']:>5}  "
            f"[{colours.get(row['verdict'], 'white')}]{row['verdict']:<5}[/]  realised {realised:>7}  "
            f"expected {expected:>7}  {row['labelled']:,} of {row['rows']:,} labelled{escape(moved)}"
        )
        console.print(line, highlight=False)
    if found["episodes"]:
        console.print("\n[bold]episodes[/]", highlight=False)
    for one in found["episodes"]:
        ended = f"to window {one['last_window']}" if one["over"] else "and still"
        began = (one["since"] or {}).get("point", one["first_time"])[:19].replace("T", " ")
        console.print(
            f"  [{colours[one['verdict']]}]{one['verdict']}[/] from window {one['first_window']} {ended} of "
            f"{one['version']}, since {began}: {escape(one['words'])}",
            highlight=False,
        )
    if found["fields"]:
        console.print("\n[bold]fields that moved[/]", highlight=False)
    for field in found["fields"][:FIELDS]:
        words = (
            f"{field['name']:<20} in {field['windows']:,} windows, {field['unit']} up to {field['effect']:.3f}  "
            f"{field.get('words', '')}"
        )
        console.print(f"  {escape(words)}", highlight=False)
