"""One malformed request, and what the server has to say to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.serving.raw import post

ANY = ""


@dataclass(frozen=True)
class Case:
    """One request that is wrong.

    Attributes:
        name: what is wrong with it.
        request: as it is sent, byte for byte.
        status: of the answer.
        says: part of the sentence.
        field: what the answer's `object` names; empty: whatever it is, it names something.
        closes: the connection cannot go on after this; it ends in order, without a reset.
    """

    name: str
    request: bytes
    status: int
    says: str = ANY
    field: str = ANY
    closes: bool = False


# JSON values of every kind, by name; each place of a request is given those that are wrong there.
VALUES: dict[str, str] = {
    "null": "null",
    "true": "true",
    "number": "7",
    "float": "0.5",
    "huge integer": "1" + "0" * 200,
    "1e39": "1e39",
    "-1e39": "-1e39",
    "text": '"x"',
    "empty text": '""',
    "long text": json.dumps("x" * 5000),
    "surrogates": '"\\ud83d\\ude00"',
    "nul": '"\\u0000"',
    "empty array": "[]",
    "array": "[1, 2]",
    "array of arrays": "[[1], [2]]",
    "array of nulls": "[null, null]",
    "ragged array": "[[1, 2], [3]]",
    "mixed array": '[1, "x", null]',
    "empty object": "{}",
    "object": '{"a": 1}',
    "deep array": "[" * 200 + "1" + "]" * 200,
}
# Texts that are no JSON wherever they stand.
NO_JSON: dict[str, str] = {
    "NaN": "NaN",
    "Infinity": "Infinity",
    "-Infinity": "-Infinity",
    "1e400": "1e400",
    "-1e400": "-1e400",
    "hexadecimal": "0x10",
    "leading zero": "007",
    "leading plus": "+1",
    "bare point": ".5",
    "trailing point": "5.",
    "single quotes": "'x'",
    "no value": "",
    "undefined": "undefined",
    "comment": "1 /* one */",
    "lone surrogate": '"\\ud800"',
    "bad escape": '"\\x41"',
    "raw newline": '"a\nb"',
    "1,200 deep": "[" * 1200 + "]" * 1200,
}


def grid(
    path: str, place: str, template: str, wrong: list[str], status: int = 400, field: str = ANY, says: str = ANY
) -> Iterator[Case]:
    """A case for each wrong value at one place of a body; `@` stands for it in the template."""
    for name in wrong:
        yield Case(f"{place}: {name}", post(path, template.replace("@", VALUES[name]).encode()), status, says, field)


def no_json(path: str, place: str, template: str) -> Iterator[Case]:
    """A case for each text that is no JSON, at one place of a body."""
    for name, text in NO_JSON.items():
        yield Case(f"{place}: {name}", post(path, template.replace("@", text).encode()), 400, ANY, "body")


def body(path: str, name: str, sent: bytes | object, status: int, says: str, field: str = ANY, **headers: Any) -> Case:
    """A case of a whole body, with headers of its own."""
    kind = headers.pop("kind", "application/json")
    return Case(name, post(path, sent, kind, **headers), status, says, field)
