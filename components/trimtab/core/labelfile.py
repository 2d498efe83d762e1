"""Labels from a CSV or Parquet file of any size: read in blocks, checked whole first, then written to the store."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.core import labels, ledger
from trimtab.core.errors import DataError, NotFound
from trimtab.core.ids import PREDICTION_ID
from trimtab.core.predictions import TIME
from trimtab.core.privacy import keyed_hash
from trimtab.core.records import utcnow
from trimtab.core.schema import Schema
from trimtab.core.values import parse_moment

if TYPE_CHECKING:
    from trimtab.core.store import Store

FILE_ROWS = 200_000
BLOCK_BYTES = 8 << 20
PARQUET = {".parquet", ".pq"}


@dataclass(frozen=True)
class Columns:
    """Which columns of the file hold what; `time` may be empty."""

    key: str
    value: str
    time: str = ""

    @property
    def names(self) -> list[str]:
        """The columns to read, each once."""
        return list(dict.fromkeys(name for name in (self.key, self.value, self.time) if name))


@dataclass(frozen=True)
class Sent:
    """How many labels went into how many files, and how many rows lacked key or value."""

    labels: int
    left_out: int
    files: int


def send_labels(
    store: Store,
    model: str,
    file: Path,
    columns: Columns,
    writer: str,
    *,
    source: str = "",
    delimiter: str = ",",
    hash_key: bytes = b"",
) -> Sent:
    """Read a file twice: check all of it, then write it; a mistake anywhere leaves the store as it was.

    A key that is written as a prediction id (`<UUIDv7>-<row>`) names a prediction, any other the row's own key.

    Args:
        store: where the labels go.
        model: whose labels; values are checked against its champion, where it has one.
        file: `.csv` or `.parquet`.
        columns: which columns.
        writer: part of the files' names, unique for each call.
        source: kept beside each label.
        delimiter: of a CSV file.
        hash_key: where the schema's key is private by `hash`, labels keep its hash too.

    Raises:
        DataError: no such file or column, or a value is no class (no number, no time); names the lines of a
            CSV file, the rows of a Parquet file.
        StoreError: the store did not take them; sending the file again is safe.
    """
    schema = champion_schema(store, model)
    key_field = schema.id_field if schema is not None else None
    if key_field is not None and key_field.private == "drop":
        hint = "label by prediction id: a column of X-Prediction-Id"
        raise DataError(f"the log does not keep the private key {key_field.name!r}", object=model, hint=hint)
    hidden = hash_key if key_field is not None and key_field.private == "hash" else None
    reading = _Reading(columns, schema, utcnow(), source, str(file), hidden)
    kept = total = 0
    for first, block in _blocks(file, columns, delimiter):
        try:
            table = _label_rows(block, first, reading)
        except DataError as error:
            raise _by_line(error, file, delimiter) from None
        kept, total = kept + table.num_rows, total + block.num_rows
    files = 0
    waiting: list[pa.Table] = []
    for first, block in _blocks(file, columns, delimiter):
        waiting.append(_label_rows(block, first, reading))
        if sum(table.num_rows for table in waiting) >= FILE_ROWS:
            labels.write_labels(store, model, writer, files, pa.concat_tables(waiting))
            files, waiting = files + 1, []
    rest = pa.concat_tables(waiting) if waiting else labels.SCHEMA.empty_table()
    if rest.num_rows:
        labels.write_labels(store, model, writer, files, rest)
        files += 1
    return Sent(kept, total - kept, files)


def champion_schema(store: Store, model: str) -> Schema | None:
    """The schema of the version that serves; None before the first promotion."""
    champion = ledger.state(store, model).champion
    if champion is None:
        return None
    try:
        return Schema.from_json(store.get(f"models/{model}/versions/{champion}/schema.json"))
    except NotFound:
        return None


def _blocks(file: Path, columns: Columns, delimiter: str) -> Iterator[tuple[int, pa.Table]]:
    """(number of its first row, block) for each block of the file."""
    if not file.is_file():
        raise DataError("there is no such file", object=str(file))
    first = 0
    read = _parquet_blocks if file.suffix.lower() in PARQUET else _csv_blocks
    try:
        for block in read(file, columns, delimiter):
            yield first, block
            first += block.num_rows
    except pa.ArrowException as error:
        hint = "save it as UTF-8" if "UTF8" in str(error) else "is the delimiter right? see --delimiter"
        raise DataError("the file cannot be read", object=str(file), got=str(error)[:200], hint=hint) from error
    if first == 0:
        raise DataError("the file has no rows", object=str(file))


def _parquet_blocks(file: Path, columns: Columns, _delimiter: str) -> Iterator[pa.Table]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as opened:
        _check_columns(file, columns, opened.schema_arrow.names)
        for batch in opened.iter_batches(65_536, columns=columns.names):
            yield pa.Table.from_batches([batch])


def _csv_blocks(file: Path, columns: Columns, delimiter: str) -> Iterator[pa.Table]:
    from pyarrow import csv as arrow

    with file.open("rb") as opened:
        header = opened.readline(1 << 20)
    if not header.strip():
        raise DataError("the file is empty", object=str(file))
    try:
        names = header.decode("utf-8-sig").rstrip("\r\n").split(delimiter)
    except UnicodeDecodeError as error:
        raise DataError("the file is not UTF-8", object=str(file), got=str(error)[:100]) from None
    _check_columns(file, columns, [name.strip('"') for name in names])
    reader = arrow.open_csv(
        file,
        read_options=arrow.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
        parse_options=arrow.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=arrow.ConvertOptions(
            include_columns=columns.names,
            column_types=dict.fromkeys(columns.names, pa.string()),
            strings_can_be_null=True,
            null_values=["", "NA", "NaN", "nan", "null"],
        ),
    )
    for batch in reader:
        yield pa.Table.from_batches([batch])


def _by_line(error: DataError, file: Path, delimiter: str, shown: int = 8) -> DataError:
    """The same error, with the lines of a CSV file (1-based, the header's is 1) in place of row numbers."""
    if not error.rows or file.suffix.lower() in PARQUET:
        return error
    wanted, lines, row = error.rows[:shown], list[int](), -1
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as text:
        reader = csv.reader(text, delimiter=delimiter)
        next(reader, None)
        for record in reader:
            row += bool(record)  # an empty line is no row
            if record and row == wanted[len(lines)]:
                lines.append(reader.line_num)
                if len(lines) == len(wanted):
                    break
    more = ", …" if len(error.rows) > shown else ""
    where = f" on line{'s' if len(error.rows) > 1 else ''} {', '.join(map(str, lines))}{more}"
    return DataError(
        error.message + where, object=error.object, expected=error.expected, got=error.got, hint=error.hint
    )


def _check_columns(file: Path, columns: Columns, names: list[str]) -> None:
    for name in columns.names:
        if name not in names:
            shown = ", ".join(names[:20])
            hint = "is the delimiter right? see --delimiter" if len(names) == 1 else ""
            raise DataError(f"there is no column {name!r}", object=str(file), expected=f"one of {shown}", hint=hint)


@dataclass(frozen=True)
class _Reading:
    """What is the same for all blocks of a file; `hidden` is the key that private keys are hashed with."""

    columns: Columns
    schema: Schema | None
    arrived: datetime
    source: str
    file: str
    hidden: bytes | None


def _label_rows(block: pa.Table, first: int, reading: _Reading) -> pa.Table:
    """A block as rows of the labels log; rows without key or value are left out."""
    columns, schema, arrived, file = reading.columns, reading.schema, reading.arrived, reading.file
    whole = pc.and_(pc.is_valid(block[columns.key]), pc.is_valid(block[columns.value]))
    rows = np.flatnonzero(np.asarray(whole)) + first
    block = block.filter(whole)
    keys = _text(block[columns.key])
    values = _values(_text(block[columns.value]), schema, rows, columns.value, file)
    is_id = pc.match_substring_regex(keys, f"^{PREDICTION_ID}$")
    none = pa.scalar(None, pa.string())
    moments = (
        _moments(block[columns.time], arrived, rows, columns.time, file)
        if columns.time
        else pa.repeat(pa.scalar(arrived, TIME), block.num_rows)
    )
    return pa.table(
        {
            "_id": pc.if_else(is_id, keys, none),
            "_key": _hidden(pc.if_else(is_id, none, keys), reading.hidden),
            "value": values,
            "labelled_at": moments,
            "arrived_at": pa.repeat(pa.scalar(arrived, TIME), block.num_rows),
            "source": pa.repeat(pa.scalar(reading.source or None, pa.string()), block.num_rows),
        },
        schema=labels.SCHEMA,
    )


def _hidden(keys: pa.ChunkedArray, hash_key: bytes | None) -> pa.ChunkedArray:
    """The keys as the log has them: hashed where the schema says so."""
    if hash_key is None:
        return keys
    hashed = [None if key is None else keyed_hash(hash_key, key) for key in keys.to_pylist()]
    return pa.chunked_array([pa.array(hashed, pa.string())])


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text; whole numbers without a point, truth as `true` and `false`."""
    if pa.types.is_floating(column.type):
        whole = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), 2.0**53))
        integers = pc.cast(pc.if_else(pc.fill_null(whole, False), column, 0.0), pa.int64())
        return pc.if_else(whole, pc.cast(integers, pa.string()), pc.cast(column, pa.string()))
    return pc.cast(column, pa.string())


def _values(text: pa.ChunkedArray, schema: Schema | None, rows: Any, column: str, file: str) -> pa.ChunkedArray:
    if schema is None:
        return text
    if schema.target.kind == "number":
        numbers = [_number(value) for value in text.to_pylist()]
        _refuse([number is None for number in numbers], text, rows, column, file, "finite numbers")
        return pa.chunked_array([pa.array([repr(number) for number in numbers], pa.string())])
    if not schema.target.classes:
        return text
    known = pc.is_in(text, value_set=pa.array(schema.target.classes, pa.string()))
    shown = ", ".join(schema.target.classes[:12]) + (", …" if len(schema.target.classes) > 12 else "")
    _refuse(np.asarray(pc.invert(known)), text, rows, column, file, f"one of {shown}")
    return text


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _moments(column: pa.ChunkedArray, arrived: datetime, rows: Any, name: str, file: str) -> pa.ChunkedArray:
    """Times in UTC; without an offset they are taken as UTC, where there is none it is the arrival."""
    if pa.types.is_timestamp(column.type):
        moments = (
            pc.cast(column, TIME) if column.type.tz else pc.assume_timezone(pc.cast(column, pa.timestamp("us")), "UTC")
        )
        return pc.fill_null(moments, pa.scalar(arrived, TIME))
    text = pc.cast(column, pa.string())
    parsed: list[datetime | None] = []
    for value in text.to_pylist():
        try:
            parsed.append(arrived if value is None else parse_moment(value))
        except ValueError:
            parsed.append(None)
    _refuse([moment is None for moment in parsed], text, rows, name, file, "RFC 3339 times, e.g. 2026-11-21T14:05:00Z")
    return pa.chunked_array([pa.array(parsed, TIME)])


def _refuse(wrong: Any, text: pa.ChunkedArray, rows: Any, column: str, file: str, expected: str) -> None:
    at = np.flatnonzero(np.asarray(wrong, dtype=bool))
    if at.size:
        got = repr(text[int(at[0])].as_py())[:60]
        raise DataError(
            f"column {column!r} holds other values",
            object=file,
            expected=expected,
            got=got,
            rows=rows[at[:20]].tolist(),
        )
