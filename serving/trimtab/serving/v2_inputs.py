"""What a V2 request sends: its tensors, from JSON or from the bytes behind it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.core.errors import RequestError
from trimtab.core.values import describe
from trimtab.serving import v2_binary
from trimtab.serving.explain import holds_truth
from trimtab.serving.matrix import INPUT, Read, finite

if TYPE_CHECKING:
    from trimtab.serving.limits import Limits
    from trimtab.serving.matrix import Matrix

Array = np.ndarray[Any, Any]
EXAMPLE = '{"inputs": [{"name": …, "shape": […], "datatype": "FP32", "data": […]}]}'
SIZE = "binary_data_size"
_FLOATS = {"FP16", "FP32", "FP64"}
_INTEGERS = {
    name: np.iinfo(kind)
    for name, kind in (
        ("INT8", np.int8),
        ("INT16", np.int16),
        ("INT32", np.int32),
        ("INT64", np.int64),
        ("UINT8", np.uint8),
        ("UINT16", np.uint16),
        ("UINT32", np.uint32),
        ("UINT64", np.uint64),
    )
}
_TYPES = ", ".join([*sorted(_FLOATS), *_INTEGERS, "BOOL", "BYTES"])
MAX_RANK = 8
_SHAPE = f"a list of 1 to {MAX_RANK} whole numbers from 0, the number of rows first"


def read_matrix(
    inputs: object, matrix: Matrix, limits: Limits, head: bytes, tail: v2_binary.Tail | None
) -> Read | None:
    """One right tensor `input` [n, k] of numbers; None for all else, which is looked at in detail."""
    if type(inputs) is not list or len(inputs) != 1 or type(inputs[0]) is not dict:
        return None
    one: dict[str, Any] = inputs[0]
    shape = one.get("shape")
    if one.get("name") != INPUT or type(shape) is not list or len(shape) != 2 or shape[1] != matrix.width:
        return None
    n, kind = shape[0], one.get("datatype")
    if type(n) is not int or n < 1 or type(shape[1]) is not int:
        return None
    limits.check_rows(n, INPUT)
    data = one.get("data")
    if tail is None:
        if type(kind) is not str or kind not in _FLOATS or type(data) is not list or len(data) != n * matrix.width:
            return None
        return matrix.flat(data, head)
    if kind != "FP32" or data is not None or type(parameters := one.get("parameters")) is not dict:
        return None
    chunk = tail.take(parameters.get(SIZE), INPUT)
    if len(chunk) != 4 * n * matrix.width:
        return None
    tail.end()
    return read_numbers(chunk, n, matrix, tail.start)


def read_numbers(chunk: memoryview, n: int, matrix: Matrix, before: int) -> Read | None:
    """The bytes of a matrix [n, k] of FP32, which all are finite; None for all else.

    Args:
        chunk: the bytes.
        n: rows.
        matrix: reads such rows, k numbers each.
        before: how many bytes of the body stand before them.
    """
    if len(chunk) != 4 * n * matrix.width:
        return None
    values: Array = np.ndarray((n, matrix.width), np.float32, chunk)
    if not values.flags.aligned or before > len(chunk):
        # The bytes lie at an odd place, or the log would keep much else of the body.
        values = np.array(values)
    if not finite(values):
        return None
    return Read(values, values if n > 1 else matrix.row(values))


def read_tensors(inputs: object, limits: Limits, tail: v2_binary.Tail | None) -> dict[str, Array]:
    """The request's tensors by name, n rows each, float64 or text; images as they came.

    Raises:
        RequestError: 4xx, naming input, expected and got.
    """
    if not isinstance(inputs, list):
        raise RequestError(
            400, "the request has no list of `inputs`", object="inputs", expected=EXAMPLE, got=describe(inputs)
        )
    tensors: dict[str, Array] = {}
    for i, one in enumerate(inputs):
        if not isinstance(one, dict):
            raise RequestError(400, "an input is no object", object=f"inputs[{i}]", expected=EXAMPLE, got=describe(one))
        name = one.get("name")
        if not isinstance(name, str):
            raise RequestError(
                400, "an input has no name", object=f"inputs[{i}].name", expected="a string", got=describe(name)
            )
        if name in tensors:
            raise RequestError(
                400, "an input comes twice", object=f"inputs[{i}]", expected="each name once", got=name[:80]
            )
        tensors[name] = _tensor(one, name[:80], limits, tail)
    if tail is not None:
        tail.end()
    return tensors


def _tensor(one: dict[str, Any], name: str, limits: Limits, tail: v2_binary.Tail | None) -> Array:
    shape, kind, data = one.get("shape"), one.get("datatype"), one.get("data")
    if not isinstance(shape, list) or not shape:
        raise RequestError(400, f"input {name!r} has no shape", object=name, expected=_SHAPE, got=describe(shape))
    if len(shape) > MAX_RANK or not all(type(n) is int and 0 <= n < 2**31 for n in shape):
        shown = ", ".join(describe(n) for n in shape[:MAX_RANK]) + (", …" if len(shape) > MAX_RANK else "")
        raise RequestError(400, f"input {name!r} has a wrong shape", object=name, expected=_SHAPE, got=f"[{shown}]")
    limits.check_rows(shape[0], name)
    if not isinstance(kind, str) or not (kind in _FLOATS or kind in _INTEGERS or kind in {"BOOL", "BYTES"}):
        raise RequestError(
            400, f"input {name!r} has an unknown datatype", object=name, expected=_TYPES, got=describe(kind)
        )
    size = _size(one, name)
    if size is not None:
        if tail is None or data is not None:
            raise RequestError(
                400,
                f"input {name!r} has binary data that cannot be told from the JSON",
                object="Inference-Header-Content-Length" if tail is None else name,
                expected="that header with the JSON's length" if tail is None else "`data` or `binary_data_size`",
                got="none" if tail is None else "both",
            )
        if shape[0] == 0:
            raise RequestError(400, f"input {name!r} has no rows", object=name, expected="at least one", got="none")
        return _checked(v2_binary.read(tail.take(size, name), kind, shape, name))
    if not isinstance(data, list):
        raise RequestError(400, f"input {name!r} has no data", object=name, expected="a list", got=describe(data))
    values = _bytes(data, name) if kind == "BYTES" else _numbers(data, kind, name)
    if shape[0] == 0:
        raise RequestError(400, f"input {name!r} has no rows", object=name, expected="at least one", got="none")
    if values.size != math.prod(shape):
        raise RequestError(
            400,
            f"input {name!r}: shape and data disagree",
            object=name,
            expected=f"{math.prod(shape)} values for shape {shape}",
            got=f"{values.size} values",
        )
    return values.reshape(shape)


def _size(one: dict[str, Any], name: str) -> object:
    """An input's `binary_data_size`; None where its data is JSON."""
    parameters = one.get("parameters")
    if parameters is None:
        return None
    if not isinstance(parameters, dict):
        raise RequestError(
            400,
            "`parameters` is no object",
            object=f"{name}.parameters",
            expected=f'{{"{SIZE}": …}}',
            got=describe(parameters),
        )
    return parameters.get(SIZE)


def _checked(values: Array) -> Array:
    """Binary numbers as the readers of JSON give them: float64, where images stay what they are."""
    if values.dtype.kind == "O" or values.ndim > 2:
        return values.astype(np.float32) if values.dtype.kind == "b" else values
    with np.errstate(invalid="ignore"):  # a signalling NaN is refused by name later
        return values.astype(np.float64)


def _numbers(data: list[Any], kind: str, name: str) -> Array:
    """float64 of the data's own shape; null is NaN."""
    try:
        values = np.array(data)
    except (ValueError, OverflowError):
        raise _bad_data(name, kind, "rows of different lengths") from None
    if values.dtype.kind == "O":
        if any(v is not None and type(v) not in (int, float) for v in values.ravel().tolist()):
            raise _bad_data(name, kind, "values that are not numbers")
        values = values.astype(np.float64)
    if values.size and values.dtype.kind != "b" and kind != "BOOL" and holds_truth(data):  # numpy takes it for 1 or 0
        raise _bad_data(name, kind, "true or false among the values")
    if values.size and values.dtype.kind not in ("b" if kind == "BOOL" else "iuf"):
        raise _bad_data(name, kind, "values of another kind")
    if kind in _INTEGERS:
        limits = _INTEGERS[kind]
        known = values[~np.isnan(values)] if values.dtype.kind == "f" else values
        if known.size and not ((known >= limits.min) & (known <= limits.max) & (known == np.floor(known))).all():
            raise _bad_data(name, kind, f"values that {kind} cannot hold")
    return values.astype(np.float64)


def _bytes(data: list[Any], name: str) -> Array:
    """Text as an object array of the data's own shape; null stays None."""
    values: Array = np.empty(len(data), dtype=object)
    values[:] = data
    while values.size and isinstance(values.flat[0], list):
        rows = values.ravel().tolist()
        width = len(rows[0])
        if values.ndim >= MAX_RANK or not all(isinstance(row, list) and len(row) == width for row in rows):
            raise _bad_data(name, "BYTES", "rows of different lengths")
        deeper = np.empty((len(rows), width), dtype=object)
        for i, row in enumerate(rows):
            deeper[i, :] = row
        values = deeper.reshape(*values.shape, width)
    if any(v is not None and type(v) is not str for v in values.ravel().tolist()):
        raise _bad_data(name, "BYTES", "values that are not text")
    return values


def _bad_data(name: str, kind: str, got: str) -> RequestError:
    return RequestError(
        400,
        f"input {name!r} holds no {kind} data",
        object=name,
        expected="text" if kind == "BYTES" else f"{kind} numbers",
        got=got,
    )
