"""The prediction log: every answered row as it was received, one version a file.

Keys: `predictions/<model>/<version>/<hour>/<server>-<n>.parquet`; `<hour>` is the UTC hour of the rows in it
(`2026-11-21T14`), `<server>` is unique for each start of a server and `<n>` counts up from 0, so no key is ever
written twice. A file that ships late (the store was away) still lies under its rows' hour: whoever follows the log
compares the whole listing with what it has seen.

Columns: `_id` (`<uuid7>-<row>`), `_time`, every schema field as received and typed by the schema, `_label` or
`_value`, `_probabilities`, `_latency_ms`, `_share` (percent of the traffic that the version had), `_request` and
`_trace` (the client's ids of the request and of its trace; null without).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trimtab.core.errors import DataError

if TYPE_CHECKING:
    from trimtab.core.schema import Schema
    from trimtab.core.store import Store

TIME = pa.timestamp("us", tz="UTC")
# Values that are written at a time: a thousand, as is usual, is little for a column of a few bytes.
BATCH_ROWS = 16_384


def log_schema(schema: Schema) -> pa.Schema:
    """Columns and types of the log of a model with this schema.

    A field that is private by `drop` has no column; one private by `hash` is text. Images are flat lists.
    """
    fields = [pa.field("_id", pa.string(), nullable=False), pa.field("_time", TIME, nullable=False)]
    fields += schema.arrow_fields(logged=True)
    if schema.target.kind == "category":
        fields.append(pa.field("_label", pa.string()))
        fields.append(pa.field("_probabilities", pa.list_(pa.float32())))
    else:
        fields.append(pa.field("_value", pa.float64()))
    fields += [pa.field("_latency_ms", pa.float32()), pa.field("_share", pa.int64())]
    fields += [pa.field("_request", pa.string()), pa.field("_trace", pa.string())]
    return pa.schema(fields)


def hour_of(moment: datetime) -> str:
    """The segment of a key that holds this moment.

    >>> hour_of(datetime(2026, 11, 21, 14, 59, tzinfo=UTC))
    '2026-11-21T14'
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H")


def split_hours(table: pa.Table, column: str = "_time") -> Iterator[pa.Table]:
    """The table cut into runs of rows of one UTC hour each, in order of the hours; row order is kept inside."""
    if table.num_rows == 0:
        return
    first, last = (pc.floor_temporal(end, unit="hour") for end in pc.min_max(table[column]).values())
    if first == last:  # as nearly always; filtering takes longer than writing
        yield table
        return
    hours = pc.floor_temporal(table[column], unit="hour")
    for hour in pc.unique(hours).sort():
        yield table.filter(pc.equal(hours, hour))


def write_log(store: Store, model: str, version: str, server: str, n: int, table: pa.Table) -> str:
    """Write one file of the log.

    Args:
        store: where it goes.
        model: the model's name.
        version: the version that answered every row of the table.
        server: the writing server's name, unique for each of its starts.
        n: number of the file, counted by that server.
        table: rows of one UTC hour, columns of `log_schema`.

    Returns:
        The key. Writing the same file again changes nothing.

    Raises:
        DataError: the table is empty or spans hours.
        StoreError: the store did not take it.
    """
    key, body = log_file(model, version, server, n, table)
    store.create(key, body)
    return key


def log_file(model: str, version: str, server: str, n: int, table: pa.Table) -> tuple[str, bytes]:
    """Key and bytes of what `write_log` writes.

    Raises:
        DataError: the table is empty or spans hours.
        OverflowError: a time is none that a calendar has.
    """
    return f"predictions/{model}/{version}/{_hour(table, '_time')}/{server}-{n:08d}.parquet", to_parquet(table)


def list_files(store: Store, model: str, version: str, after: str | None = None) -> Iterator[str]:
    """Keys of a version's log files, sorted; `after` (exclusive) names the last one already known."""
    return iter(store.list(f"predictions/{model}/{version}/", after=after))


def versions(store: Store, model: str) -> list[str]:
    """Versions of the model that have answered anything, sorted by name; lists one key a version."""
    prefix = f"predictions/{model}/"
    found: list[str] = []
    after: str | None = None
    while (key := next(iter(store.list(prefix, after=after)), None)) is not None:
        version = key[len(prefix) :].split("/", 1)[0]
        found.append(version)
        after = f"{prefix}{version}/zzzz"  # hours start with a digit: this sorts behind all of the version's keys
    return found


def read_files(store: Store, keys: Iterable[str], columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of these files in the order given; columns that a file lacks are null.

    Raises:
        NotFound: a file is not there.
        DataError: a file is no Parquet, or two files have types of a column that do not go together.
    """
    return concat([from_parquet(store.get(key), key, columns) for key in keys], "the prediction log")


def to_parquet(table: pa.Table) -> bytes:
    """The table as Parquet bytes (zstd); equal tables give equal bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        use_dictionary=list(_repeating(table.schema)),
        # Files are told apart by ids, times and texts; least and largest numbers take time, and tell little.
        write_statistics=[field.name for field in table.schema if not _is_numbers(field.type)],
        write_batch_size=BATCH_ROWS,
    )
    body: bytes = sink.getvalue().to_pybytes()
    return body


def _is_numbers(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_list(kind))


def _repeating(schema: pa.Schema) -> Iterator[str]:
    """The columns, as Parquet names them, in which values come again: texts, whole numbers, pixels.

    Elsewhere looking for them takes two thirds of the time of writing, and what comes of it is larger.
    """
    for field in schema:
        if pa.types.is_list(field.type) and field.name != "_probabilities":
            yield f"{field.name}.list.element"
        elif (pa.types.is_string(field.type) and field.name != "_id") or pa.types.is_integer(field.type):
            yield field.name


def from_parquet(body: bytes, key: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A table from Parquet bytes, only the named columns that it has.

    Raises:
        DataError: the bytes are no Parquet.
    """
    try:
        file = pq.ParquetFile(io.BytesIO(body))
        wanted = None if columns is None else [c for c in columns if c in file.schema_arrow.names]
        return file.read(columns=wanted)
    except (pa.ArrowException, OSError) as error:
        raise DataError("not a Parquet file", object=key, got=str(error)[:200]) from error


def concat(tables: Sequence[pa.Table], what: str) -> pa.Table:
    """Tables under each other; a column that one lacks is null there, and numbers of different widths take the widest.

    Raises:
        DataError: a column has types that do not go together.
    """
    if not tables:
        return pa.table({})
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError("files of different types cannot be read as one", object=what, got=str(error)[:300]) from error


def _hour(table: pa.Table, column: str) -> str:
    if table.num_rows == 0:
        raise DataError("a log file without rows", object=column, expected="at least one row")
    span = pc.min_max(table[column]).as_py()
    first, last = hour_of(span["min"]), hour_of(span["max"])
    if first != last:
        raise DataError("a log file spans hours", object=column, expected="rows of one hour", got=f"{first} to {last}")
    return first
