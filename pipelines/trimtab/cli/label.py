"""`trimtab label`: labels from a file of any size, straight into the store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def label(
    file: Annotated[Path, typer.Argument(help="CSV (.csv) or Parquet (.parquet) file of labels.")],
    key: Annotated[str, typer.Option(help="Column with the rows' own key, or with prediction ids.")],
    value: Annotated[str, typer.Option(help="Column with what turned out to be true.")],
    time: Annotated[str, typer.Option(help="Column with the time it was found out; by default now.")] = "",
    model: Annotated[str, typer.Option(help="The model; may be left out where the store has one.")] = "",
    source: Annotated[str, typer.Option(help="Where the labels come from, kept beside them.")] = "",
    delimiter: Annotated[str, typer.Option(help="Of a CSV file.")] = ",",
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Send labels from a file; a label that is sent twice counts once."""
    import json

    from trimtab.cli.choose import only_model
    from trimtab.core.ids import uuid7
    from trimtab.core.labelfile import Columns, send_labels
    from trimtab.core.privacy import hash_key
    from trimtab.core.settings import load
    from trimtab.core.store import open_store
    from trimtab.core.store.keys import check_name

    settings = load()
    store = open_store(settings.store, settings)
    model = check_name(model) if model else only_model(store)
    columns = Columns(key, value, time)
    sent = send_labels(
        store,
        model,
        file,
        columns,
        f"label-{uuid7()}",
        source=source,
        delimiter=delimiter,
        hash_key=hash_key(settings.home),
    )
    if as_json:
        facts = {"model": model, "labels": sent.labels, "left_out": sent.left_out, "files": sent.files}
        typer.echo(json.dumps(facts))
        return
    typer.echo(f"{sent.labels:,} labels of {model} are in the store")
    if sent.left_out:
        typer.echo(f"{sent.left_out:,} rows without key or value were left out")
