"""`trimtab init`: a commented starter, or a project file for one's own table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def init(
    file: Annotated[Path, typer.Argument(help="the project file to write")] = Path("project.yaml"),
    table: Annotated[
        Path | None, typer.Option("--from", help="a CSV or Parquet file whose fields are guessed", dir_okay=False)
    ] = None,
    target: Annotated[str, typer.Option("--target", help="the column to predict; else guessed")] = "",
    name: Annotated[str, typer.Option("--name", help="the project's name; else the table's or folder's")] = "",
    force: Annotated[bool, typer.Option("--force", help="overwrite the file")] = False,
) -> None:
    """Write a project file: a commented starter, or with --from one that fits a table."""
    from trimtab.cli.starter import STARTER, project_name
    from trimtab.core.errors import ProjectError
    from trimtab.core.project import parse_project

    file = file / "project.yaml" if file.is_dir() else file
    if target and table is None:
        raise ProjectError("--target goes with --from", object="--target", hint="name the table too")
    if not file.parent.is_dir():
        # Made on the way it would only hide a slip of the pen; and the table's path is told from this folder.
        raise ProjectError(
            "the folder to write to is not there",
            object=str(file.parent),
            hint=f"make it, or name another place than {file}",
        )
    taken = file.exists() and not force
    chosen = name or project_name(table.name.split(".")[0] if table else file.resolve().parent.name)
    # What is wrong with --from and --target is told first: a file in the way would hide it until the next try.
    text = _of_table(table, target, chosen, file) if table else STARTER.format(name=chosen, file=file.name)
    if taken:
        raise ProjectError("the file is there already", object=str(file), hint="use --force to overwrite it")
    project = parse_project(text, str(file), file.resolve().parent)
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ProjectError(
            "the file cannot be written", object=str(file), got=error.strerror or str(error), hint="name another place"
        ) from None
    typer.echo(f"Wrote {file}: {project.task.kind} of {project.task.target} from {len(project.fields)} fields.")
    if table:
        typer.echo("Fields and target are guesses: look at every line with `guess:`.")
    typer.echo(f"Next: trimtab check {file} && trimtab run {file}")


def _of_table(table: Path, target: str, name: str, file: Path) -> str:
    """The text, once a first reading of the whole table by it went well."""
    import os

    from trimtab.cli.starter import from_table
    from trimtab.core.project import parse_project
    from trimtab.core.sources import table_files
    from trimtab.ingest.guess import guess_table
    from trimtab.ingest.stage import try_source

    path = table_files(str(table), Path.cwd())[0]
    base = file.resolve().parent
    relative = Path(os.path.relpath(path.resolve(), base))
    source = relative.as_posix() if not relative.as_posix().startswith("../../..") else path.resolve().as_posix()
    text = from_table(guess_table(path, target), source, name, file.name)
    project = parse_project(text, str(file), base)
    try_source(project.data.source, project.schema(), base)
    return text
