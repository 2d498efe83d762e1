"""`trimtab keys`: the API keys that servers and the hook accept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from trimtab.core.tokens import Entry


def keys(
    action: Annotated[
        Literal["list", "add", "rotate", "revoke"],
        typer.Argument(help="list; add a key; rotate: a fresh key, the old ones end later; revoke: they end now."),
    ] = "list",
    name: Annotated[str, typer.Argument(help="Whose key it is, or what for.")] = "",
    scope: Annotated[
        list[str] | None,
        typer.Option(help="What it is for: predict, feedback, operate (the hook). Repeatable; by default predict."),
    ] = None,
    days: Annotated[float, typer.Option(min=0, max=36_500, help="The new key ends after so many days; 0: never.")] = 0,
    hours: Annotated[
        float, typer.Option(min=0, max=87_600, help="rotate: the old keys count for so many hours more.")
    ] = 24,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show, make and end API keys; running servers take the change within a second. A key is shown once."""
    from trimtab.core import tokens
    from trimtab.core.errors import ProjectError
    from trimtab.core.settings import load

    path = load().tokens
    known = tokens.read_entries(path) if path.exists() else []
    if action == "list":
        _show(known, as_json)
        return
    if not name or len(name) > 100 or not name.isprintable():
        raise ProjectError(
            "a key has a name",
            object="NAME",
            expected="1 to 100 characters",
            got=repr(name),
            hint=f"e.g. {action} shop",
        )
    named = [entry for entry in known if entry.name == name]
    if action != "add" and not named:
        raise ProjectError("no key has this name", object=name, expected=_names(known), hint="see: trimtab keys list")
    if action == "revoke":
        tokens.revoke(path, name)
        typer.echo(f"{name}: {len(named)} ended", err=True)
        return
    if action == "add" and named:
        raise ProjectError("a key of this name is there already", object=name, hint=f"trimtab keys rotate {name}")
    scopes = tuple(scope) if scope else named[0].scopes if named else ("predict",)
    if unknown := set(scopes) - set(tokens.SCOPES):
        raise ProjectError(
            "there is no such scope",
            object="--scope",
            expected=", ".join(tokens.SCOPES),
            got=", ".join(sorted(unknown)),
        )
    if named:
        tokens.expire(path, name, _later(hours / 24))
    key = tokens.fresh()
    expires = _later(days) if days else ""
    tokens.accept(path, key, name, tuple(s for s in tokens.SCOPES if s in scopes), expires)
    if as_json:
        typer.echo(json.dumps({"name": name, "key": key, "scopes": list(scopes), "expires": expires or None}))
        return
    typer.echo(key)
    typer.echo(f"{name}: a key for {', '.join(scopes)}; it is kept as a hash alone and not shown again", err=True)


def _later(days: float) -> str:
    from datetime import timedelta

    from trimtab.core.records import rfc3339, utcnow

    return rfc3339(utcnow() + timedelta(days=days))


def _names(known: list[Entry]) -> str:
    return ", ".join(sorted({entry.name for entry in known})[:20]) or "none yet"


def _show(known: list[Entry], as_json: bool) -> None:
    """The keys by name; a fingerprint is the start of a key's hash."""
    import time

    now = time.time()
    facts = [
        {
            "name": entry.name,
            "fingerprint": entry.sha256[:8],
            "scopes": list(entry.scopes),
            "expires": entry.expires or None,
            "ended": now >= entry.until,
        }
        for entry in known
    ]
    if as_json:
        typer.echo(json.dumps({"keys": facts}))
        return
    if not known:
        typer.echo("no keys yet; `trimtab keys add NAME` makes one")
    for fact, entry in zip(facts, known, strict=True):
        end = f"ended {entry.expires}" if fact["ended"] else f"until {entry.expires}" if entry.expires else "no end"
        typer.echo(f"{entry.name}  {fact['fingerprint']}  {', '.join(entry.scopes)}  {end}")
