"""The Open Inference Protocol (KServe's V2) in JSON: named tensors in, `label` and `probabilities` (or `value`) out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from trimtab.core.errors import RequestError
from trimtab.core.values import describe
from trimtab.serving.calls import Answer, Call, Codec, Decoded, Prediction, decoded
from trimtab.serving.explain import check_text_tensors, clearer_tensor
from trimtab.serving.http import parse_object
from trimtab.serving.v1 import NUMPY

if TYPE_CHECKING:
    from trimtab.serving.limits import Limits
    from trimtab.serving.model import LoadedModel

EXAMPLE = '{"inputs": [{"name": …, "shape": […], "datatype": "FP32", "data": […]}]}'
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


def decode(model: LoadedModel, body: bytes, call: Call) -> Decoded:
    """Read one V2 request; `wanted` is the answer's id and its outputs. Without an id of its own it is the UUID.

    Raises:
        RequestError: 4xx, naming input or field, expected and got.
    """
    payload = parse_object(body, EXAMPLE)
    name = payload.get("id", call.uuid)
    if not isinstance(name, str):
        raise RequestError(400, "`id` is no text", object="id", expected="a string", got=describe(name))
    wanted = _wanted_outputs(payload.get("outputs"), model)
    tensors = _tensors(payload.get("inputs"), model.limits)
    check_text_tensors(tensors, model.texts)
    try:
        records = model.schema.from_tensors(tensors)
    except RequestError as error:
        raise clearer_tensor(error, tensors, model.names) from None
    return decoded(model, records, (name, wanted))


def encode(model: LoadedModel, _call: Call, asked: Decoded, said: Prediction) -> Answer:
    """The answer to a V2 request."""
    name, wanted = asked.wanted
    answered = [_output(one, said.outputs, said.probabilities) for one in wanted]
    answer = {"model_name": model.name, "model_version": model.version, "id": name, "outputs": answered}
    return Answer(orjson.dumps(answer, option=NUMPY))


def output_names(model: LoadedModel) -> list[str]:
    """What a version answers with, in order."""
    return ["label", "probabilities"] if model.classifies else ["value"]


def metadata(model: LoadedModel, versions: list[str]) -> dict[str, Any]:
    """The model's V2 metadata: graph inputs, rows as -1, and outputs."""
    outputs: list[dict[str, Any]] = (
        [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(model.classes)]},
        ]
        if model.classifies
        else [{"name": "value", "datatype": "FP32", "shape": [-1, 1]}]
    )
    inputs = [{"name": s.name, "datatype": s.dtype, "shape": list(s.shape)} for s in model.schema.tensors()]
    return {
        "name": model.name,
        "versions": versions,
        "platform": "onnx_onnxruntime",
        "inputs": inputs,
        "outputs": outputs,
    }


def _output(name: str, outputs: list[Any], probabilities: np.ndarray[Any, Any] | None) -> dict[str, Any]:
    if name == "label":
        return {"name": name, "datatype": "BYTES", "shape": [len(outputs)], "data": outputs}
    if name == "probabilities" and probabilities is not None:
        return {"name": name, "datatype": "FP32", "shape": list(probabilities.shape), "data": probabilities.ravel()}
    return {"name": name, "datatype": "FP32", "shape": [len(outputs), 1], "data": outputs}


def _wanted_outputs(requested: object, model: LoadedModel) -> list[str]:
    names = output_names(model)
    if requested is None or requested == []:
        return names
    if not isinstance(requested, list):
        raise RequestError(
            400, "`outputs` is no list", object="outputs", expected='[{"name": …}]', got=describe(requested)
        )
    wanted = []
    for i, one in enumerate(requested):
        name = one.get("name") if isinstance(one, dict) else None
        if name not in names:
            raise RequestError(
                400,
                "the model has no such output",
                object=f"outputs[{i}]",
                expected=" or ".join(names),
                got=describe(one if name is None else name),
            )
        if name not in wanted:
            wanted.append(name)
    return wanted


def _tensors(inputs: object, limits: Limits) -> dict[str, np.ndarray[Any, Any]]:
    if not isinstance(inputs, list):
        raise RequestError(
            400, "the request has no list of `inputs`", object="inputs", expected=EXAMPLE, got=describe(inputs)
        )
    tensors: dict[str, np.ndarray[Any, Any]] = {}
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
        tensors[name] = _tensor(one, name[:80], limits)
    return tensors


def _tensor(one: dict[str, Any], name: str, limits: Limits) -> np.ndarray[Any, Any]:
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
    if not isinstance(data, list):
        raise RequestError(
            400,
            f"input {name!r} has no data",
            object=name,
            expected="a list",
            got=describe(data),
            hint="tensors are sent as JSON here",
        )
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


def _numbers(data: list[Any], kind: str, name: str) -> np.ndarray[Any, Any]:
    """float64 of the data's own shape; null is NaN."""
    try:
        values = np.array(data)
    except (ValueError, OverflowError):
        raise _bad_data(name, kind, "rows of different lengths") from None
    if values.dtype.kind == "O":
        if any(v is not None and type(v) not in (int, float) for v in values.ravel().tolist()):
            raise _bad_data(name, kind, "values that are not numbers")
        values = values.astype(np.float64)
    if values.size and values.dtype.kind not in ("b" if kind == "BOOL" else "iuf"):
        raise _bad_data(name, kind, "values of another kind")
    if kind in _INTEGERS:
        limits = _INTEGERS[kind]
        known = values[~np.isnan(values)] if values.dtype.kind == "f" else values
        if known.size and not ((known >= limits.min) & (known <= limits.max) & (known == np.floor(known))).all():
            raise _bad_data(name, kind, f"values that {kind} cannot hold")
    return values.astype(np.float64)


def _bytes(data: list[Any], name: str) -> np.ndarray[Any, Any]:
    """Text as an object array of the data's own shape; null stays None."""
    values: np.ndarray[Any, Any] = np.empty(len(data), dtype=object)
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


CODEC = Codec("v2", decode, encode, binary=True)
