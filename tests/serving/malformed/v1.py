"""Malformed V1 requests: to `digits` (an image), `demand` (four numbers) and `churn` (numbers, words, kept fields)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.serving.malformed.case import VALUES, Case, body, grid, no_json

DIGITS, DEMAND, CHURN = (f"/v1/models/{name}:predict" for name in ("digits", "demand", "churn"))
IMAGE = [[0.0] * 8] * 8
ROW = {"age": 40, "plan": "basic"}
GOOD = {"digits": {"instances": [IMAGE]}, "demand": {"instances": [[1, 2, 3, 4]]}, "churn": {"instances": [ROW]}}
LISTS = {"empty array", "array", "array of arrays", "array of nulls", "ragged array", "mixed array", "deep array"}
OTHERS = [name for name in VALUES if name not in LISTS]
NUMBERS = {"number", "float"}
OBJECTS = {"empty object", "object"}


def digits() -> Iterator[Case]:
    """An image model: shapes, and what stands around the instances."""
    yield from grid(DIGITS, "body", "@", [n for n in VALUES if n not in OBJECTS], field="body")
    yield from grid(DIGITS, "body", "@", sorted(OBJECTS), field="instances")
    yield from grid(DIGITS, "instances", '{"instances": @}', OTHERS, field="instances")
    yield from grid(DIGITS, "instances", '{"instances": @}', ["array", "array of arrays", "mixed array"], field="image")
    yield from grid(DIGITS, "an instance", '{"instances": [@]}', [n for n in VALUES if n not in OBJECTS], field="image")
    yield from grid(DIGITS, "an instance", '{"instances": [@]}', ["empty object"], field="image", says="missing")
    yield from grid(DIGITS, "an instance", '{"instances": [@]}', ["object"], field="a", says="no field 'a'")
    yield from grid(DIGITS, "image", '{"instances": [{"image": @}]}', list(VALUES), field="image")
    cell = json.dumps(GOOD["digits"]).replace("0.0", "@", 1)
    pixels = [n for n in VALUES if n not in NUMBERS]
    yield from grid(DIGITS, "a pixel", cell, pixels, field="image")
    yield from no_json(DIGITS, "a pixel", cell)
    kept = f'{{"instances": [{{"image_id": @, "image": {json.dumps(IMAGE)}}}]}}'
    wrong = ["true", "long text", "huge integer", "1e39", "empty array", "array", "empty object", "object"]
    yield from grid(DIGITS, "image_id", kept, wrong, field="image_id")
    given = json.dumps(GOOD["digits"])[:-1] + ', "parameters": @}'
    yield from grid(DIGITS, "parameters", given, [n for n in OTHERS if n not in {"null", *OBJECTS}], field="parameters")
    flag = json.dumps(GOOD["digits"])[:-1] + ', "parameters": {"probabilities": @}}'
    flags = [n for n in VALUES if n != "true"]
    yield from grid(DIGITS, "probabilities", flag, flags, field="parameters.probabilities")
    shapes: list[Any] = [
        [[0.0] * 7] * 8,
        [[0.0] * 8] * 9,
        [0.0] * 63,
        [[[0.0]] * 8] * 8,
        [IMAGE, IMAGE],
        [[]] * 8,
        [[[]]],
    ]
    for i, shape in enumerate(shapes):
        yield body(DIGITS, f"shape {i}", {"instances": [shape]}, 400, "", "image")
        yield body(DIGITS, f"shape {i} in row 1", {"instances": [IMAGE, shape]}, 400, "row 1", "image")
    yield body(DIGITS, "no rows", {"instances": []}, 400, "no rows", "instances")
    yield body(DIGITS, "too many rows", {"instances": [0] * 1001}, 413, "expected at most 1000 rows", "instances")
    yield body(DIGITS, "the target", {"instances": [{"image": IMAGE, "digit": "3"}]}, 400, "predicts", "digit")
    yield body(DIGITS, "a near name", {"instances": [{"imag": IMAGE}]}, 400, "Did you mean 'image'", "imag")


def demand() -> Iterator[Case]:
    """A model of numbers alone, one of them nullable."""
    yield from grid(DEMAND, "a", '{"instances": [[@, 2, 3, 4]]}', [n for n in VALUES if n not in NUMBERS], field="a")
    named = '{"instances": [{"a": 1, "b": 2, "c": @, "d": null}]}'
    yield from grid(DEMAND, "c by name", named, [n for n in VALUES if n not in NUMBERS], field="c")
    nullable = [n for n in VALUES if n not in {"null", *NUMBERS}]
    yield from grid(DEMAND, "d, which may be null", '{"instances": [[1, 2, 3, @]]}', nullable, field="d")
    yield from no_json(DEMAND, "a", '{"instances": [[@, 2, 3, 4]]}')
    for n in (0, 1, 3, 5, 64, 5000):
        yield body(DEMAND, f"{n} numbers", {"instances": [[1] * n]}, 400, f"got an array of {n}", "instances")
    late = {"instances": [[1, 2, 3, 4]] * 998 + [[1, None, 3, 4]]}
    yield body(DEMAND, "null in row 998", late, 400, "row 998", "b")
    yield body(DEMAND, "no field", {"instances": [{}]}, 400, "missing", "a")
    yield body(DEMAND, "one field", {"instances": [{"a": 1}]}, 400, "missing", "b")
    many = {"instances": [{**dict.fromkeys("abcd", 1), **{f"x{i}": 1 for i in range(3000)}}]}
    yield body(DEMAND, "3,000 unknown fields", many, 400, "no field", "x0")
    twice = b'{"instances": [[1, 2, 3, 4]], "instances": 3}'
    yield body(DEMAND, "`instances` twice, the last counts", twice, 400, "no list", "instances")
    again = b'{"instances": [{"a": 1, "b": 2, "c": 3, "d": 4, "a": "x"}]}'
    yield body(DEMAND, "a field twice, the last counts", again, 400, "", "a")


def churn() -> Iterator[Case]:
    """Numbers, words, and fields that are only kept."""
    fields = {
        "age": [n for n in VALUES if n not in NUMBERS],
        "income": [n for n in VALUES if n not in {"null", *NUMBERS}],
        "plan": ["number", "float", "huge integer", "1e39", *sorted(LISTS), *sorted(OBJECTS)],
        "name": ["true", "huge integer", "1e39", *sorted(LISTS), *sorted(OBJECTS)],
        "customer": ["true", "long text", "1e39", *sorted(LISTS), *sorted(OBJECTS)],
        "seen": ["true", "number", "text", "long text", "nul", *sorted(LISTS), *sorted(OBJECTS)],
    }
    for field, wrong in fields.items():
        others = {name: value for name, value in ROW.items() if name != field}
        template = '{"instances": [{"@@": @, ' + json.dumps(others)[1:] + "]}"
        yield from grid(CHURN, field, template.replace("@@", field), wrong, field=field)
    for text in ("2026-13-01", "2026-02-30T00:00:00Z", "yesterday", "2026-01-01T25:00:00Z", "12:00"):
        yield body(CHURN, f"seen {text}", {"instances": [{**ROW, "seen": text}]}, 400, "RFC 3339", "seen")
    yield body(CHURN, "not utf-8", b'{"instances": [{"age": 40, "plan": "\xff"}]}', 400, "no JSON", "body")
    yield body(CHURN, "latin-1", '{"instances": [{"age": 40, "plan": "é"}]}'.encode("latin-1"), 400, "no JSON", "body")
    yield body(CHURN, "utf-16", json.dumps(GOOD["churn"]).encode("utf-16"), 400, "no JSON", "body")
    yield body(CHURN, "byte order mark", b"\xef\xbb\xbf" + json.dumps(GOOD["churn"]).encode(), 400, "no JSON", "body")
    yield body(CHURN, "two documents", json.dumps(GOOD["churn"]).encode() * 2, 400, "no JSON", "body")
    yield body(CHURN, "cut off", json.dumps(GOOD["churn"]).encode()[:-3], 400, "no JSON", "body")
    yield body(CHURN, "zeros", b"\0" * 500, 400, "no JSON", "body")
    yield body(CHURN, "nothing", b"", 400, "no JSON", "body")
    yield body(CHURN, "spaces", b" " * 5000, 400, "no JSON", "body")
