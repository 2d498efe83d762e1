"""`trimtab explain`: why a window's verdict is what it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from trimtab.core.store import Store


def explain(
    window: Annotated[str, typer.Argument(help="Number of the window, or 'latest'.")] = "latest",
    model: Annotated[str, typer.Argument(help="The model; may be left out where the store has one.")] = "",
    version: Annotated[str, typer.Option(help="Whose window; by default the champion's.")] = "",
    page: Annotated[Path | None, typer.Option(help="Write the verdict as an HTML page too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same facts as JSON.")] = False,
) -> None:
    """Tell in words, with numbers, why a window's verdict is what it is; reads the store only."""
    import json

    from trimtab.cli.which import open_model, published
    from trimtab.core.errors import NotFound, ProjectError
    from trimtab.monitoring import explanation

    _, store, name = open_model(model)
    if page is not None and (page.is_dir() or not page.resolve().parent.is_dir()):
        raise ProjectError(
            "the page cannot be written there", object=str(page), expected="a file in a folder that exists"
        )
    which = published(store, name, version, or_watched=True) if version else champion(store, name)
    number = number_of(store, name, which, window)
    try:
        found = explanation.explain(store, name, which, number)
    except NotFound as error:
        raise ProjectError(
            f"there is no verdict about window {number}", object=f"{name} {which}", expected=error.expected
        ) from None
    if page is not None:
        from trimtab.monitoring import reference, verdict_page

        made = verdict_page.make(store, reference.load(store, name, which), name, number)
        try:
            page.write_text(made)
        except OSError as error:
            raise ProjectError(
                "the page cannot be written", object=str(page), got=error.strerror or type(error).__name__
            ) from None
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    from rich.console import Console

    show(Console(soft_wrap=True), found)
    if page is not None:
        typer.echo(f"the page is in {page}")


def champion(store: Store, model: str) -> str:
    """The version that serves.

    Raises:
        ProjectError: none does.
    """
    from trimtab.core import ledger
    from trimtab.core.errors import ProjectError

    found = ledger.state(store, model).champion
    if found is None:
        raise ProjectError(
            f"{model} has no champion, so nothing is watched", object=model, expected="--version VERSION"
        )
    return found


def number_of(store: Store, model: str, version: str, window: str) -> int:
    """The window's number.

    Raises:
        ProjectError: neither a number nor `latest`, or the version has no verdict yet.
    """
    from trimtab.core.errors import ProjectError
    from trimtab.core.store.keys import MOST_NUMBER
    from trimtab.monitoring import windows

    if window.isdecimal() and len(window) < 20 and 0 < int(window) <= MOST_NUMBER:
        return int(window)
    if window != "latest":
        expected = f"a number from 1 to {MOST_NUMBER}, or 'latest'"
        raise ProjectError("no such window", object=window[:80], expected=expected)
    newest = windows.latest(store, model, version)
    if newest is None:
        raise ProjectError(
            f"{model} {version} has no verdict yet",
            object=windows.folder(model, version),
            expected="a full window of predictions, and `trimtab watch` running",
        )
    return newest.window


def show(console: Console, found: dict[str, Any]) -> None:
    """Print an explanation for people."""
    from rich.markup import escape

    colours = {"none": "green", "watch": "yellow", "drift": "red"}
    colour = colours.get(found["verdict"], "white")
    title = f"{found['model']} {found['version']}, window {found['window']}"
    console.print(f"[bold]{escape(title)}[/]: [{colour}]{found['verdict']}[/]", highlight=False)
    for paragraph in found["paragraphs"]:
        console.print(escape(paragraph), highlight=False)
    metric = found["performance"]["metric"]
    console.print(f"\n[bold]{metric}[/]", highlight=False)
    for kind in ("realised", "prequential", "expected", "reference"):
        value = found["performance"].get(kind)
        if value is not None and value["value"] is not None:
            low, high, middle = (shown(value[k], metric) for k in ("low", "high", "value"))
            console.print(f"  {kind:<12} {middle:>9}  95 % interval {low} to {high}", highlight=False)
    console.print("\n[bold]layers[/]", highlight=False)
    for layer in found["layer_facts"]:
        p = f", p = {layer['p']:.2g}" if layer["p"] is not None else ""
        colour = colours.get(layer["level"], "white")
        console.print(
            f"  {layer['layer']:<10} [{colour}]{layer['level']:<6}[/] {layer['compares']}{p}", highlight=False
        )
    if found["fields"]:
        console.print("\n[bold]fields that moved[/]", highlight=False)
    for field in found["fields"]:
        words = f"{field['name']:<20} {field['unit']} {field['effect']:.3f}, p = {field['p']:.2g}  {field['words']}"
        console.print(f"  {escape(words)}", highlight=False)
    worse = [s for s in found["slices"] if s["harm"] > 0][:5]
    if worse:
        console.print("\n[bold]parts of the traffic, the worst first[/]", highlight=False)
    for part in worse:
        now, then = shown(part["value"], metric), shown(part["reference"], metric)
        words = f"{part['name']:<30} {now:>9} of {part['rows']:,} labelled rows, reference {then}"
        console.print(f"  {escape(words)}", highlight=False)
    if found["report"]:
        console.print(f"\nreport: {escape(found['report'])}", highlight=False)


def shown(value: float | None, metric: str) -> str:
    """A performance as people read it.

    >>> shown(0.913, "accuracy"), shown(12.5, "mean absolute error")
    ('91.3%', '12.5')
    """
    if value is None:
        return "-"
    return f"{value:.1%}" if metric == "accuracy" else f"{value:.4g}"
