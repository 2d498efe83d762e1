"""Rows of numbers read at once: what a request sends for a model whose features are all numbers, as one matrix.

Most requests are right, and then looking at each value in Python costs more than the model. Here a whole request is
packed by `struct`, which takes numbers alone and refuses what 32 bits cannot hold; whatever it does not take is left
to the reader that looks at each value and says which one is wrong.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from trimtab.core.errors import RequestError
from trimtab.core.values import Parse, parser
from trimtab.serving.rows import logged_dtype

if TYPE_CHECKING:
    from trimtab.core.schema import Schema

Array = np.ndarray[Any, Any]
INPUT = "input"
# What packing says to a value that is no number, and to one that 64 or 32 bits cannot hold.
REFUSED = (struct.error, OverflowError, FloatingPointError)


class Read(NamedTuple):
    """Rows that were read at once.

    Attributes:
        values: float32 [n, k], for the model.
        columns: as they were received, for the log (see `rows.Answered`): float64 or float32 [n, k], of one row its
            bytes (`rows.logged_dtype`); or [n, k] under `input`, beside what else the rows brought.
    """

    values: Array
    columns: Array | bytes | dict[str, Any]


class Matrix:
    """Reads rows of one schema, whose features are all numbers.

    Args:
        schema: with `single_input`.

    Attributes:
        width: how many numbers a row has.
        dtype: in which they wait for the log; see `rows.logged_dtype`.
    """

    def __init__(self, schema: Schema) -> None:
        self.dtype = np.dtype(logged_dtype(schema))
        self._keeps_narrow = self.dtype == np.float32
        self._names = tuple(field.name for field in schema.features)
        self.width = len(self._names)
        self._extras: tuple[tuple[str, Parse], ...] = tuple(
            (field.name, parser(field)) for field in schema.fields if field not in schema.features
        )
        get = itemgetter(*self._names)
        self._pick: Callable[[dict[str, Any]], Sequence[Any]] = get if self.width > 1 else lambda row: (get(row),)
        self._narrow = struct.Struct(f"<{self.width}f")  # with `<` it refuses what 32 bits cannot hold
        self._wide = struct.Struct(f"<{self.width}d")

    def instances(self, instances: list[Any], body: bytes) -> Read | None:
        """V1 instances, all arrays or all objects without nulls; None for all else, which is looked at in detail.

        Args:
            instances: at least one.
            body: the request that they were parsed from; it tells whether there is a truth value anywhere.
        """
        extras: dict[str, Any] = {}
        try:
            if len(instances) == 1:
                row = instances[0]
                if type(row) is list:
                    if len(row) != self.width:
                        return None
                elif type(row) is dict:
                    return self._one(self._object(row), self._extra(instances), body)
                else:
                    return None
                return self._one(row, extras, body)
            kinds = set(map(type, instances))
            if kinds == {list}:
                if set(map(len, instances)) != {self.width}:
                    return None
                return self._many(chain.from_iterable(instances), len(instances), extras, body)
            if kinds == {dict}:
                values = chain.from_iterable(map(self._object, instances))
                return self._many(values, len(instances), self._extra(instances), body)
            if self.width == 1 and kinds <= {int, float}:
                return self._many(instances, len(instances), extras, body)
        except (*REFUSED, KeyError, RequestError):
            pass
        return None

    def flat(self, data: list[Any], body: bytes) -> Read | None:
        """The data of one V2 tensor [n, k], flat; None where it is something else than numbers."""
        n = len(data) // self.width
        try:
            return self._one(data, {}, body) if n == 1 else self._many(data, n, {}, body)
        except REFUSED:
            return None

    def _object(self, row: dict[str, Any]) -> Sequence[Any]:
        if len(row) > self.width:
            known = self.width + sum(name in row for name, _ in self._extras)
            if len(row) != known:
                raise KeyError
        return self._pick(row)

    def _extra(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            name: [parse(row.get(name), i) for i, row in enumerate(rows)]
            for name, parse in self._extras
            if any(name in row for row in rows)
        }

    def _one(self, row: Sequence[Any], extras: dict[str, Any], body: bytes) -> Read | None:
        if _may_hold_truth(body) and bool in set(map(type, row)):
            return None
        packed = self._narrow.pack(*row)
        narrow: Array = np.ndarray((1, self.width), np.float32, packed)
        if self._keeps_narrow:
            return Read(narrow, {**extras, INPUT: narrow} if extras else packed)
        wide = self._wide.pack(*row)
        if extras:
            return Read(narrow, {**extras, INPUT: np.ndarray((1, self.width), np.float64, wide)})
        return Read(narrow, wide)

    def _many(self, values: Iterable[Any], n: int, extras: dict[str, Any], body: bytes) -> Read | None:
        if _may_hold_truth(body):
            values = list(values)
            if bool in set(map(type, values)):
                return None
        shape, count = (n, self.width), n * self.width
        if self._keeps_narrow:
            narrow: Array = np.ndarray(shape, np.float32, struct.pack(f"<{count}f", *values))
            return Read(narrow, {**extras, INPUT: narrow} if extras else narrow)
        wide: Array = np.ndarray(shape, np.float64, struct.pack(f"<{count}d", *values))
        with np.errstate(over="raise"):
            narrow = wide.astype(np.float32)
        return Read(narrow, {**extras, INPUT: wide} if extras else wide)

    def row(self, values: Array) -> bytes:
        """One row, float32 [1, k], as it waits for the log."""
        return values.astype(self.dtype, copy=False).tobytes()

    def unpacked(self, row: bytes) -> Array:
        """What `row` gave, [1, k]."""
        return np.frombuffer(row, self.dtype).reshape(1, -1)


def finite(values: Array) -> bool:
    """Whether float32 values, contiguous, are all finite.

    The sum of their squares tells, at a fraction of what looking at each costs; it may overflow for large values,
    which are then looked at.
    """
    flat = values.ravel()
    if flat.size <= 256:  # plain Python is quicker here, and adds up without overflow
        return math.isfinite(sum(flat.tolist()))
    with np.errstate(over="ignore", invalid="ignore"):
        if math.isfinite(flat.dot(flat)):
            return True
    return bool(np.isfinite(flat).all())


def _may_hold_truth(body: bytes) -> bool:
    """Whether `true` or `false` stands in the body: `struct` takes them for 1 and 0."""
    return _holds(body, b"true") or _holds(body, b"false")


def _holds(body: bytes, word: bytes) -> bool:
    """Whether a word stands in a body of numbers, where its third letter is rare.

    One letter is found ten times as quickly as a word. Where there are many of it, the word is looked for after all.

    >>> [_holds(b'{"inputs": [%b]}' % value, b"true") for value in (b"1", b"true", b'"utter", true')]
    [False, True, True]
    """
    at = -1
    for _ in range(16):
        at = body.find(word[2], at + 1)
        if at < 0:
            return False
        if body.startswith(word, max(at - 2, 0)):
            return True
    return word in body
