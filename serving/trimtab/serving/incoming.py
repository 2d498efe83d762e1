"""The rest of a large body, read straight into the place where the model takes it from.

What a protocol is handed as bytes was copied by the event loop, is copied by the parser and once more when its pieces
are joined. A client that sends many rows again and again sends the same head; behind such a head nothing needs to be
parsed until the body is whole.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np

from trimtab.serving.http import JSON_LENGTH

if TYPE_CHECKING:
    from trimtab.serving.fast import Fast
    from trimtab.serving.heads import Head

# Where tensors begin: what vector instructions read at once begins there too.
ALIGNED = 64


class Incoming(asyncio.BufferedProtocol):
    """Takes a connection's place on its transport until the body behind a known head is whole.

    Args:
        connection: told when the body is whole, and of all else that happens.
        head: one that was kept.
        data: what came of the message.
        start: where its body begins.

    Attributes:
        raw: the head as it came.
        body: the body, of which `size` bytes are here.
    """

    def __init__(self, connection: Fast, head: Head, data: bytes, start: int) -> None:
        self._connection, self.head, self.raw = connection, head, data[:start]
        self.body = place(head.length, int(head.headers[JSON_LENGTH]))
        self.size = len(data) - start
        self.body[: self.size] = memoryview(data)[start:]

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 (asyncio's, which only proposes a size)
        """Where the next bytes go: no byte behind the body is read here."""
        return self.body[self.size :]

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes came."""
        self.size += nbytes
        self._connection.came(nbytes)

    def eof_received(self) -> bool:
        """The client sends no more."""
        self._connection.parse_after_all()
        return self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read its answers."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """It reads again."""
        self._connection.resume_writing()


def place(size: int, lead: int) -> memoryview:
    """Memory for so many bytes, of which those behind the first `lead` are aligned; none of it is set."""
    found = np.empty(size + ALIGNED, np.uint8)
    first = -(found.__array_interface__["data"][0] + lead) % ALIGNED
    return found[first : first + size].data
