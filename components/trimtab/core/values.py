"""One value of one field: what a request may send for it, and what it becomes."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from trimtab.core.errors import RequestError

if TYPE_CHECKING:
    from trimtab.core.schema import Field

Parse = Callable[[object, int], Any]
# The largest number that is finite in 32 bits: what rounds to float32's largest, which people write as 3.4028235e38.
FLOAT32_MAX = 3.4028235677973362e38
_EXPECTED = {"number": "a finite number", "category": "text", "text": "text", "id": "text", "time": "RFC 3339 time"}
# Most characters of a text: an id is a name, and a category that a request brings is logged and counted.
LENGTHS = {"id": 200, "category": 10_000}


def describe(value: object) -> str:
    """A value of a request in a few words, for errors.

    >>> describe([1, 2]), describe("old"), describe(None), describe({"a": 1})
    ('an array of 2', "'old'", 'null', 'an object')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)[:40]
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:37] + "…")
    if isinstance(value, list):
        return f"an array of {len(value)}"
    return "an object" if isinstance(value, dict) else type(value).__name__


def category_text(value: float | str) -> str:
    """A category as text, the same for every source: whole numbers without a point.

    >>> category_text(3), category_text(3.0), category_text(2.5), category_text("x"), category_text(True)
    ('3', '3', '2.5', 'x', 'true')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else str(value)


def parse_moment(text: str) -> datetime:
    """ISO 8601 text as a moment in UTC; without an offset it is taken as UTC.

    Raises:
        ValueError: it is no such text.

    >>> parse_moment("2026-11-21T15:05:00+01:00").isoformat()
    '2026-11-21T14:05:00+00:00'
    """
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def parser(field: Field) -> Parse:
    """The function that reads one value of a field: (value, row) → typed value, or None for null.

    It raises RequestError 400 naming field, expected, got and row. Only features can be required: text, time and id
    fields are kept beside a prediction where a row brings them.
    """
    if field.kind == "number":
        return _number(field)
    if field.kind == "image":
        return _image(field)
    return _text(field)


def _wrong(field: Field, value: object, row: int, expected: str = "") -> NoReturn:
    unit = f" ({field.unit})" if field.unit else ""
    expected = expected or _EXPECTED[field.kind] + unit
    missing = value is None or value == ""
    nan = isinstance(value, float) and math.isnan(value)
    message = f"field {field.name!r} is missing or null" if missing else f"field {field.name!r} is not {expected}"
    if nan:
        message = f"field {field.name!r} is NaN"
    raise RequestError(400, message, object=field.name, expected=expected, got=describe(value), rows=[row])


def _number(field: Field) -> Parse:
    nullable = field.nullable

    def parse(value: object, row: int) -> float | None:
        kind = type(value)
        # One chained comparison refuses NaN, the infinities and what a 32-bit float cannot hold.
        if (kind is float or kind is int) and -FLOAT32_MAX <= value <= FLOAT32_MAX:  # type: ignore[operator]
            return float(value)  # type: ignore[arg-type]
        if nullable and (value is None or value != value):  # only NaN differs from itself
            return None
        _wrong(field, value, row)

    return parse


def _image(field: Field) -> Parse:
    shape, flat = field.shape, (field.size,)
    expected = f"an array of shape {list(shape)}"

    def parse(value: object, row: int) -> np.ndarray:
        if value is None:
            _wrong(field, value, row, expected)
        try:
            array = np.asarray(value)
        except (ValueError, TypeError, OverflowError):
            raise RequestError(
                400,
                f"field {field.name!r} is a ragged array",
                object=field.name,
                expected=expected,
                got="rows of different lengths",
                rows=[row],
            ) from None
        if array.dtype.kind not in "iuf" or array.size != flat[0] or array.shape not in (shape, flat):
            got = f"shape {list(array.shape)}" if array.dtype.kind in "iuf" else "values that are not numbers"
            raise RequestError(
                400,
                f"field {field.name!r} is not the image expected",
                object=field.name,
                expected=expected,
                got=got,
                rows=[row],
            )
        if not (np.abs(array) <= FLOAT32_MAX).all():
            raise RequestError(
                400,
                f"field {field.name!r} holds NaN or an infinite value",
                object=field.name,
                expected="finite numbers",
                got="NaN, infinity, or a number beyond 32 bits",
                rows=[row],
            )
        return array.astype(np.float32).reshape(shape)

    return parse


def _text(field: Field) -> Parse:
    """Category, text, id and time: text, where the empty text is null."""
    required = field.kind == "category" and not field.nullable
    # A CSV file may have taught the category `True` where JSON says true.
    truth = {
        flag: next((c for c in field.categories if c.lower() == text), text)
        for flag, text in ((True, "true"), (False, "false"))
    }
    kind = field.kind
    most = LENGTHS.get(kind, sys.maxsize)

    def parse(value: object, row: int) -> Any:
        if value is None or value == "":
            if required:
                _wrong(field, value, row)
            return None
        if type(value) is not str:
            if isinstance(value, bool) and kind == "category":
                return truth[value]
            if isinstance(value, float) and math.isnan(value) and not required:
                return None
            if kind == "time" or not isinstance(value, (int, float)) or isinstance(value, bool):
                _wrong(field, value, row)
            if not -FLOAT32_MAX <= value <= FLOAT32_MAX:
                _wrong(field, value, row)
            return category_text(value)
        if kind == "time":
            try:
                return parse_moment(value)
            except (ValueError, OverflowError):  # the first and last hours of all years are none in UTC
                _wrong(field, value, row)
        if len(value) > most:
            _wrong(field, value, row, f"text of at most {most} characters")
        return value

    return parse
