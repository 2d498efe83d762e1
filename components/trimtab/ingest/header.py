"""The columns of a project's files against its fields, from headers alone: no row is read."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trimtab.core import yamltext
from trimtab.core.errors import DataError
from trimtab.core.project import Mistake, Project
from trimtab.core.sources import table_files
from trimtab.ingest.origin import Origin
from trimtab.ingest.parts import other_delimiter, wanted_columns

SHOWN = 12
Place = tuple[str | int, ...]


def missing_columns(project: Project, text: str) -> list[Mistake]:
    """Target and fields whose columns are not in the files that the project names, as mistakes.

    Args:
        project: from `text`.
        text: the project file's text, for the lines.

    Returns:
        each column once, for the first file that lacks it; files that are not there are left to `project_notes`.
    """
    document = yamltext.parse(text)
    found: dict[tuple[Place, str], str] = {}
    for source in project.data.source:
        if "path" not in source:
            continue
        try:
            files = table_files(source["path"], project.base)
        except DataError:
            continue
        for file in files:
            try:
                names = column_names(file, source)
            except DataError as error:
                found.setdefault((("data", "source"), ""), error.sentence())
                continue
            for path, column, message in _missing(project, file, source, names):
                found.setdefault((path, column), message)
    return sorted(Mistake(document.line(p), ".".join(map(str, p)), message) for (p, _), message in found.items())


def column_names(file: Path, source: Mapping[str, Any]) -> list[str]:
    """The columns of a CSV or Parquet file.

    Args:
        file: the file.
        source: the source that names it, for delimiter and encoding.

    Raises:
        DataError: it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from trimtab.ingest.csvfile import read_header

    origin = _origin(file, source)
    try:
        if origin.path is None:
            return list(pq.read_schema(file).names)
        return [name for name in read_header(file, origin.name, origin.delimiter, origin.encoding) if name]
    except (pa.ArrowException, OSError) as error:
        raise DataError("the file cannot be read", object=file.name, got=str(error)[:200]) from None
    except LookupError:
        raise DataError("no such encoding", object=file.name, got=origin.encoding) from None


def _origin(file: Path, source: Mapping[str, Any]) -> Origin:
    if file.name.lower().endswith(".parquet"):
        return Origin(file.name)
    default = "\t" if ".tsv" in file.name.lower() else ","
    return Origin(file.name, file, source.get("delimiter") or default, source.get("encoding") or "utf-8")


def _missing(
    project: Project, file: Path, source: Mapping[str, Any], names: Sequence[str]
) -> list[tuple[Place, str, str]]:
    schema = project.schema()
    lacking = [c for c, needed in wanted_columns(schema).items() if needed and c not in names]
    if not lacking:
        return []
    delimiter = other_delimiter(list(names), _origin(file, source))
    if delimiter:
        told = f"{file.name}: the delimiter looks like {delimiter!r}: write "
        return [(("data", "source"), "", told + f"{{path: {source['path']}, delimiter: {delimiter!r}}}")]
    places: dict[str, Place] = {f.source_column: ("fields", f.name) for f in schema.fields}
    places[schema.target.source_column] = ("task", "target")
    named = {f.source_column for f in schema.fields if f.column} | ({project.task.column} - {""})
    found = []
    for column in lacking:
        path = places[column]
        if column in named:
            path = ("task", "column") if path[0] == "task" else (*path, "column")
        found.append((path, column, f"{file.name} has no column {column!r}: {_near(column, names)}"))
    return found


def _near(column: str, names: Sequence[str]) -> str:
    folded = {name.casefold(): name for name in reversed(names)}
    near = difflib.get_close_matches(column.casefold(), folded, n=1)
    if near:
        return f"did you mean {folded[near[0]]!r}?"
    return f"it has {', '.join(map(repr, names[:SHOWN]))}{', …' if len(names) > SHOWN else ''}"
