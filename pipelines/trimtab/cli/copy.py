"""`trimtab copy`: a store's backup, and its way back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from trimtab.core.store import Store
    from trimtab.core.store.copying import Copied


def copy(
    source: Annotated[
        str, typer.Argument(metavar="FROM", help="URL of a store: file:///folder or s3://bucket/prefix.")
    ],
    target: Annotated[str, typer.Argument(metavar="TO", help="URL of an empty store, or of an earlier copy.")],
    prefix: Annotated[str, typer.Option(help="Only keys that start so, e.g. models/digits/.")] = "",
    from_secret: Annotated[
        Path | None, typer.Option(help="Folder with FROM's access_key, secret_key, endpoint, region; else AWS_*.")
    ] = None,
    to_secret: Annotated[
        Path | None, typer.Option(help="Folder with TO's access_key, secret_key, endpoint, region; else AWS_*.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="What was done, as JSON.")] = False,
) -> None:
    """Copy a store, checked byte for byte; it creates and never overwrites, and goes on where it was cut off."""
    import json
    from dataclasses import asdict

    from rich.console import Console

    from trimtab.core.errors import ProjectError, StoreError
    from trimtab.core.store import probe
    from trimtab.core.store.copying import check
    from trimtab.core.store.copying import copy as copy_store
    from trimtab.core.store.keys import check_prefix

    try:
        check_prefix(prefix)
    except StoreError as error:
        raise ProjectError(error.message, object="--prefix", expected=error.expected, got=error.got) from None
    there, here = _open(source, from_secret), _open(target, to_secret)
    check(there, here, prefix)
    probe(here, "copy")
    console = Console(stderr=True, quiet=as_json)
    with console.status("copying") as status:

        def say(now: Copied) -> None:
            status.update(f"{now.copied + now.present:,} objects, {now.bytes / 1e6:,.1f} MB written")

        done = copy_store(there, here, prefix, say)
    if as_json:
        typer.echo(json.dumps(asdict(done)))
        return
    models = ", ".join(f"{name} ({n} entries)" for name, n in sorted(done.models.items())) or "none"
    typer.echo(
        f"{done.copied:,} objects ({done.bytes / 1e6:,.1f} MB) copied to {here.url}, {done.present:,} were there; "
        f"ledgers: {models}"
    )


def _open(url: str, secret: Path | None) -> Store:
    """The store of a URL, with the credential of a mounted Secret where one is named."""
    from trimtab.core.settings import load
    from trimtab.core.store import open_store
    from trimtab.core.store.admin import read_credential

    settings = load()
    if secret is None:
        return open_store(url, settings)
    own = read_credential(secret)
    more = {name: (secret / name).read_text().strip() for name in ("endpoint", "region") if (secret / name).is_file()}
    s3 = settings.s3._replace(access_key=own.access_key, secret_key=own.secret_key, session_token="", **more)
    return open_store(url, settings._replace(s3=s3))
