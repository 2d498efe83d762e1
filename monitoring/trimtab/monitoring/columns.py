"""From tables of the prediction log and the reference to the arrays that the deciding functions take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.monitoring.counts import text
from trimtab.monitoring.drift import Column
from trimtab.monitoring.losses import Floats

if TYPE_CHECKING:
    from trimtab.core.schema import Schema

LABEL, VALUE, CONFIDENCE, PROBABILITIES = "_label", "_value", "_confidence", "_probabilities"
# The reference's predictions come from models trained on all rows but a fold, a little less sure of themselves than
# the model that serves; shifts of its scores below this distance say nothing.
SCORE_FLOOR = 0.1


def compared(schema: Schema) -> list[Column]:
    """What a window is compared in: the features that the log holds, and the predictions."""
    columns = [
        Column(f.name, f.kind, tuple(f.shape), tuple(f.categories))
        for f in schema.features
        if not f.private and f.kind in ("number", "category", "image")
    ]
    if schema.target.kind == "category":
        columns.append(Column(LABEL, "category", categories=tuple(schema.target.classes)))
        columns.append(Column(CONFIDENCE, "number", floor=SCORE_FLOOR))
    else:
        columns.append(Column(VALUE, "number", floor=SCORE_FLOOR / 2))
    return columns


def needed(columns: Sequence[Column]) -> list[str]:
    """Columns of the log that `arrays` reads for these."""
    names = [
        n
        for c in columns
        if c.kind != "vector"
        for n in ((PROBABILITIES, LABEL) if c.name == CONFIDENCE else (c.name,))
    ]
    return list(dict.fromkeys(names))


def arrays(table: pa.Table, columns: Sequence[Column], classes: Sequence[str]) -> dict[str, Any]:
    """The table's columns as the drift tests take them; one that is missing or cannot be read is left out.

    Args:
        table: rows of the log or of the reference.
        columns: what is compared.
        classes: the target's classes, in the order of the probabilities.
    """
    found: dict[str, Any] = {}
    for column in columns:
        if column.name == CONFIDENCE:
            if PROBABILITIES in table.column_names and LABEL in table.column_names:
                found[column.name] = confidence(table, classes)
        elif column.name not in table.column_names:
            continue
        elif column.kind == "image":
            image = _images(table[column.name], int(np.prod(column.shape)))
            if image is not None:
                found[column.name] = image
        elif column.kind == "category":
            found[column.name] = table[column.name]
        else:
            found[column.name] = numbers(table[column.name])
    return found


def numbers(column: pa.ChunkedArray) -> Floats:
    """A column as float64, null as NaN; text that is no number is NaN too, and so is all of another type."""
    if pa.types.is_null(column.type) or pa.types.is_nested(column.type):
        return np.full(len(column), np.nan)
    if pa.types.is_string(column.type):
        return np.array([_number(v) for v in column.to_pylist()], np.float64)
    return np.asarray(pc.fill_null(pc.cast(column, pa.float64()), np.nan), np.float64)


def confidence(table: pa.Table, classes: Sequence[str]) -> Floats:
    """Probability that each row's model gave to the label it answered; NaN where the log does not say."""
    matrix = probabilities(table, len(classes))
    at = indices(table[LABEL], classes)
    rows = np.arange(len(at))
    return np.asarray(np.where(at >= 0, matrix[rows, np.maximum(at, 0)], np.nan))


def probabilities(table: pa.Table, k: int) -> Floats:
    """The probabilities [n, k]; rows without them are NaN."""
    column = table[PROBABILITIES]
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    matrix = np.full((len(column), max(1, k)), np.nan)
    if not _listed(column.type):
        return matrix
    whole = np.asarray(pc.fill_null(pc.equal(pc.list_value_length(column), k), False))
    if whole.any():
        values = pc.list_flatten(column.filter(pa.array(whole)))
        matrix[whole] = np.asarray(pc.fill_null(pc.cast(values, pa.float64()), np.nan)).reshape(-1, k)
    return matrix


def indices(values: Any, classes: Sequence[str]) -> npt.NDArray[np.int64]:
    """Index of each value among the classes; -1 for null and for what is none of them."""
    found = pc.index_in(text(values), value_set=pa.array(list(classes), pa.string()))
    return np.asarray(pc.fill_null(found, -1), np.int64)


def _images(column: pa.ChunkedArray, size: int) -> Floats | None:
    """Flat images [n, size]; rows of another length or with nulls are left out."""
    whole = column.combine_chunks()
    if not _listed(whole.type):
        return None
    right = pc.fill_null(pc.equal(pc.list_value_length(whole), size), False)
    flat = np.asarray(pc.fill_null(pc.cast(pc.list_flatten(whole.filter(right)), pa.float64()), np.nan))
    rows = flat.reshape(-1, size)
    return np.asarray(rows[np.isfinite(rows).all(axis=1)], np.float64)


def _listed(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind))


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")
