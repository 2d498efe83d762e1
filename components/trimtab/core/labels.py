"""The labels log: what turned out to be true, by prediction id or by the row's own key, and its join.

Keys: `labels/<model>/<hour>/<server>-<n>.parquet`; `<hour>` is the UTC hour of arrival.
Columns: `_id` (null where the label names a key), `_key` (null where it names an id), `value` (text),
`labelled_at` (arrival where the sender said nothing), `arrived_at`, `source`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.core.predictions import TIME, _hour, concat, from_parquet, to_parquet

if TYPE_CHECKING:
    from trimtab.core.store import Store

SCHEMA = pa.schema(
    [
        pa.field("_id", pa.string()),
        pa.field("_key", pa.string()),
        pa.field("value", pa.string(), nullable=False),
        pa.field("labelled_at", TIME, nullable=False),
        pa.field("arrived_at", TIME, nullable=False),
        pa.field("source", pa.string()),
    ]
)


@dataclass(frozen=True)
class Joined:
    """Predictions with their labels.

    Attributes:
        table: the predictions, in order, with `_truth` (text, null without label), `_labelled_at`, `_contradicted`.
        matched: label rows that found a prediction (repeats included).
        unmatched: label rows that named no prediction of the table.
        contradicted: predictions with labels of different values.
        rows: for each label row the row of its prediction, or -1.
    """

    table: pa.Table
    matched: int
    unmatched: int
    contradicted: int
    rows: np.ndarray[Any, np.dtype[np.int64]]


def write_labels(store: Store, model: str, server: str, n: int, table: pa.Table) -> str:
    """Write one file of labels that arrived within one UTC hour (columns of `SCHEMA`).

    Returns:
        The key. Writing the same file again changes nothing.

    Raises:
        DataError: the table is empty or spans hours.
        StoreError: the store did not take it.
    """
    key = f"labels/{model}/{_hour(table, 'arrived_at')}/{server}-{n:08d}.parquet"
    store.create(key, to_parquet(table))
    return key


def list_files(store: Store, model: str, after: str | None = None) -> Iterator[str]:
    """Keys of the model's label files, sorted; `after` (exclusive) names the last one already known."""
    return iter(store.list(f"labels/{model}/", after=after))


def read_files(store: Store, keys: Iterable[str]) -> pa.Table:
    """The label rows of these files, in the order given.

    Raises:
        NotFound: a file is not there.
        DataError: a file is no Parquet.
    """
    tables = [from_parquet(store.get(key), key) for key in keys]
    return concat(tables, "the labels") if tables else SCHEMA.empty_table()


def join(
    predictions: pa.Table, labels: pa.Table, key_field: str | None = None, until: datetime | None = None
) -> pa.Table:
    """Predictions with `_truth`, `_labelled_at` and `_contradicted`; see `join_counted`."""
    return join_counted(predictions, labels, key_field, until).table


def join_counted(
    predictions: pa.Table, labels: pa.Table, key_field: str | None = None, until: datetime | None = None
) -> Joined:
    """Join labels to predictions.

    The same prediction and value count once. Of different values the newest (by `labelled_at`, then arrival) is the
    truth and the prediction is marked contradicted. A key that was predicted several times labels its latest
    prediction at or before `labelled_at`.

    Args:
        predictions: rows of the prediction log, n of them.
        labels: rows of the labels log.
        key_field: the schema's field of kind `id`; without one only ids join.
        until: labels that arrived later are left out, so that a join can be repeated.
    """
    if until is not None:
        labels = labels.filter(pc.less_equal(labels["arrived_at"], pa.scalar(until, TIME)))
    rows = _rows_by_id(predictions, labels)
    if key_field is not None and key_field in predictions.column_names:
        by_key = _rows_by_key(predictions, labels, key_field)
        rows = np.where(rows >= 0, rows, by_key)
    hit = np.flatnonzero(rows >= 0)
    labelled = _micros(labels["labelled_at"])[hit]
    arrived = _micros(labels["arrived_at"])[hit]
    values = _codes(labels["value"])[hit]
    order = np.lexsort((hit, arrived, labelled, rows[hit]))
    target, source, values = rows[hit][order], hit[order], values[order]

    last = np.append(target[1:] != target[:-1], True) if len(target) else np.zeros(0, bool)
    chosen = np.full(predictions.num_rows, -1, np.int64)
    chosen[target[last]] = source[last]
    differs = (target[1:] == target[:-1]) & (values[1:] != values[:-1])
    contradicted = np.zeros(predictions.num_rows, bool)
    contradicted[target[1:][differs]] = True

    taken = pa.array(chosen, mask=chosen < 0)
    table = predictions
    for name, column in (
        ("_truth", labels["value"].take(taken)),
        ("_labelled_at", labels["labelled_at"].take(taken)),
        ("_contradicted", pa.array(contradicted)),
    ):
        if name in table.column_names:
            table = table.drop_columns([name])
        table = table.append_column(name, column)
    return Joined(table, len(hit), labels.num_rows - len(hit), int(contradicted.sum()), rows)


def _rows_by_id(predictions: pa.Table, labels: pa.Table) -> np.ndarray[Any, np.dtype[np.int64]]:
    """For each label the row of the prediction whose id it names, or -1."""
    found = pc.index_in(labels["_id"], value_set=predictions["_id"].combine_chunks(), skip_nulls=True)
    return _filled(found)


def _rows_by_key(predictions: pa.Table, labels: pa.Table, field: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """For each label the row of the latest prediction of its key at or before `labelled_at`, or -1."""
    keys = pc.cast(predictions[field], pa.string())
    known = pc.drop_null(pc.unique(keys))
    key_codes = _filled(pc.index_in(keys, value_set=known, skip_nulls=True))
    label_codes = _filled(pc.index_in(labels["_key"], value_set=known, skip_nulls=True))
    times, moments = _micros(predictions["_time"]), _micros(labels["labelled_at"])
    # Codes and ranks of moments, packed into one number that sorts as the pair does.
    ranks = np.unique(np.concatenate([times, moments]), return_inverse=True)[1].astype(np.int64)
    base = len(ranks) + 1
    packed = key_codes * base + ranks[: len(times)]
    order = np.argsort(packed, kind="stable")
    at = np.searchsorted(packed[order], label_codes * base + ranks[len(times) :], side="right") - 1
    rows = order[np.maximum(at, 0)] if len(order) else np.zeros(len(at), np.int64)
    right = (at >= 0) & (label_codes >= 0)
    if len(order):
        right &= key_codes[rows] == label_codes
    return np.where(right, rows, -1)


def _filled(indices: pa.ChunkedArray | pa.Array) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.asarray(pc.fill_null(pc.cast(indices, pa.int64()), -1))


def _micros(column: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.asarray(pc.cast(pc.cast(column, TIME), pa.int64()))


def _codes(column: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.int64]]:
    return _filled(pc.index_in(column, value_set=pc.unique(column)))
