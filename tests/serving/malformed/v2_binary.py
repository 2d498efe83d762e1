"""Malformed V2 requests with tensors as bytes behind the JSON."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

from tests.serving.malformed.case import VALUES, Case
from tests.serving.raw import post

DEMAND, CHURN, DIGITS = (f"/v2/models/{name}/infer" for name in ("demand", "churn", "digits"))
LENGTH = "Inference-Header-Content-Length"
FOUR = struct.pack("<4f", 1, 2, 3, 4)


def request(path: str, head: Any, tail: bytes = b"", length: str | None = None, kind: str = "") -> bytes:
    """JSON with bytes behind it; `length` is the header's value where it is not the JSON's own length."""
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    given = str(len(text)) if length is None else length
    return post(path, text + tail, kind or "application/octet-stream", **{LENGTH.replace("-", "_"): given})


def tensor(size: Any, **changes: Any) -> dict[str, Any]:
    """A request with one tensor `input` of `demand`, its bytes behind the JSON."""
    one = {"name": "input", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": size}, **changes}
    return {"inputs": [{name: value for name, value in one.items() if value is not ...}]}


GOOD = request(DEMAND, tensor(16), FOUR)


def cases() -> Iterator[Case]:
    """The length of the JSON, the sizes of the tensors, then what the bytes themselves say."""
    lengths = ["0", "-1", "1.5", "x", "", "99999", "1" * 30, "0x10", "+5", " ", "٣", "1 2"]
    for text in lengths:
        sent = request(DEMAND, tensor(16), FOUR, text.encode().decode("latin-1"))
        yield Case(f"length {text!r}", sent, 400, "", LENGTH)
    for short in ("1", "10", "50"):
        yield Case(f"length {short} cuts the JSON", request(DEMAND, tensor(16), FOUR, short), 400, "no JSON", "body")
    whole = len(json.dumps(tensor(16))) + 4
    yield Case("length reaches into the bytes", request(DEMAND, tensor(16), FOUR, str(whole)), 400, "no JSON", "body")
    plain = post(DEMAND, json.dumps(tensor(16)).encode() + FOUR)
    yield Case("no length", plain, 400, "no JSON", "body")
    yield Case("bytes and no length", post(DEMAND, FOUR, "application/octet-stream"), 415, "application/json")
    for name in VALUES:
        sent = request(DEMAND, json.dumps(tensor("@@")).replace('"@@"', VALUES[name]).encode(), FOUR)
        field = "input" if name == "number" else "binary_data_size"
        yield Case(f"size: {name}", sent, 400, "", field)
    for size in (-1, 0, 1, 15, 17, 32, 2**31, 2**63, 10**30):
        field = "input" if size in {0, 1, 15} else "binary_data_size"
        yield Case(f"size {size}", request(DEMAND, tensor(size), FOUR), 400, "", field)
    yield Case("bytes cut off", request(DEMAND, tensor(16), FOUR[:-1]), 400, "15 bytes", "binary_data_size")
    yield Case("no bytes", request(DEMAND, tensor(16)), 400, "0 bytes", "binary_data_size")
    yield Case("bytes left", request(DEMAND, tensor(16), FOUR + b"xyz"), 400, "3 bytes more", "binary_data_size")
    yield Case("size and data", request(DEMAND, tensor(16, data=[1, 2, 3, 4]), FOUR), 400, "", "input")
    yield Case("neither", request(DEMAND, tensor(16, parameters=...), FOUR), 400, "no data", "input")
    yield Case("parameters", request(DEMAND, tensor(16, parameters=3), FOUR), 400, "", "input.parameters")
    for name, bits in (("NaN", "0000c07f"), ("inf", "0000807f"), ("-inf", "000080ff"), ("signalling NaN", "010080ff")):
        sent = request(DEMAND, tensor(16), bytes.fromhex(bits) + FOUR[4:])
        yield Case(f"{name} as bytes", sent, 400, "", "a")
    large = struct.pack("<4d", 1e300, 2, 3, 4)
    yield Case("1e300 as bytes", request(DEMAND, tensor(32, datatype="FP64"), large), 400, "32 bits", "a")
    for kind, size in (("FP16", 8), ("FP64", 32), ("INT8", 4), ("INT64", 32), ("UINT16", 8), ("BOOL", 4)):
        yield Case(f"{kind} of too few bytes", request(DEMAND, tensor(size - 1, datatype=kind), FOUR * 8), 400, "", "")
    for shape in ([0, 4], [2, 4], [1, 2**31 - 1], [999, 2**30], [], [-1, 4], "x", [1] * 9):
        yield Case(f"shape {shape}", request(DEMAND, tensor(16, shape=shape), FOUR), 400, "", "input")
    yield Case("too many rows", request(DEMAND, tensor(16, shape=[1001, 4]), FOUR), 413, "1000 rows", "input")
    yield Case("unknown name", request(DEMAND, tensor(16, name="imput"), FOUR), 400, "no field", "imput")
    two = {"inputs": tensor(8, shape=[1, 2])["inputs"] + tensor(8, shape=[1, 2])["inputs"]}
    yield Case("twice", request(DEMAND, two, FOUR), 400, "comes twice", "inputs[1]")
    json_kind = request(DEMAND, tensor(16), FOUR[:3], kind="application/json")
    yield Case("called JSON", json_kind, 400, "", "binary_data_size")
    yield from _texts()


def _texts() -> Iterator[Case]:
    """BYTES: lengths that lie, and bytes that are no text."""
    age = {"name": "age", "shape": [1], "datatype": "FP32", "data": [40]}
    wrong = {
        "no length": b"",
        "half a length": b"\1\0",
        "length beyond": b"\xff\0\0\0ab",
        "largest length": b"\xff\xff\xff\xffab",
        "two texts": b"\1\0\0\0a\1\0\0\0b",
        "bytes behind": b"\1\0\0\0abc",
        "no utf-8": b"\2\0\0\0\xff\xfe",
        "half a character": b"\1\0\0\0\xc3",
        "encoded surrogate": b"\3\0\0\0\xed\xa0\x80",
    }
    for name, chunk in wrong.items():
        plan = {"name": "plan", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(chunk)}}
        yield Case(f"texts: {name}", request(CHURN, {"inputs": [age, plan]}, chunk), 400, "", "plan")
    image = {"name": "image", "shape": [1, 8, 8], "datatype": "FP32", "parameters": {"binary_data_size": 255}}
    yield Case("an image of 255 bytes", request(DIGITS, {"inputs": [image]}, b"\0" * 255), 400, "256 bytes", "image")
    nan = bytes.fromhex("0000c07f") * 64
    image = {**image, "parameters": {"binary_data_size": 256}}
    yield Case("an image of NaN", request(DIGITS, {"inputs": [image]}, nan), 400, "NaN", "image")
