"""What the app needs of HTTP, without a framework: read a body within a limit, answer JSON, refuse in a sentence.

Refusing before the body was read keeps the connection usable: uvicorn reads and discards what is left of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson

from trimtab.core.errors import RequestError
from trimtab.core.values import describe

if TYPE_CHECKING:
    from trimtab.serving.memory import Share

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

STATUS = {status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}
JSON_LENGTH = b"inference-header-content-length"
JSON = (b"content-type", b"application/json")


class ClientGone(Exception):
    """The client closed the connection before its body was complete: nobody waits for an answer."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first header of that (lower-case) name."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, limit: int, share: Share) -> bytes:
    """The request's body, counted as it comes, whatever its headers claim.

    Args:
        headers: the request's.
        receive: gives the pieces.
        limit: most bytes.
        share: of the process's memory, which a body that comes in pieces takes from.

    Raises:
        RequestError: 413, it is longer than `limit` bytes; 429, there is no memory for it now.
        ClientGone: the client went away.
    """
    length = headers.get(b"content-length")
    if length is not None and int(length) > limit:  # the parser lets digits alone through
        raise too_long(limit, f"{int(length)} bytes")
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        if len(body) > limit:
            raise too_long(limit, f"{len(body)} bytes")
        return body
    chunks, size = [body], len(body)
    share.hold(size)
    while message.get("more_body"):
        if size > limit:
            raise too_long(limit, f"more than {limit} bytes")
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        size += len(chunk)
        share.hold(len(chunk))
        chunks.append(chunk)
    if size > limit:
        raise too_long(limit, f"more than {limit} bytes")
    return b"".join(chunks)


def too_long(limit: int, got: str) -> RequestError:
    """The refusal of a body beyond the limit in bytes."""
    return RequestError(
        413,
        "the body is too long",
        object="body",
        expected=f"at most {limit} bytes",
        got=got,
        hint="send fewer instances in one request",
    )


def check_plain(headers: Mapping[bytes, bytes]) -> None:
    """Refuse a compressed body: unpacking it would let a small request become a large one.

    Raises:
        RequestError: 415.
    """
    coding = headers.get(b"content-encoding")
    if coding is not None and coding.strip().lower() not in {b"", b"identity"}:
        raise RequestError(
            415,
            "content encodings are not supported",
            object="Content-Encoding",
            expected="a plain body, without this header",
            got=coding[:40].decode("latin-1"),
        )


def check_content(headers: Mapping[bytes, bytes], binary: bool) -> None:
    """Refuse a body that does not call itself JSON, or, where `binary`, JSON with tensors behind it.

    Raises:
        RequestError: 415.
    """
    if binary and JSON_LENGTH in headers:
        check_plain(headers)
    else:
        check_json(headers)


def check_json(headers: Mapping[bytes, bytes]) -> None:
    """Refuse a body that does not call itself JSON; no content type at all is taken as JSON.

    Raises:
        RequestError: 415.
    """
    kind = headers.get(b"content-type")
    check_plain(headers)
    if kind is None or kind == b"application/json":
        return
    essence = kind.split(b";", 1)[0].strip().lower()
    if essence != b"application/json":
        raise RequestError(
            415,
            "the content type is not understood",
            object="Content-Type",
            expected="application/json",
            got=kind[:100].decode("latin-1") or "an empty one",
        )
    charset = kind.lower().partition(b"charset=")[2].strip(b' "')
    if charset not in {b"", b"utf-8", b"utf8"}:
        raise RequestError(
            415,
            "JSON is read as UTF-8 alone",
            object="Content-Type",
            expected="charset=utf-8",
            got=charset[:40].decode("latin-1"),
        )


def parse_json(body: bytes) -> Any:
    """The body as JSON.

    Raises:
        RequestError: 400, with where it breaks off; NaN and Infinity are no JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _no_json(error) from None


def _no_json(error: orjson.JSONDecodeError) -> RequestError:
    """Why it is none; numbers that JSON has no word for are named."""
    name = next((name for name in ("NaN", "Infinity") if error.doc.startswith(name, error.pos)), "")
    if name:
        return RequestError(
            400,
            f"the body is no JSON: it holds {name} (character {error.pos})",
            object="body",
            expected="finite numbers, or null where a value is missing",
            got=name,
        )
    if "infinity" in str(error):  # 1e400: JSON by its grammar, but larger than any float
        return RequestError(
            400,
            f"the body holds a number that is too large (character {error.pos})",
            object="body",
            expected="numbers within a 32-bit float's range, ±3.4e38",
            got="one that no float holds",
        )
    return RequestError(
        400, "the body is no JSON", object="body", expected="a JSON object in UTF-8", got=str(error)[:200]
    )


def parse_object(body: bytes, example: str) -> dict[str, Any]:
    """The body as a JSON object.

    Raises:
        RequestError: 400, it is something else.
    """
    value = parse_json(body)
    if not isinstance(value, dict):
        raise RequestError(400, "the body is no JSON object", object="body", expected=example, got=describe(value))
    return value


async def respond(send: Send, status: int, body: bytes, headers: Headers | None = None) -> None:
    """One whole answer; JSON unless the headers say otherwise."""
    fields = [(b"content-length", b"%d" % len(body))]
    if headers:
        fields += headers
        if not any(key == b"content-type" for key, _ in headers):
            fields.append(JSON)
    else:
        fields.append(JSON)
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


def error_body(error: RequestError) -> bytes:
    """`{"error": sentence}` as KServe's clients read it, and the facts beside it."""
    facts = {"object": error.object, "expected": error.expected, "got": error.got}
    return orjson.dumps({"error": error.sentence(), **{k: v for k, v in facts.items() if v}})
