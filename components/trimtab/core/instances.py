"""Requests as records, and records as the graph's inputs: the schema's work on the server's request path.

Everything that depends on the schema alone is prepared once in `Reader`; a row then costs a few dictionary look-ups
and comparisons a field.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from trimtab.core.errors import RequestError
from trimtab.core.values import FLOAT32_MAX, Parse, describe, parser

if TYPE_CHECKING:
    from trimtab.core.schema import Field, Schema


def _refuse(message: str, *, row: int | None = None, **facts: str) -> NoReturn:
    raise RequestError(400, message, rows=[] if row is None else [row], **facts)


class Reader:
    """A schema's parsers, made once."""

    def __init__(self, schema: Schema) -> None:
        self.features = schema.features
        self.single = schema.single_input
        self.fields = schema.fields
        self.target = schema.target.name
        self.names = tuple(f.name for f in schema.features)
        self.parsers: tuple[tuple[str, Parse], ...] = tuple((f.name, parser(f)) for f in schema.fields)
        self.by_name: dict[str, Parse] = dict(self.parsers)
        self.known = frozenset(self.by_name) | frozenset(schema.ignored)
        self.ignored = frozenset(schema.ignored)
        self.extras = tuple(f.name for f in schema.fields if f not in schema.features)
        self.alone = schema.features[0] if len(schema.features) == 1 else None

    def parse_instances(self, instances: object) -> list[dict[str, Any]]:
        """See `Schema.parse_instances`."""
        if not isinstance(instances, list):
            _refuse("`instances` is no list", object="instances", expected="a list of rows", got=describe(instances))
        parsers, known = self.parsers, self.known
        records = []
        for row, instance in enumerate(instances):
            if type(instance) is dict:
                if not instance.keys() <= known:
                    self._unknown(sorted(str(k) for k in instance.keys() - known), row)
                get = instance.get
                records.append({name: parse(get(name), row) for name, parse in parsers})
            else:
                records.append(self._positional(instance, row))
        return records

    def _positional(self, instance: object, row: int) -> dict[str, Any]:
        """An array in the order of the features, or the one feature's bare value."""
        alone = self.alone
        if alone is not None and not (isinstance(instance, list) and _wrapped(instance, alone)):
            values: Sequence[object] = (instance,)
        elif isinstance(instance, list) and len(instance) == len(self.names):
            values = instance
        else:
            got = f"an array of {len(instance)}" if isinstance(instance, list) else describe(instance)
            shown = ", ".join(self.names[:12]) + (", …" if len(self.names) > 12 else "")
            _refuse(
                "an instance is neither an object nor an array of the features",
                object="instances",
                expected=f"an object, or an array of {len(self.names)} in the order {shown}",
                got=got,
                row=row,
            )
        record = {name: self.by_name[name](value, row) for name, value in zip(self.names, values, strict=True)}
        record.update(dict.fromkeys(self.extras))
        return record

    def _unknown(self, names: list[str], row: int | None) -> NoReturn:
        name = names[0]
        if name == self.target:
            _refuse(
                f"{name!r} is what the model predicts",
                object=name,
                expected="the fields alone",
                got=repr(name),
                hint="leave it out of the request",
                row=row,
            )
        near = difflib.get_close_matches(name, self.by_name, n=1)
        _refuse(
            f"there is no field {name!r}",
            object=name or "field",
            expected=f"one of {', '.join(list(self.by_name)[:20])}",
            got=repr(name[:80]),
            hint=f"did you mean {near[0]!r}?" if near else "",
            row=row,
        )

    def from_tensors(self, tensors: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        """See `Schema.from_tensors`."""
        if not tensors:
            _refuse("the request has no inputs", object="inputs", expected=", ".join(self.names), got="none")
        array = tensors.get("input")
        if array is not None and self.single and len(tensors) == 1 and "input" not in self.by_name:
            quick = self._quick(array)
            if quick is not None:
                return quick
        if "input" in tensors and "input" not in self.by_name:
            tensors = self._split(tensors)
        unknown = [n for n in tensors if n not in self.known]
        if unknown:
            self._unknown(unknown, None)
        lengths = {name: int(t.shape[0]) if t.ndim else -1 for name, t in tensors.items()}
        rows = next(iter(lengths.values()))
        for name, length in lengths.items():
            if length < 0 or length != rows:
                _refuse(
                    f"input {name!r} has another number of rows than the first",
                    object=name,
                    expected=f"{max(rows, 0)} rows",
                    got="no rows dimension" if length < 0 else str(length),
                )
        columns: dict[str, list[Any]] = {}
        for field in self.fields:
            tensor = tensors.get(field.name)
            columns[field.name] = (
                _column(field, tensor, self.by_name[field.name])
                if tensor is not None
                else [self.by_name[field.name](None, row) for row in range(rows)]
            )
        names = tuple(columns)
        return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def _quick(self, array: np.ndarray) -> list[dict[str, Any]] | None:
        """A right matrix without nulls, checked at once; None for all else, which is then looked at in detail."""
        if array.dtype.kind not in "iuf" or array.ndim != 2 or array.shape[1] != len(self.names):
            return None
        if not (np.abs(array) <= FLOAT32_MAX).all():
            return None
        nothing = dict.fromkeys(self.extras)
        rows = array.astype(np.float64).tolist()
        order = [f.name for f in self.fields]
        if order == list(self.names):
            return [dict(zip(order, row, strict=True)) for row in rows]
        return [{**dict(zip(self.names, row, strict=True)), **nothing} for row in rows]

    def _split(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The single `input` as one tensor a feature."""
        given = {name: t for name, t in tensors.items() if name != "input"}
        array = tensors["input"]
        if self.alone is not None and not self.single:
            return {**given, self.alone.name: array}
        if not self.single:
            self._unknown(["input"], None)
        if array.ndim != 2 or array.shape[1] != len(self.names):
            _refuse(
                "input 'input' has the wrong shape",
                object="input",
                expected=f"[n, {len(self.names)}] ({', '.join(self.names[:12])})",
                got=str(list(array.shape)),
            )
        return {**given, **{name: array[:, i] for i, name in enumerate(self.names)}}

    def encode(self, records: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """See `Schema.encode`."""
        if self.single:
            # None becomes NaN by itself when numpy makes floats of objects.
            matrix = np.array([[r[name] for name in self.names] for r in records], dtype=np.float32)
            return {"input": matrix.reshape(len(records), len(self.names))}
        out: dict[str, np.ndarray] = {}
        for field in self.features:
            name = field.name
            if field.kind == "category":
                column = np.empty((len(records), 1), dtype=object)
                column[:, 0] = [r[name] or "" for r in records]
                out[name] = column
            else:
                shape = field.shape or (1,)
                out[name] = np.array([r[name] for r in records], dtype=np.float32).reshape(len(records), *shape)
        return out


def _wrapped(instance: list[Any], field: Field) -> bool:
    """Whether a one-feature row is an array of that one value, rather than the bare value itself."""
    if field.kind != "image":
        return True
    return len(instance) == 1 and not (field.shape[0] == 1 and _depth(instance) == len(field.shape))


def _depth(value: object) -> int:
    depth = 0
    while isinstance(value, list):
        depth += 1
        value = value[0] if value else None
    return depth


def _column(field: Field, tensor: np.ndarray, parse: Callable[[object, int], Any]) -> list[Any]:
    """One tensor's rows as typed values."""
    rows = int(tensor.shape[0])
    if field.kind == "image":
        if tensor.dtype.kind not in "iuf":
            _refuse(
                f"input {field.name!r} has the wrong data type",
                object=field.name,
                expected="FP32",
                got=str(tensor.dtype),
            )
        if tensor.shape[1:] != field.shape and tensor.shape[1:] != (field.size,):
            expected = ", ".join(str(s) for s in field.shape)
            _refuse(
                f"input {field.name!r} has the wrong shape",
                object=field.name,
                expected=f"[n, {expected}]",
                got=str(list(tensor.shape)),
            )
        images = tensor.reshape(rows, *field.shape)
        wrong = ~(np.abs(images) <= FLOAT32_MAX).reshape(rows, -1).all(axis=1)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            _refuse(
                f"input {field.name!r} holds NaN or an infinite value",
                object=field.name,
                expected="finite numbers",
                got="NaN, infinity, or a number beyond 32 bits",
                row=row,
            )
        return list(images.astype(np.float32, copy=False))
    if tensor.ndim > 2 or (tensor.ndim == 2 and tensor.shape[1] != 1):
        _refuse(
            f"input {field.name!r} has the wrong shape",
            object=field.name,
            expected="[n] or [n, 1]",
            got=str(list(tensor.shape)),
        )
    values = tensor.reshape(rows).tolist()
    if tensor.dtype.kind in "OS":
        values = [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in values]
    return [parse(value, row) for row, value in enumerate(values)]
