"""A resolved source as a stream of raw tables, each with its origin; bounded memory for files of any size."""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.core.errors import DataError
from trimtab.ingest.origin import Origin

if TYPE_CHECKING:
    import pyarrow as pa

    from trimtab.core.schema import Schema
    from trimtab.core.store import Store

BATCH_ROWS = 65_536
BATCH_VALUES = 4_000_000
CARRIED = ("_id", "_time")


@dataclass(frozen=True)
class Part:
    """A piece of a source.

    Attributes:
        table: raw columns by the source's own names.
        origin: where it lies.
        first: number (0-based) of its first row within the origin.
        nulls: texts that mean missing.
        unused: columns of the source that no field names (on an origin's first part).
    """

    table: pa.Table
    origin: Origin
    first: int
    nulls: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


def wanted_columns(schema: Schema) -> dict[str, bool]:
    """Source column → whether it must be there; id, text and time fields may be absent when nullable."""
    wanted = {f.source_column: not (f.nullable and f not in schema.features) for f in schema.fields}
    return {**wanted, schema.target.source_column: True}


def _choose(names: list[str], schema: Schema, origin: Origin) -> tuple[list[str], tuple[str, ...]]:
    """The columns to read, and those that no field names.

    Raises:
        DataError: columns are missing; says which, and what looks like them.
    """
    wanted = wanted_columns(schema)
    missing = [c for c, needed in wanted.items() if needed and c not in names]
    if missing:
        pairs = []
        for column in missing[:10]:
            near = difflib.get_close_matches(column, names, n=1)
            pairs.append(f"{column!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
        delimiter = other_delimiter(names, origin)
        shown = ", ".join(map(repr, names[:12])) + (", …" if len(names) > 12 else "")
        raise DataError(
            f"{'a column is' if len(missing) == 1 else 'columns are'} missing: {', '.join(pairs)}",
            object=origin.name,
            got=f"the columns {shown}",
            hint=f"the delimiter looks like {delimiter!r}: write {{path: {Path(origin.name).name}, "
            f"delimiter: {delimiter!r}}}"
            if delimiter
            else "name a field's column by `column:` where it differs",
        )
    carried = CARRIED if origin.name.startswith("dataset:") else ()
    unused = tuple(n for n in names if n not in wanted and n not in carried)
    return [n for n in names if n in wanted or n in carried], unused


def other_delimiter(names: list[str], origin: Origin) -> str:
    """The delimiter that a CSV file seems to have in place of the given one; empty where that fits."""
    if origin.path is None:
        return ""
    from trimtab.ingest.csvfile import DELIMITERS

    counts = {d: sum(n.count(d) for n in names) for d in DELIMITERS if d != origin.delimiter}
    best = max(counts, key=lambda d: counts[d])
    return best if len(names) <= 2 and counts[best] >= 1 else ""


def read_source(source: Mapping[str, Any], store: Store, schema: Schema) -> Iterator[Part]:
    """The rows of one resolved source that is no log (see `core.logsource`).

    Args:
        source: one element of a resolved source.
        store: where datasets are.
        schema: names the columns.

    Raises:
        DataError: a file cannot be read, or lacks columns.
    """
    if "path" in source:
        yield from _files(source, schema)
    elif "sklearn" in source:
        yield _bundled(source, schema)
    else:
        yield from _dataset(source["dataset"], store, schema)


def _files(source: Mapping[str, Any], schema: Schema) -> Iterator[Part]:
    start, end = source.get("rows") or (0, None)
    seen = 0
    for file in source["files"]:
        path = Path(file["path"])
        if not path.is_file():
            raise DataError("the file is gone", object=str(path), hint="put it back, or change data.source")
        for part in _file(path, source, schema):
            rows, offset = part.table.num_rows, max(0, start - seen)
            seen += rows
            stop = rows if end is None else min(rows, end - seen + rows)
            if offset < stop or rows == 0:
                yield Part(
                    part.table.slice(offset, max(0, stop - offset)),
                    part.origin,
                    part.first + offset,
                    part.nulls,
                    part.unused,
                )
            if end is not None and seen >= end:
                return
    if end is not None and seen <= start:
        raise DataError(
            "the files have fewer rows", object=source["path"], expected=f"rows {start} to {end}", got=str(seen)
        )


def _file(path: Path, source: Mapping[str, Any], schema: Schema) -> Iterator[Part]:
    reader = _parquet if path.name.lower().endswith(".parquet") else _csv
    yield from reader(path, source, schema)


def _csv(path: Path, source: Mapping[str, Any], schema: Schema) -> Iterator[Part]:
    from trimtab.ingest.csvfile import read_csv, read_header

    default = "\t" if ".tsv" in path.name.lower() else ","
    origin = Origin(str(path), path, source.get("delimiter") or default, source.get("encoding") or "utf-8")
    header = read_header(path, origin.name, origin.delimiter, origin.encoding)
    columns, unused = _choose(header, schema, origin)
    first = 0
    for table in read_csv(path, origin, columns, header):
        yield Part(table, origin, first, tuple(source.get("nulls") or ()), unused if first == 0 else ())
        first += table.num_rows
    if first == 0:
        raise DataError(
            "the file has a header and no rows", object=origin.name, expected="rows", hint="check the export"
        )


def _parquet(path: Path, source: Mapping[str, Any], schema: Schema) -> Iterator[Part]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    origin = Origin(str(path))
    if path.stat().st_size == 0:
        raise DataError("the file is empty", object=origin.name, expected="a Parquet table", hint="check the export")
    try:
        # Columns are streamed through small buffers: a row group may be larger than the memory.
        file = pq.ParquetFile(path, memory_map=False, buffer_size=1 << 20, pre_buffer=False)
        names = file.schema_arrow.names
        columns, unused = _choose(names, schema, origin)
        width = sum(f.size for f in schema.fields) + 1
        first = 0
        for batch in file.iter_batches(
            batch_size=max(1, min(BATCH_ROWS, BATCH_VALUES // width)), columns=columns, use_threads=False
        ):
            table = pa.Table.from_batches([batch])
            yield Part(table, origin, first, tuple(source.get("nulls") or ()), unused if first == 0 else ())
            first += table.num_rows
    except (pa.ArrowException, OSError) as error:
        raise DataError("the file cannot be read as Parquet", object=origin.name, got=str(error)[:200]) from None
    if first == 0:
        raise DataError("the table has no rows", object=origin.name, expected="rows", hint="check the export")


def _bundled(source: Mapping[str, Any], schema: Schema) -> Part:
    import numpy as np

    from trimtab.ingest.bundled import bundled_table

    table = bundled_table(source["sklearn"])
    origin = Origin(f"sklearn:{source['sklearn']}")
    columns, unused = _choose(table.column_names, schema, origin)
    table = table.select(columns)
    if source.get("order_seed") is not None:
        table = table.take(np.random.default_rng(source["order_seed"]).permutation(table.num_rows))
    first = 0
    if source.get("rows"):
        first, end = source["rows"]
        if first >= table.num_rows:
            raise DataError(
                "the data set has fewer rows",
                object=origin.name,
                expected=f"rows {first} to {end}",
                got=str(table.num_rows),
            )
        table = table.slice(first, end - first)
    return Part(table, origin, first, unused=unused)


def _dataset(name: str, store: Store, schema: Schema) -> Iterator[Part]:
    from trimtab.core.datasets import fetch_dataset, iter_tables

    label, digest = name.split("/")
    origin = Origin(f"dataset:{name}")
    with tempfile.TemporaryDirectory(prefix="trimtab-") as folder:
        fetch_dataset(store, label, digest, Path(folder))
        first = 0
        for table in iter_tables(Path(folder)):
            names = _by_source_name(table, schema)
            columns, unused = _choose(names.column_names, schema, origin)
            yield Part(names.select(columns), origin, first, unused=unused if first == 0 else ())
            first += table.num_rows


def _by_source_name(table: pa.Table, schema: Schema) -> pa.Table:
    """A dataset's columns go by the fields' names; give them back the names that the source's would have."""
    renamed = {f.name: f.source_column for f in schema.fields}
    renamed[schema.target.name] = schema.target.source_column
    return table.rename_columns([renamed.get(n, n) for n in table.column_names])
