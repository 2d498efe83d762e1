"""Spool lines as the tables that `core.predictions` and `core.labels` keep; runs in the shipper's process."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa

from trimtab.core import labels, predictions

if TYPE_CHECKING:
    from trimtab.core.schema import Schema


def log_table(requests: list[dict[str, Any]], schema: Schema) -> pa.Table:
    """Answered requests of one version as rows of the prediction log.

    Args:
        requests: decoded lines (`rows.encode_line`), m of them with n rows in all.
        schema: the version's schema.

    Raises:
        pyarrow.ArrowException: a value is not of its column's type.
    """
    target = predictions.log_schema(schema)
    records = [record for request in requests for record in request["r"]]
    counts = [len(request["r"]) for request in requests]
    output = "_label" if schema.target.kind == "category" else "_value"
    columns: dict[str, Any] = {
        "_id": [f"{request['i']}-{row}" for request, n in zip(requests, counts, strict=True) for row in range(n)],
        "_time": _spread([request["t"] for request in requests], counts),
        output: [value for request in requests for value in request["y"]],
        "_latency_ms": _spread([request["l"] for request in requests], counts),
        "_share": _spread([request["s"] for request in requests], counts),
    }
    if output == "_label":
        columns["_probabilities"] = [row for request in requests for row in request["p"]]
    kinds = {field.name: field.kind for field in schema.fields}
    for name in target.names:
        if name in columns:
            continue
        values = [record.get(name) for record in records]
        if kinds[name] == "image" and target.field(name).type != pa.string():
            values = [None if value is None else list(_flat(value)) for value in values]
        elif kinds[name] == "time" and target.field(name).type != pa.string():
            values = [None if value is None else datetime.fromisoformat(value) for value in values]
        columns[name] = values
    arrays = [pa.array(columns[field.name], type=field.type) for field in target]
    return pa.Table.from_arrays(arrays, schema=target)


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


def _spread(values: list[Any], counts: list[int]) -> list[Any]:
    return [value for value, count in zip(values, counts, strict=True) for _ in range(count)]


def _flat(value: Any) -> Iterator[float]:
    if isinstance(value, list):
        for one in value:
            yield from _flat(one)
    else:
        yield value
