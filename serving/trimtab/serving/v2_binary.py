"""V2's binary tensor extension: tensors as their bytes behind a JSON head, as KServe's and Triton's clients send them.

The header `Inference-Header-Content-Length` says where the JSON ends; an input's parameter `binary_data_size` says
how many of the bytes behind it are its own, in the order of the inputs. Numbers are little-endian; an element of BYTES
is its length in 4 bytes and its text in UTF-8. Outputs are sent so where the request asks for it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from trimtab.core.errors import RequestError
from trimtab.core.values import describe
from trimtab.serving.calls import Body
from trimtab.serving.http import JSON_LENGTH

Array = np.ndarray[Any, Any]
_NAME = "Inference-Header-Content-Length"
DTYPES = {
    "BOOL": np.dtype("?"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
_LENGTH = struct.Struct("<I")


class Tail:
    """The bytes behind a request's JSON, handed out input by input.

    Attributes:
        start: how many bytes stand before them.
    """

    def __init__(self, body: Body, start: int) -> None:
        self._body = body
        self._at = start
        self.start = start

    def take(self, size: object, name: str) -> memoryview:
        """The next `size` bytes, which are input `name`'s.

        Raises:
            RequestError: 400, the size is none, or more than is left.
        """
        left = len(self._body) - self._at
        if type(size) is not int or not 0 <= size <= left:
            raise RequestError(
                400,
                f"input {name!r}: its binary data is not there",
                object="binary_data_size",
                expected=f"a whole number, at most the {left} bytes that are left of the body",
                got=describe(size),
            )
        self._at += size
        return memoryview(self._body)[self._at - size : self._at]

    def rest(self) -> memoryview:
        """All bytes that are left, for one input."""
        return memoryview(self._body)[self._at :]

    def end(self) -> None:
        """All inputs are read.

        Raises:
            RequestError: 400, bytes are left that belong to none.
        """
        left = len(self._body) - self._at
        if left:
            raise RequestError(
                400,
                "the body is longer than its inputs say",
                object="binary_data_size",
                expected="the sizes of all inputs to add up to the bytes behind the JSON",
                got=f"{left} bytes more",
            )


def split(body: Body, headers: Mapping[bytes, bytes]) -> tuple[bytes, Tail | None]:
    """A body as its JSON and what is behind it; a body without the extension is all JSON.

    Raises:
        RequestError: 400, the header is no length of a part of the body.
    """
    given = headers.get(JSON_LENGTH)
    if given is None:
        return bytes(body), None
    length = int(given) if given.isdigit() and len(given) < 12 else 0
    if not 0 < length <= len(body):
        raise RequestError(
            400,
            "the length of the JSON within the body cannot be right",
            object=_NAME,
            expected=f"a whole number from 1 to the body's {len(body)} bytes",
            got=repr(given[:40].decode("latin-1")),
        )
    return bytes(body[:length]), Tail(body, length)


def read(chunk: memoryview, kind: str, shape: Sequence[int], name: str) -> Array:
    """One input's bytes as an array of its shape; text as objects.

    Raises:
        RequestError: 400, there are more or fewer bytes than the shape says, or they are no text.
    """
    if kind == "BYTES":
        return _texts(chunk, math.prod(shape), name).reshape(shape)
    dtype = DTYPES[kind]
    wanted = math.prod(shape) * dtype.itemsize
    if len(chunk) != wanted:
        raise RequestError(
            400,
            f"input {name!r}: shape and binary data disagree",
            object=name,
            expected=f"{wanted} bytes for {kind} of shape {list(shape)}",
            got=f"{len(chunk)} bytes",
        )
    return np.frombuffer(chunk, dtype).reshape(shape)


def text(values: Iterable[str]) -> bytes:
    r"""Texts as BYTES.

    >>> text(["ab", ""])
    b'\x02\x00\x00\x00ab\x00\x00\x00\x00'
    """
    parts = []
    for value in values:
        encoded = value.encode()
        parts += [_LENGTH.pack(len(encoded)), encoded]
    return b"".join(parts)


def numbers(values: Array | list[float]) -> bytes:
    """Numbers as FP32."""
    return np.ascontiguousarray(values, "<f4").tobytes()


def _texts(chunk: memoryview, count: int, name: str) -> Array:
    values: list[str] = []
    at = 0
    try:
        while at < len(chunk) and len(values) < count:
            (length,) = _LENGTH.unpack_from(chunk, at)
            at += _LENGTH.size
            if at + length > len(chunk):
                break
            values.append(str(chunk[at : at + length], "utf-8"))
            at += length
    except (struct.error, UnicodeDecodeError) as error:
        raise RequestError(
            400,
            f"input {name!r} holds no BYTES data",
            object=name,
            expected="each element's length in 4 bytes, then its text in UTF-8",
            got=f"{type(error).__name__} at byte {at}",
        ) from None
    if len(values) != count or at != len(chunk):
        raise RequestError(
            400,
            f"input {name!r}: shape and binary data disagree",
            object=name,
            expected=f"{count} texts, each with its length before it",
            got=f"{len(values)} texts in {at} of {len(chunk)} bytes",
        )
    array: Array = np.empty(count, dtype=object)
    array[:] = values
    return array
