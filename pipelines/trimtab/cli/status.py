"""`trimtab status`: what serves, what is tried, what the watch saw, what the campaigns do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from trimtab.core.settings import Settings
    from trimtab.core.store import Store


def status(
    model: Annotated[str, typer.Argument(help="The model; all of the store's unless named.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="The same facts as JSON.")] = False,
) -> None:
    """Show champion, canary, newest windows and campaigns, and how to ask the server."""
    import json

    from trimtab.cli.which import open_model
    from trimtab.core import bundle
    from trimtab.core.settings import load
    from trimtab.core.store import open_store

    if model:
        settings, store, name = open_model(model)
        names = [name]
    else:
        settings = load()
        store = open_store(settings.store, settings)
        names = bundle.list_models(store)
    found = [facts(store, settings, name) for name in names]
    if as_json:
        typer.echo(json.dumps({"store": settings.store, "models": found}, ensure_ascii=False))
        return
    from rich.console import Console

    console = Console(soft_wrap=True)
    if not found:
        console.print(f"{settings.store} has no model yet: [bold]trimtab run FILE[/] trains and publishes one.")
    for one in found:
        show(console, one)


def facts(store: Store, settings: Settings, model: str) -> dict[str, Any]:
    """A model's overview, with its endpoint and a request to try it with."""
    from trimtab.monitoring.overview import overview

    found = overview(store, model)
    url = f"{settings.server_url}/v1/models/{model}:predict"
    return {
        **found,
        "endpoint": url,
        "answering": answering(settings.server_url, model),
        "pages": f"{settings.hook_url.rstrip('/')}/windows/{model}/",
        "curl": example(store, model, found["champion"], url),
    }


def answering(server: str, model: str) -> bool:
    """Whether a server is ready with the model there, now; half a second is enough to say so."""
    import urllib3

    try:
        answer = urllib3.request(
            "GET", f"{server.rstrip('/')}/v2/models/{model}/ready", timeout=0.5, retries=False, redirect=False
        )
    except urllib3.exceptions.HTTPError:
        return False
    return answer.status == 200


def example(store: Store, model: str, version: str | None, url: str) -> str:
    """A curl command that the endpoint answers; the instance is made from the schema, or taken from the reference."""
    import json
    import shlex

    if version is None:
        return ""
    body = json.dumps({"instances": [instance(store, model, version)]}, separators=(",", ":"), ensure_ascii=False)
    return f"curl -s {url} -H 'Content-Type: application/json' -d {shlex.quote(body)}"


def instance(store: Store, model: str, version: str) -> dict[str, Any]:
    """One row that the model takes, by field name: a field's own example, else the first recorded reference row."""
    import json

    from trimtab.core.schema import Schema

    folder = f"models/{model}/versions/{version}"
    schema = Schema.from_json(store.get(f"{folder}/schema.json"))
    inputs = json.loads(store.get(f"{folder}/expected.json"))["inputs"]
    names = [f.name for f in schema.features]
    first = dict(zip(names, inputs["input"][0], strict=True)) if schema.single_input else {}
    row: dict[str, Any] = {}
    for field in schema.features:
        if field.example is not None:
            row[field.name] = field.example
            continue
        value = first[field.name] if schema.single_input else inputs[field.name][0]
        # Numbers and categories are columns of width 1; float32 digits beyond the seventh are noise to a reader.
        value = value[0] if field.kind != "image" and isinstance(value, list) else value
        row[field.name] = float(f"{value:.7g}") if isinstance(value, float) else value
    return row


def show(console: Console, one: dict[str, Any]) -> None:
    """Print one model's facts for people."""
    from rich.markup import escape

    champion = one["champion"] or "nothing yet"
    console.print(f"[bold]{one['model']}[/]  champion [green]{champion}[/]", highlight=False)
    if one["canary"]:
        share = f"with {one['canary_percent']} % of requests"
        console.print(f"  canary [yellow]{one['canary']}[/] {share}", highlight=False)
    if one["shadow"]:
        console.print(f"  shadow [yellow]{one['shadow']}[/] answers the log, no live request", highlight=False)
    if one["place"]:
        place(console, one["place"])
    if one["paused"]:
        console.print(f"  campaigns are [red]paused[/]: {escape(one['paused_why'])} (trimtab resume {one['model']})")
    for request in one["undecided"]:
        console.print(f"  request {request['request']}: {request['kind']} {request['version']}", highlight=False)
    if one["windows"]:
        console.print("  windows", highlight=False)
    colours = {"none": "green", "watch": "yellow", "drift": "red"}
    for w in one["windows"]:
        colour = colours.get(w["verdict"], "white")
        console.print(
            f"    {w['version']} {w['window']:>4}  [{colour}]{w['verdict']:<5}[/] {w['rows']} rows, "
            f"{w['labelled']} labelled  {escape(w['words'])}",
            highlight=False,
        )
    harm(console, one)
    if one["campaigns"]:
        console.print("  campaigns", highlight=False)
    for c in one["campaigns"]:
        retrains = len([r for r in c["retrains"] if r["run"]])
        counted = f"{retrains} {'retrain' if retrains == 1 else 'retrains'}"
        why = f": {escape(c['why'])}" if c["why"] else ""
        console.print(f"    {c['campaign']:>4}  {c['outcome'] or c['phase']}, {counted}{why}", highlight=False)
    if one["curl"]:
        state = "" if one["answering"] else "  [yellow](no server is ready with it there: trimtab serve)[/]"
        console.print(f"  endpoint {one['endpoint']}{state}", highlight=False)
        console.print(f"  try it:  {escape(one['curl'])}", highlight=False)


def place(console: Console, told: dict[str, Any]) -> None:
    """What the cluster does, and how versions take over there where that is not by shares."""
    from rich.markup import escape

    console.print(f"  {escape(told['place'])}: {escape('; '.join(told['words']))}", highlight=False)
    if told["why"]:
        console.print(f"    rollout.strategy: replace, since {escape(told['why'])}", highlight=False)
    for change in told["by_hand"]:
        console.print(f"    [yellow]{escape(change)}[/]", highlight=False)


def harm(console: Console, one: dict[str, Any]) -> None:
    """Of the champion's newest window: since when, at what cost, and where more is told; nothing where all is well."""
    newest = next((w for w in reversed(one["windows"]) if w["version"] == one["champion"]), None)
    if newest is None or newest["verdict"] == "none":
        return
    since = f"since {newest['since'][:16].replace('T', ' ')} UTC, " if newest["since"] else ""
    cost = (
        f"about {newest['cost_per_day']:,.0f} extra errors a day" if newest["cost_per_day"] > 0 else "no extra errors"
    )
    console.print(
        f"    {since}{cost}; why: trimtab explain {newest['window']} {one['model']}, or {one['pages']}", highlight=False
    )
