"""Malformed feedback: sent with a token that counts, unless the token is what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.serving.malformed.case import VALUES, Case, body, grid
from tests.serving.malformed.v1 import LISTS, OBJECTS, OTHERS
from tests.serving.raw import post

PATH = "/feedback"
ID = "0193a6a0-0000-7000-8000-000000000000-0"
GOOD = {"labels": [{"id": ID, "value": "3"}]}
TEXTS = {"text", "empty text", "long text", "surrogates", "nul"}


def cases(token: str) -> Iterator[Case]:
    """Each place of a call with what is wrong there."""
    for case in _bodies():
        head, sent = case.request.split(b"\r\n\r\n", 1)
        yield Case(
            case.name,
            head + f"\r\nAuthorization: Bearer {token}\r\n\r\n".encode() + sent,
            case.status,
            case.says,
            case.field,
        )
    for name in ("", "Bearer", "Bearer x", f"Basic {token}", f"Bearer {token}x", token, f"Bearer {token[:-1]}"):
        yield body(PATH, f"token {name[:8]!r}", GOOD, 401, "token", "Authorization", Authorization=name)
    yield Case("no token", post(PATH, GOOD), 401, "token", "Authorization")


def _bodies() -> Iterator[Case]:
    yield from grid(PATH, "body", "@", [n for n in VALUES if n not in OBJECTS], field="body")
    yield from grid(PATH, "body", "@", ["empty object"], field="labels", says="missing")
    yield from grid(PATH, "labels", '{"labels": @}', [*OTHERS, "empty array"], field="labels")
    whole = [n for n in VALUES if n not in OBJECTS]
    yield from grid(PATH, "a label", '{"labels": [@]}', whole, field="labels[0]")
    label = json.dumps(GOOD)[:-3] + ", "
    yield from grid(PATH, "value", json.dumps(GOOD).replace('"3"', "@"), _all_but("number"))
    yield from grid(PATH, "id", '{"labels": [{"id": @, "value": "3"}]}', _all_but("null"), says="id")
    yield from grid(PATH, "key", '{"labels": [{"key": @, "value": "3"}]}', ["null", "true", *sorted(LISTS)], says="key")
    yield from grid(PATH, "key", '{"labels": [{"key": @, "value": "3"}]}', ["long text", "empty text", "object"])
    wrong = _all_but("null")
    yield from grid(PATH, "labelled_at", label + '"labelled_at": @}]}', wrong, field="labels[0].labelled_at")
    sources = ["empty text", "long text", "true", "number", *sorted(LISTS), *sorted(OBJECTS)]
    yield from grid(PATH, "source", label + '"source": @}]}', sources, field="labels[0].source")
    yield from grid(PATH, "unknown", label + '"x": @}]}', ["null", "text", "deep array"], field="labels[0].x")
    models = [n for n in VALUES if n not in {"null", *TEXTS}]
    yield from grid(PATH, "model", '{"model": @, ' + json.dumps(GOOD)[1:], models, field="model")
    others = sorted(TEXTS)
    yield from grid(PATH, "model", '{"model": @, ' + json.dumps(GOOD)[1:], others, 404, "model", "not served")
    yield body(PATH, "1,001 labels", {"labels": GOOD["labels"] * 1001}, 400, "1 to 1000", "labels")
    for text in (b"", b"{", b'{"labels": [NaN]}', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 20_000, b"\0" * 50):
        field = "labels[0]" if b"NaN" in text else "body"
        yield body(PATH, f"no JSON {text[:8]!r}", text, 400, "", field)
    late = {"labels": [*GOOD["labels"] * 999, {"id": ID, "value": "ten"}]}
    yield body(PATH, "no class in entry 999", late, 400, "no class", "labels[999].value")
    yield body(PATH, "another type", GOOD, 415, "application/json", "Content-Type", kind="text/plain")
    yield body(PATH, "compressed", GOOD, 415, "encoding", "Content-Encoding", Content_Encoding="gzip")


def _all_but(*names: str) -> list[str]:
    return [name for name in VALUES if name not in names]
