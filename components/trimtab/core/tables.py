"""Schema fields as Arrow columns, and Arrow columns as the graph's inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.core.errors import DataError

if TYPE_CHECKING:
    from trimtab.core.schema import Field, Schema

TIME = pa.timestamp("us", tz="UTC")
IMAGE = pa.list_(pa.float32())


def arrow_type(field: Field) -> pa.DataType:
    """The column type of a field: its float, string, timestamp in UTC, or a flat list of float32 for an image."""
    number = pa.float32() if field.dtype == "float32" else pa.float64()
    return {"number": number, "image": IMAGE, "time": TIME}.get(field.kind, pa.string())


def arrow_fields(schema: Schema, *, logged: bool = False) -> list[pa.Field]:
    """The schema's fields as Arrow fields.

    Args:
        schema: the fields.
        logged: as the prediction log has them: private ones are left out, hashed ones are text.
    """
    fields = [f for f in schema.fields if not (logged and f.private == "drop")]
    return [pa.field(f.name, pa.string() if logged and f.private == "hash" else arrow_type(f)) for f in fields]


def target_field(schema: Schema) -> pa.Field:
    """The target's column: string for a class, float64 for a number."""
    return pa.field(schema.target.name, pa.string() if schema.target.kind == "category" else pa.float64())


def image_array(column: pa.ChunkedArray | pa.Array, field: Field) -> np.ndarray:
    """An image column as float32 [n, *shape].

    Raises:
        DataError: a row has another number of values.
    """
    flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    lengths = pc.fill_null(pc.list_value_length(flat), -1).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero(lengths != field.size)
    if wrong.size:
        raise DataError(
            f"field {field.name!r} holds images of another size",
            object=field.name,
            expected=f"{field.size} values (shape {list(field.shape)})",
            got="none" if lengths[wrong[0]] < 0 else str(lengths[wrong[0]]),
            rows=wrong.tolist(),
        )
    values: np.ndarray = flat.flatten().to_numpy(zero_copy_only=False)
    return values.astype(np.float32, copy=False).reshape(len(flat), *field.shape)


def encode_table(schema: Schema, table: pa.Table) -> dict[str, np.ndarray]:
    """The feature columns of a table as the graph's inputs (see `Schema.tensors`).

    Null numbers become NaN, null categories the empty text.

    Raises:
        DataError: a column is missing, or an image has another size.
    """
    missing = [f.name for f in schema.features if f.name not in table.column_names]
    if missing:
        raise DataError("columns are missing from the table", object=", ".join(missing))
    rows = table.num_rows
    columns: dict[str, np.ndarray] = {}
    for field in schema.features:
        column = table.column(field.name)
        if field.kind == "image":
            columns[field.name] = image_array(column, field)
        elif field.kind == "category":
            text = pc.fill_null(column.cast(pa.string()), "")
            array = np.empty((rows, 1), dtype=object)
            array[:, 0] = text.to_pylist()
            columns[field.name] = array
        else:
            number = pc.fill_null(column.cast(pa.float64()), float("nan"))
            columns[field.name] = number.to_numpy().astype(np.float32).reshape(rows, 1)
    if schema.single_input:
        return {"input": np.concatenate(list(columns.values()), axis=1)}
    return columns
