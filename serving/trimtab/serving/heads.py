"""The heads of predict and infer requests: what they say, read once where a client sends the same again and again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from trimtab.core.errors import RequestError
from trimtab.core.ids import parse_prediction_id

if TYPE_CHECKING:
    from trimtab.serving.calls import Codec

# Heads that are kept: so many, none longer than so many bytes.
KEPT = 1024
LONGEST = 2048
# A head that holds one of these is made for its request alone.
OWN = frozenset({b"x-prediction-id", b"x-request-id", b"traceparent", b"tracestate"})


class Head:
    """A head, as far as it matters to an answer.

    Attributes:
        codec: the protocol.
        headers: by lower-case name.
        authorization, key: the values of `Authorization` and `X-Trimtab-Key`, or None.
        length: bytes of its body, where a head that is kept said so.
    """

    __slots__ = ("authorization", "codec", "headers", "key", "length")

    def __init__(self, codec: Codec, headers: Mapping[bytes, bytes]) -> None:
        self.codec, self.headers = codec, headers
        self.authorization = headers.get(b"authorization")
        self.key = headers.get(b"x-trimtab-key")
        self.length = -1

    def own_id(self) -> str | None:
        """The request's UUID as its client gave it (`X-Prediction-Id: <uuid7>-0`), or None.

        Raises:
            RequestError: 400, it is malformed.
        """
        given = self.headers.get(b"x-prediction-id")
        if given is None:
            return None
        parsed = parse_prediction_id(given.decode("latin-1"))
        if parsed is None or parsed[1] != 0:
            raise RequestError(
                400,
                "the prediction id is malformed",
                object="X-Prediction-Id",
                expected="<UUIDv7>-0, in lower case",
                got=repr(given[:60].decode("latin-1")),
            )
        return parsed[0]


class Heads:
    """Heads as they came over the wire, and what the parser made of them.

    The same bytes always mean the same, so a client that repeats itself is not parsed again. Only heads that were
    answered with 200 are kept; whether their key still counts is asked each time.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}
        self.find = self._known.get

    def keep(self, raw: bytes, head: Head, length: int) -> None:
        """Remember a head, from its first byte to its empty line, whose body has so many bytes."""
        if len(raw) > LONGEST or not OWN.isdisjoint(head.headers):
            return
        if len(self._known) >= KEPT:
            self._known.clear()
        head.length = length
        self._known[raw] = head
