"""The spool's frames and lines as the tables of `core.predictions` and `core.labels`; runs in the shipper's process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.core import labels, predictions
from trimtab.serving.frames import MATRIX, PROBABILITIES, Frame, alike, join, matrix_names

if TYPE_CHECKING:
    from trimtab.core.schema import Schema

# Rows of a matrix that are turned at a time: so many are in the processor's cache meanwhile.
TURNED_ROWS = 512
# Columns of a request's own, by their letter in a frame's head.
_OF_REQUEST = {"_latency_ms": "l", "_share": "s", "_request": "q", "_trace": "w"}


def log_table(frames: Sequence[Frame], schema: Schema) -> pa.Table:
    """Frames of one version as rows of the prediction log.

    Args:
        frames: as they were read, m of them with n rows in all.
        schema: the version's schema.

    Raises:
        pyarrow.ArrowException: a value is not of its column's type.
        ValueError: a frame is not what the schema says.
    """
    target = predictions.log_schema(schema)
    tables = []
    for part in alike(frames):
        matrix = _matrix(part, schema)
        arrays = _arrays(join(part, [MATRIX] if matrix else []), matrix, schema, target)
        tables.append(pa.Table.from_arrays(list(arrays), schema=target))
    return pa.concat_tables(tables)


Matrix = dict[str, np.ndarray[Any, Any]]


def _arrays(frame: Frame, matrix: Matrix, schema: Schema, target: pa.Schema) -> Iterator[pa.Array]:
    head, columns = frame
    counts = np.array(head["k"])
    if counts.sum() != frame.rows:  # before so many are made
        raise ValueError(f"{frame.rows} rows, and requests that held {counts.sum()}")
    requests = pa.array(np.repeat(np.arange(len(counts)), counts))  # which of them each row came with
    fields = {field.name for field in schema.fields}
    for column in target:
        name, kind = column.name, column.type
        if name in fields:
            yield _field(frame, name, kind, matrix)
        elif name == "_id":
            yield _ids(head["i"], requests, counts)
        elif name == "_time":
            yield pa.array(head["t"], pa.int64()).take(requests).cast(kind)
        elif name == "_probabilities":
            yield _lists(columns[PROBABILITIES], kind) if PROBABILITIES in columns else pa.nulls(frame.rows, kind)
        elif name in _OF_REQUEST:
            values = head.get(_OF_REQUEST[name])
            yield pa.nulls(frame.rows, kind) if values is None else _told(values, kind).take(requests)
        else:  # `_label` or `_value`
            yield pa.array(head["y"], type=kind)


def _ids(uuids: list[str] | np.ndarray[Any, Any], requests: pa.Array, counts: np.ndarray[Any, Any]) -> pa.Array:
    """Each row's id: the UUID of the request that it came with, and its place there."""
    if isinstance(uuids, np.ndarray):  # bytes, of single rows
        return pa.array(np.char.add(uuids, b"-0")).cast(pa.string())
    places = np.arange(len(requests)) - np.repeat(counts.cumsum() - counts, counts)
    texts = pa.array(uuids).cast(pa.string()).take(requests)
    return pc.binary_join_element_wise(texts, pa.array(places).cast(pa.string()), "-")


def _matrix(part: Sequence[Frame], schema: Schema) -> Matrix:
    """The columns of the frames' matrices by the names of their fields, float64 or float32 [n]."""
    if MATRIX not in part[0].columns or MATRIX in schema.by_name:
        return {}
    names = matrix_names(schema)
    dtype = np.result_type(*{frame.columns[MATRIX].dtype for frame in part})
    turned, start = np.empty((len(names), sum(frame.rows for frame in part)), dtype), 0
    for frame in part:
        rows = frame.columns[MATRIX]
        if rows.shape != (frame.rows, len(names)):
            raise ValueError(f"a matrix {list(rows.shape)}, not [{frame.rows}, {len(names)}]")
        for at in range(0, len(rows), TURNED_ROWS):
            piece = rows[at : at + TURNED_ROWS]
            turned[:, start : start + len(piece)] = piece.T
            start += len(piece)
    return dict(zip(names, turned, strict=True))


def _field(frame: Frame, name: str, kind: pa.DataType, matrix: Matrix) -> pa.Array:
    """One field of the frame's rows; null where the request left it out."""
    columns = frame.columns
    if name in matrix:
        return _numbers(matrix[name], kind)
    if name in columns:
        values = columns[name]
        return _lists(values, kind) if pa.types.is_list(kind) else _numbers(values.reshape(frame.rows), kind)
    if "r" in frame.head:
        return _typed([record.get(name) for record in frame.head["r"]], kind)
    if name in frame.head["j"]:
        return _typed(frame.head["j"][name], kind)
    return pa.nulls(frame.rows, kind)


def _numbers(values: np.ndarray[Any, Any], kind: pa.DataType) -> pa.Array:
    """A column of numbers; NaN is null."""
    dense = np.ascontiguousarray(values, np.float32 if pa.types.is_float32(kind) else np.float64)
    if pa.types.is_floating(kind) and not np.isnan(np.min(dense, initial=0.0)):  # as nearly always
        return pa.Array.from_buffers(kind, len(dense), [None, pa.py_buffer(dense)], 0)
    return pa.array(dense, from_pandas=True).cast(kind)


def _lists(values: np.ndarray[Any, Any], kind: pa.DataType) -> pa.Array:
    """Rows of numbers as flat lists."""
    flat = pa.array(np.ascontiguousarray(values).reshape(-1)).cast(kind.value_type)
    width = values.size // max(1, len(values))
    offsets = np.arange(0, values.size + 1, width, dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), flat)


def _typed(values: list[Any], kind: pa.DataType) -> pa.Array:
    """A column of values as JSON has them."""
    if pa.types.is_list(kind):
        values = [None if value is None else list(_flat(value)) for value in values]
    elif pa.types.is_timestamp(kind):
        values = [None if value is None else datetime.fromisoformat(value) for value in values]
    return pa.array(values, type=kind)


def _told(values: list[Any] | np.ndarray[Any, Any], kind: pa.DataType) -> pa.Array:
    """What requests said of themselves; an empty text is null."""
    if isinstance(values, np.ndarray):
        return pa.array(values).cast(kind)
    return pa.array([value or None for value in values] if pa.types.is_string(kind) else values, type=kind)


def label_table(lines: list[bytes]) -> pa.Table:
    """Feedback lines as rows of the labels log.

    Raises:
        ValueError: a line is no JSON, or holds no time.
    """
    rows = [orjson.loads(line) for line in lines]
    for row in rows:
        for name in ("labelled_at", "arrived_at"):
            row[name] = datetime.fromisoformat(row[name])
    return pa.Table.from_pylist(rows, schema=labels.SCHEMA)


def _flat(value: Any) -> Iterator[float]:
    if isinstance(value, list):
        for one in value:
            yield from _flat(one)
    else:
        yield value
