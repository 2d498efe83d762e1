"""Malformed V2 requests, in JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.serving.malformed.case import VALUES, Case, body, grid, no_json
from tests.serving.malformed.v1 import LISTS, NUMBERS, OBJECTS, OTHERS

DIGITS, DEMAND, CHURN = (f"/v2/models/{name}/infer" for name in ("digits", "demand", "churn"))
KINDS = ["FP16", "FP32", "FP64", "BOOL", *[f"{u}INT{n}" for u in ("", "U") for n in (8, 16, 32, 64)]]


def tensor(**changes: Any) -> dict[str, Any]:
    """A request with one tensor `input` of `demand`; a change to `...` leaves a key out."""
    one = {"name": "input", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4], **changes}
    return {"inputs": [{name: value for name, value in one.items() if value is not ...}]}


def template(key: str) -> str:
    """A request whose tensor has `@` under a key."""
    return json.dumps(tensor(**{key: "@@"})).replace('"@@"', "@")


def requests() -> Iterator[Case]:
    """What stands around the tensors, then each of a tensor's keys, then what shape, type and data say together."""
    yield from grid(DEMAND, "body", "@", [n for n in VALUES if n not in OBJECTS], field="body")
    yield from grid(DEMAND, "inputs", '{"inputs": @}', OTHERS, field="inputs")
    yield from grid(DEMAND, "inputs", '{"inputs": @}', ["empty array"], says="no inputs", field="inputs")
    yield from grid(DEMAND, "an input", '{"inputs": [@]}', [n for n in VALUES if n not in OBJECTS], field="inputs[0]")
    yield from grid(DEMAND, "an input", '{"inputs": [@]}', sorted(OBJECTS), field="inputs[0].name")
    names = [n for n in VALUES if "text" not in n and n not in {"surrogates", "nul"}]
    yield from grid(DEMAND, "name", template("name"), names, field="inputs[0].name")
    unknown = ["text", "empty text", "surrogates", "nul"]
    yield from grid(DEMAND, "name", template("name"), unknown, says="no field")
    yield from grid(DEMAND, "shape", template("shape"), list(VALUES), field="input")
    yield from grid(DEMAND, "a length", template("shape").replace("@", "[1, @]"), list(VALUES), field="input")
    yield from grid(DEMAND, "datatype", template("datatype"), list(VALUES), field="input")
    yield from grid(DEMAND, "data", template("data"), list(VALUES), field="input")
    first = template("data").replace("@", "[@, 2, 3, 4]")
    yield from grid(DEMAND, "a value", first, ["1e39", "-1e39", "huge integer"], says="32 bits", field="a")
    texts = ["text", "empty text", "long text", "true", *sorted(LISTS), *sorted(OBJECTS)]
    yield from grid(DEMAND, "a value", first, texts, field="input")
    yield from grid(DEMAND, "a value", first, ["null"], field="a")
    yield from no_json(DEMAND, "a value", first)
    yield from grid(
        DEMAND, "id", '{"id": @, ' + json.dumps(tensor())[1:], [*sorted(NUMBERS), *sorted(LISTS)], field="id"
    )
    outputs = json.dumps(tensor())[:-1] + ', "outputs": @}'
    yield from grid(DEMAND, "outputs", outputs, [n for n in OTHERS if n != "null"], field="outputs")
    wrong = ["array", "array of arrays", "array of nulls", "mixed array"]
    yield from grid(DEMAND, "outputs", outputs, wrong, field="outputs[0]")
    yield body(
        DEMAND, "another output", {**tensor(), "outputs": [{"name": "label"}]}, 400, "no such output", "outputs[0]"
    )
    for key in ("shape", "datatype", "data"):
        yield body(DEMAND, f"no {key}", tensor(**{key: ...}), 400, "", "input")
    yield body(DEMAND, "no name", tensor(name=...), 400, "no name", "inputs[0].name")
    yield body(DEMAND, "twice", {"inputs": tensor()["inputs"] * 2}, 400, "comes twice", "inputs[1]")
    yield body(DEMAND, "too many rows", tensor(shape=[1001, 4]), 413, "at most 1000 rows", "input")
    yield body(DEMAND, "columns of unequal length", {"inputs": _columns([2, 2, 2, 3])}, 400, "number of rows", "d")
    yield body(DEMAND, "a column less", {"inputs": _columns([1, 1, 1])[1:]}, 400, "missing", "a")


def shapes() -> Iterator[Case]:
    """Shapes that say something else than the data."""
    wrong: list[list[Any]] = [[], [0], [0, 4], [4, 0], [2, 4], [1, 5], [4], [4, 1], [1, 1, 4], [1, 2, 2], [1] * 9]
    wrong += [[-1, 4], [1, -4], [2**31, 4], [2**62, 4], [1, 2**31 - 1], [1, 2**62], [999, 2**30], ["1", 4], [1.0, 4]]
    wrong += [[None, 4], [True, 4], [[1], 4], [1, {}], [10**30, 4]]
    for shape in wrong:
        rows = shape[0] if shape and type(shape[0]) is int else 0
        status = 413 if 1000 < rows < 10**20 else 400
        yield body(DEMAND, f"shape {shape}", tensor(shape=shape), status, "", "input")
    for kind in KINDS[3:]:
        yield body(DEMAND, f"halves as {kind}", tensor(datatype=kind, data=[0.5, 1, 2, 3]), 400, kind, "input")
        yield body(DEMAND, f"text as {kind}", tensor(datatype=kind, data=["1"] * 4), 400, kind, "input")
    for kind in KINDS[4:]:
        yield body(DEMAND, f"too large for {kind}", tensor(datatype=kind, data=[1e25] * 4), 400, kind, "input")
    for kind in ("fp32", "FLOAT", "STRING", "", "FP128", "INT128", "FP32 "):
        yield body(DEMAND, f"datatype {kind!r}", tensor(datatype=kind), 400, "unknown datatype", "input")
    yield body(DEMAND, "bytes", tensor(datatype="BYTES", data=["1"] * 4), 400, "", "")
    image = {"name": "image", "shape": [1, 8, 8], "datatype": "BYTES", "data": ["x"] * 64}
    yield body(DIGITS, "an image as text", {"inputs": [image]}, 400, "", "image")
    for shape in ([8, 8], [1, 64, 1], [64], [1, 8, 8, 1], [1, 4, 16]):
        values = {"name": "image", "shape": shape, "datatype": "FP32", "data": [0.0] * 64}
        yield body(DIGITS, f"an image of shape {shape}", {"inputs": [values]}, 400, "", "image")
    age = {"name": "age", "shape": [1], "datatype": "FP32", "data": [40]}
    for kind in ("FP32", "INT64", "BOOL"):
        data: list[Any] = [True] if kind == "BOOL" else [1]
        plan = {"name": "plan", "shape": [1], "datatype": kind, "data": data}
        yield body(CHURN, f"a word as {kind}", {"inputs": [age, plan]}, 400, "BYTES", "plan")
    for data in ([1], [["a"], ["b"]], [{}], [[None, "a"]]):
        plan = {"name": "plan", "shape": [1, 1], "datatype": "BYTES", "data": data}
        yield body(CHURN, f"words {data}", {"inputs": [age, plan]}, 400, "", "plan")


def _columns(lengths: list[int]) -> list[dict[str, Any]]:
    return [
        {"name": name, "shape": [n], "datatype": "FP64", "data": [1] * n}
        for name, n in zip("abcd", lengths, strict=False)
    ]
