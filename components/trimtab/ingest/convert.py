"""Columns as they come (text, numbers, lists, …) as the typed columns of a dataset."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from trimtab.core.values import category_text, parse_moment
from trimtab.ingest.origin import Origin

if TYPE_CHECKING:
    import pyarrow as pa

    from trimtab.core.schema import Field, Schema

# Texts that mean "missing" in a column of numbers or times. In a category only the empty text does: NA is Namibia.
NULLS = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "Null", "None", "#N/A", "?", "-")
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
INFINITE = r"^[+-]?([iI]nf|INF|[iI]nfinity|INFINITY)$"


def convert(
    raw: pa.Table, schema: Schema, origin: Origin, first: int, nulls: Sequence[str] = (), *, carried: bool = False
) -> pa.Table:
    """Typed columns: fields in order, target, `_id`, `_time`.

    Args:
        raw: the source's columns by their own names; absent ones become null (id, text, time only).
        schema: fields and target.
        origin: where the rows come from.
        first: number (0-based) of the first row within the origin.
        nulls: further texts that mean "missing", in every column.
        carried: the rows are a dataset of ours, whose `_id` and `_time` are taken over.

    Raises:
        DataError: a column holds what its kind cannot; names file, column, lines, expected and got.
    """
    import pyarrow as pa

    from trimtab.core.tables import TIME, target_field

    columns: dict[str, Any] = {}
    for field, typed in zip(schema.fields, schema.arrow_fields(), strict=True):
        if field.source_column in raw.column_names:
            columns[field.name] = _Column(field.source_column, field, origin, first, nulls).typed(
                raw[field.source_column]
            )
        else:
            columns[field.name] = pa.nulls(raw.num_rows, typed.type)
    from trimtab.core.schema import Field

    target = schema.target
    as_field = Field(name=target.name, kind=target.kind, unit=target.unit, nullable=True)
    columns[target.name] = (
        _Column(target.source_column, as_field, origin, first, nulls)
        .typed(raw[target.source_column])
        .cast(target_field(schema).type)
    )
    columns["_id"] = (
        raw["_id"].cast(pa.string()) if carried and "_id" in raw.column_names else pa.nulls(raw.num_rows, pa.string())
    )
    if carried and "_time" in raw.column_names:
        columns["_time"] = raw["_time"].cast(TIME)
    else:
        moment = schema.time_field
        columns["_time"] = columns[moment.name] if moment else pa.nulls(raw.num_rows, TIME)
    return pa.table(columns)


class _Column:
    """One column on its way to its kind."""

    def __init__(self, column: str, field: Field, origin: Origin, first: int, nulls: Sequence[str]) -> None:
        self.column, self.field, self.origin, self.first = column, field, origin, first
        self.nulls = tuple(nulls)

    def typed(self, raw: pa.ChunkedArray) -> Any:
        import pyarrow as pa

        array = raw.combine_chunks()
        if isinstance(array, pa.ChunkedArray):
            array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], raw.type)
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if pa.types.is_large_string(array.type) or pa.types.is_string_view(array.type):
            array = array.cast(pa.string())
        if pa.types.is_null(array.type):
            array = array.cast(pa.string())
        if self.field.kind == "image":
            return self._image(array)
        if pa.types.is_nested(array.type) or pa.types.is_binary(array.type):
            self._refuse("holds lists or bytes", array.is_valid(), array, self.field.kind)
        if self.field.kind == "number":
            return self._number(array)
        if self.field.kind == "time":
            return self._time(array)
        return self._text(array)

    def _refuse(self, what: str, wrong: Any, array: Any, expected: str, hint: str = "") -> NoReturn:
        """Point at the rows where `wrong` is true."""
        rows = np.flatnonzero(np.asarray(wrong.fill_null(False)))
        values = dict.fromkeys(repr(array[int(r)].as_py())[:40] for r in rows[:4])
        got = "values that are private" if self.field.private else ", ".join(values)
        self.origin.refuse(
            f"column {self.column!r} {what}",
            (rows[:8] + self.first).tolist(),
            len(rows),
            expected=expected,
            got=got,
            hint=hint,
        )

    def _blank(self, array: Any, nulls: Sequence[str]) -> Any:
        """Text with what means "missing" as null."""
        import pyarrow as pa
        import pyarrow.compute as pc

        return pc.if_else(pc.is_in(array, value_set=pa.array(nulls, pa.string())), pa.scalar(None, pa.string()), array)

    def _number(self, array: Any) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        from trimtab.core.tables import arrow_type

        kind = array.type
        if pa.types.is_string(kind):
            text = self._blank(pc.utf8_trim_whitespace(array), [*NULLS, *self.nulls])
            infinite = pc.match_substring_regex(text, INFINITE)
            if pc.any(infinite).as_py():
                self._infinite(infinite, array)
            wrong = pc.invert(pc.match_substring_regex(text, NUMBER))
            if pc.any(wrong).as_py():
                comma = pc.all(pc.match_substring_regex(text.filter(wrong), r"^[+-]?[\d.]*,\d+$")).as_py()
                self._refuse(
                    "holds text",
                    wrong,
                    array,
                    "numbers",
                    "write numbers with a point, not a comma"
                    if comma
                    else "correct the values, list them under `nulls:` of the source if they mean missing, "
                    "or declare the field as kind: category",
                )
            numbers = text.cast(pa.float64())
        elif pa.types.is_boolean(kind):
            numbers = array.cast(pa.int8()).cast(pa.float64())
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            numbers = array.cast(pa.float64(), safe=False)
        else:
            self._refuse(
                f"holds values of type {kind}", array.is_valid(), array, "numbers", "declare it as another kind"
            )
        numbers = pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)
        # What a 32-bit float cannot hold becomes infinite in the model.
        infinite = pc.greater(pc.abs(numbers), float(np.finfo(np.float32).max))
        if pc.any(infinite).as_py():
            self._infinite(infinite, array)
        return numbers.cast(arrow_type(self.field))

    def _infinite(self, wrong: Any, array: Any) -> NoReturn:
        self._refuse(
            "holds infinite values",
            wrong,
            array,
            "finite numbers (32-bit)",
            "leave them empty where they mean missing, or correct them",
        )

    def _text(self, array: Any) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        if not pa.types.is_string(array.type):
            coded = array.dictionary_encode()
            values = [_as_text(v) for v in coded.dictionary.to_pylist()]
            array = pa.array(values, pa.string()).take(coded.indices)
        text = self._blank(array, ["", *self.nulls])
        if self.field.kind != "text":
            broken = pc.match_substring(text, "\n")
            if pc.any(broken).as_py():
                self._refuse(
                    "holds values of several lines",
                    broken,
                    array,
                    f"one line for a field of kind {self.field.kind}",
                    "look for a quote that is not closed",
                )
        return text

    def _time(self, array: Any) -> Any:
        import pyarrow as pa

        from trimtab.core.tables import TIME

        if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
            if pa.types.is_timestamp(array.type) and array.type.tz:
                return array.cast(TIME, safe=False)
            return array.cast(pa.timestamp("us"), safe=False).cast(TIME)
        if not pa.types.is_string(array.type):
            self._refuse(f"holds values of type {array.type}", array.is_valid(), array, "times (ISO 8601)")
        text = self._blank(array, [*NULLS, *self.nulls])
        for kind in (pa.timestamp("us"), TIME):
            try:
                return text.cast(kind).cast(TIME)
            except pa.ArrowInvalid:
                continue
        return self._each(text, array, parse_moment, TIME, "times (ISO 8601, e.g. 2026-11-21T14:05:00Z)")

    def _each(self, text: Any, array: Any, read: Callable[[str], datetime], kind: Any, expected: str) -> Any:
        """Value by value, where no vectorised form fits."""
        import pyarrow as pa

        out: list[datetime | None] = []
        wrong = []
        for value in text.to_pylist():
            try:
                out.append(None if value is None else read(value))
                wrong.append(False)
            except ValueError:
                out.append(None)
                wrong.append(True)
        if any(wrong):
            self._refuse("holds other text", pa.array(wrong), array, expected)
        return pa.array(out, kind)

    def _image(self, array: Any) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        from trimtab.core.tables import IMAGE

        if pa.types.is_string(array.type):
            array = self._json(array)
        lists = array
        while _is_list(lists.type):
            lists = lists.flatten()
        nested = array.type != lists.type
        expected = f"{self.field.size} numbers a row (shape {list(self.field.shape)})"
        numeric = pa.types.is_integer(lists.type) or pa.types.is_floating(lists.type)
        if not nested or not (numeric or pa.types.is_null(lists.type)):
            self._refuse("holds no images", pa.array([True] * len(array)), array, expected, "store a list in each row")
        sizes = _sizes(array)
        wrong = sizes != self.field.size
        if wrong.any():
            self._refuse("holds images of another size", pa.array(wrong), pa.array(sizes), expected)
        values = lists.cast(pa.float32(), safe=False)
        ok = np.asarray(pc.fill_null(pc.is_finite(values), False)).reshape(len(array), self.field.size).all(axis=1)
        if not ok.all():
            self._infinite(pa.array(~ok), pa.array(["…"] * len(array)))
        offsets = np.arange(len(array) + 1, dtype=np.int32) * self.field.size
        return pa.ListArray.from_arrays(pa.array(offsets), values).cast(IMAGE)

    def _json(self, array: Any) -> Any:
        """A text column of JSON lists."""
        import pyarrow as pa

        out, wrong = [], []
        for value in array.to_pylist():
            try:
                numbers = np.asarray(json.loads(value or ""), dtype=np.float32).reshape(-1)
            except (ValueError, TypeError):
                numbers = np.zeros(self.field.size, np.float32)
                wrong.append(True)
            else:
                wrong.append(False)
            out.append(numbers)
        if any(wrong):
            self._refuse("holds no images", pa.array(wrong), array, f"a JSON list of shape {list(self.field.shape)}")
        return pa.array(out, pa.list_(pa.float32()))


def _as_text(value: object) -> str | None:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    return category_text(value if isinstance(value, (bool, int, float, str)) else str(value))


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _sizes(array: Any) -> np.ndarray:
    """How many numbers each (possibly nested) list holds; -1 for null."""
    import pyarrow.compute as pc

    lengths: np.ndarray = np.asarray(pc.fill_null(pc.list_value_length(array), -1)).astype(np.int64)
    inner = array.type.value_type
    if not _is_list(inner):
        return lengths
    below = _sizes(array.flatten())
    ends = np.cumsum(np.maximum(lengths, 0))
    total = np.concatenate([[0], np.cumsum(below)])
    return np.where(lengths < 0, -1, total[ends] - total[ends - np.maximum(lengths, 0)])
