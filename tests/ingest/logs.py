"""A prediction log with labels in a store, as a server and its callers would leave it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from trimtab.core import labels, predictions
from trimtab.core.schema import Schema
from trimtab.core.store import Store

START = datetime(2026, 11, 21, 14, 0, tzinfo=UTC)


def moment(minute: float) -> datetime:
    """So many minutes after the start."""
    return START + timedelta(minutes=minute)


def prediction_id(row: int) -> str:
    """A prediction id that is the row's own."""
    return f"0193a6a0-0000-7000-8000-{row:012d}-0"


def log(store: Store, schema: Schema, model: str, version: str, rows: Sequence[dict[str, Any]], n: int = 0) -> None:
    """Write rows as one server's log: each has the schema's fields, `row` (its number) and `minute`."""
    table = pa.Table.from_pylist(
        [
            {
                **{f.name: row.get(f.name) for f in schema.fields},
                "_id": prediction_id(row["row"]),
                "_time": moment(row["minute"]),
                "_label": "no",
                "_value": 0.0,
                "_probabilities": [0.5, 0.5],
                "_latency_ms": 1.0,
                "_share": 100,
            }
            for row in rows
        ],
        schema=predictions.log_schema(schema),
    )
    for index, part in enumerate(predictions.split_hours(table)):
        predictions.write_log(store, model, version, f"server-{version}-{n}", index, part)


def label(store: Store, model: str, items: Sequence[dict[str, Any]], n: int = 0) -> None:
    """Write labels: each has `id` or `key`, `value`, and `minute` of its arrival."""
    table = pa.Table.from_pylist(
        [
            {
                "_id": item.get("id"),
                "_key": item.get("key"),
                "value": str(item["value"]),
                "labelled_at": moment(item["minute"]),
                "arrived_at": moment(item["minute"]),
                "source": "test",
            }
            for item in items
        ],
        schema=labels.SCHEMA,
    )
    for index, part in enumerate(predictions.split_hours(table, "arrived_at")):
        labels.write_labels(store, model, f"server-{n}", index, part)
