"""`trimtab check`: every mistake of a project file at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def check(
    file: Annotated[Path, typer.Argument(help="the project file")] = Path("project.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="facts as JSON")] = False,
) -> None:
    """List every mistake of a project file with line, field, what was expected and the nearest valid name."""
    import json

    from trimtab.core.project import check_text, parse_project, read_text
    from trimtab.core.project_notes import notes, places
    from trimtab.ingest.header import missing_columns

    text = read_text(file)
    mistakes = check_text(text, str(file))
    remarks: list[str] = []
    if not mistakes:
        project = parse_project(text, str(file), file.resolve().parent)
        mistakes, remarks = sorted([*places(project, text), *missing_columns(project, text)]), notes(project)
    if as_json:
        facts = {"file": str(file), "mistakes": [m._asdict() for m in mistakes], "notes": remarks}
        typer.echo(json.dumps(facts, ensure_ascii=False))
    else:
        for mistake in mistakes:
            typer.echo(f"{file}:{mistake.line}: {mistake.field}{': ' if mistake.field else ''}{mistake.message}")
        for remark in remarks:
            typer.echo(f"note: {remark}")
        count = f"{len(mistakes)} mistake{'s' if len(mistakes) != 1 else ''}"
        typer.echo(count if mistakes else f"{file} is right.")
    if mistakes:
        raise typer.Exit(2)
