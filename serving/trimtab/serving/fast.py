"""The short way: a request that is whole and quick to answer is answered where it is read.

uvicorn makes a task, an event and two messages of each request, which costs more than a small model's answer. Here a
predict or infer request whose body came with its head, for versions that take little time, is answered within the
parser's last callback; anything else goes the long way, through the same checks (`InferenceApp._answer`). Many rows as
bytes, which need no parsing, may come in several pieces if they come soon; behind a head that is known they are read
into their place (`incoming`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from trimtab.core.errors import RequestError
from trimtab.serving.heads import Head, Heads
from trimtab.serving.incoming import Incoming
from trimtab.serving.protocol import Protocol

if TYPE_CHECKING:
    from trimtab.serving.app import InferenceApp
    from trimtab.serving.calls import Codec
    from trimtab.serving.memory import Share


_GOOD = b"HTTP/1.1 200"
# A body that is awaited on the short way has come by then, in seconds, or goes the long way.
SOON = 0.25
_NO_SCOPE: dict[str, Any] = {}


class Fast(Protocol):
    """One connection. `fast(app, protocol)` makes the class that uvicorn is given."""

    quick: ClassVar[InferenceApp]
    heads: ClassVar[Heads]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._codec: Codec | None = None  # of the message being read, where it may go the short way
        self._share: Share | None = None  # what its body takes of the memory, where it comes in pieces
        self._pieces: list[bytes] = []
        self._begins = b""  # its head as it came, where the message came in pieces and began with one
        self._incoming: Incoming | None = None  # what reads in this connection's place, behind a head that is known
        self._data, self._first = b"", False  # what is being fed, and whether a message begins with it
        self._lengthened = False  # what is being fed goes the long way
        self._idle: asyncio.TimerHandle | None = None
        self._answered = 0.0

    def on_headers_complete(self) -> None:
        """The head is there: which way its message goes."""
        codec = self.quick.routes.get(self.url)
        if codec is None or self._lengthened or not self._may_be_short():
            super().on_headers_complete()
            return
        self._in_head, self._codec = False, codec
        self._pieces.clear()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._codec is None:
            super().on_body(body)
        else:
            self._bodied = True
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        """The message is whole: answer it, or send it the long way."""
        codec = self._codec
        if codec is None:
            super().on_message_complete()
            return
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        if self._share is not None:
            self._let_go()
            self._stop_timer()
        head = Head(codec, dict(self.headers))
        answer = self.quick.answer_now(head, self.scope, body)  # type: ignore[arg-type]
        if answer is None:
            self._lengthen()
            super().on_message_complete()
            return
        self._codec = None
        self._pieces.clear()  # an idle connection keeps nothing
        self._whole, self._size, self._silent = True, 0, 0
        if answer.startswith(_GOOD) and (raw := self._begins or self._raw_head(len(body))):
            self.heads.keep(raw, head, len(body))
        self._begins = b""
        self._send(answer)

    def data_received(self, data: bytes) -> None:
        """Bytes came: a request whose head is known is answered without parsing it again."""
        self._first = self._whole and self._calm()
        if self._first:
            start = data.find(b"\r\n\r\n") + 4
            head = self.heads.find(data[:start])
            if head is not None and len(data) - start == head.length:
                answer = self.quick.answer_now(head, _NO_SCOPE, data[start:])
                if answer is not None:
                    self._unset_keepalive_if_required()
                    self._send(answer)
                    return
            elif head is not None and len(data) - start < head.length and self._reads_on(head, data, start):
                return
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        """Give bytes to the parser."""
        self._data = data
        super().data_received(data)
        self._data = b""

    def _raw_head(self, size: int) -> bytes:
        """The head that what is being fed begins with, where that is one message with so much of a body; else nothing.

        It is what `data_received` looks for next time.
        """
        start = self._data.find(b"\r\n\r\n") + 4
        return self._data[:start] if self._first and len(self._data) - start == size else b""

    def _reads_on(self, head: Head, data: bytes, start: int) -> bool:
        """Read the rest of a body behind a known head into its place; False where it may not go the short way."""
        share = self.quick.bulk_share(head)
        if share is None or self._raw is None:
            return False
        try:
            share.hold(len(data))
        except RequestError:
            return False
        self._unset_keepalive_if_required()
        self._share, self._incoming = share, Incoming(self, head, data, start)
        self._whole, self._size, self._since = False, len(data), self.loop.time()
        self._timer = self.loop.call_later(SOON, self._late)
        self._raw.set_protocol(self._incoming)
        return True

    def came(self, size: int) -> None:
        """So many bytes more of a body are in their place."""
        incoming, share = self._incoming, self._share
        assert incoming is not None
        assert share is not None
        self._size += size
        try:
            share.hold(size)
        except RequestError:
            self.parse_after_all()
            return
        if incoming.size < incoming.head.length:
            return
        self._let_go()
        answer = self.quick.answer_now(incoming.head, _NO_SCOPE, incoming.body)
        if answer is None:
            self.parse_after_all()
            return
        self._read_again()
        self._whole, self._size = True, 0
        self._send(answer)

    def _read_again(self) -> None:
        """Read here again."""
        incoming, self._incoming = self._incoming, None
        assert incoming is not None
        incoming.body = memoryview(b"")  # uvloop keeps what has read for it
        self._stop_timer()
        assert self._raw is not None
        if not self._raw.is_closing():
            self._raw.set_protocol(self)

    def parse_after_all(self) -> None:
        """A body does not come as it should: the parser gets what is here, and the message goes the long way."""
        incoming = self._incoming
        if incoming is None:
            return
        data = incoming.raw + incoming.body[: incoming.size]
        self._read_again()
        self._let_go()
        self._whole, self._first, self._size, self._lengthened = True, False, 0, True
        try:
            self._parse(data)
        finally:
            self._lengthened = False

    def _send(self, answer: bytes) -> None:
        self.transport.write(answer)
        self.server_state.total_requests += 1
        self._answered = self.loop.time()
        if self._idle is None:
            self._idle = self.loop.call_later(self.timeout_keep_alive, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; who went amid a body is counted as on the long way."""
        if self._incoming is not None:
            self._codec, self._incoming.body, self._incoming = self._incoming.head.codec, memoryview(b""), None
        if self._codec is not None:
            self.quick.metrics.answered("", self._codec.name, 499, self.loop.time() - self._since)
            self._drop()
        if self._idle is not None:
            self._idle.cancel()
        super().connection_lost(exc)

    def _write(self, error: RequestError) -> None:
        """Refuse what is no whole request; it is counted like any other."""
        self.quick.metrics.answered("", "http", error.status, 0.0)
        super()._write(error)

    def _wait(self, size: int) -> None:
        """The rest of the message is still to come: it goes the long way, unless it is soon here."""
        if self._codec is not None and not self._awaits(self._codec, size):
            self._lengthen()
        super()._wait(size)

    def _awaits(self, codec: Codec, size: int) -> bool:
        """Whether the message's body may come in pieces on the short way, now that it is `size` bytes longer."""
        if self._share is None:
            self._share = self.quick.bulk_share(Head(codec, dict(self.headers)))
            if self._share is None:
                return False
            self._since = self.loop.time()
            self._timer = self.loop.call_later(SOON, self._late)
            self._begins = self._raw_head(sum(map(len, self._pieces)))
        try:
            self._share.hold(size)
        except RequestError:
            return False
        return True

    def _late(self) -> None:
        """The body does not come soon: what else there is to be waited for is waited for on the long way."""
        if self._incoming is not None:
            self.parse_after_all()
            return
        if self._codec is not None:
            self._lengthen()
        super()._late()

    def _let_go(self) -> None:
        """The body is no longer awaited here."""
        if self._share is not None:
            self._share.release()
            self._share = None
            if self._incoming is None and self.scope is not None:
                # Until now it waited for its client, not for its turn.
                self.scope["arrived"] = self.loop.time()  # type: ignore[typeddict-unknown-key]

    def _drop(self) -> None:
        """Nobody answers the message any more."""
        self._codec, self._begins = None, b""
        self._let_go()
        self._pieces.clear()

    def _refuse(self, error: RequestError) -> None:
        """Refuse what cannot be received to its end."""
        if self._codec is not None:
            self._drop()
        super()._refuse(error)

    def shutdown(self) -> None:
        """The server is ending: a message that is half here is let finish, on the long way."""
        self.parse_after_all()
        if self._codec is not None:
            self._lengthen()
        super().shutdown()

    def _calm(self) -> bool:
        """Whether the connection owes nothing and nothing is the matter with it."""
        return (
            (self.cycle is None or self.cycle.response_complete)
            and not (self._over or self._last or self._lingering or self.flow.write_paused or self._half_closed)
            and self._timer is None
            and not self.transport.is_closing()
        )

    def _may_be_short(self) -> bool:
        """Whether nothing about the connection or the head asks for the long way."""
        if not self._calm() or self.expect_100_continue or self._has_long_head():
            return False
        parser = self.parser
        return (
            parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and any(name == b"content-length" for name, _ in self.headers)
        )

    def _lengthen(self) -> None:
        """Send the message the long way after all, as far as it was read."""
        self._codec, self._begins = None, b""
        self._let_go()
        self._begin()
        for piece in self._pieces:
            super().on_body(piece)
        self._pieces.clear()

    def _look(self) -> None:
        """Close the connection when nothing came for long; one timer looks, instead of one for each answer."""
        self._idle = None
        if not self._whole or (self.cycle is not None and not self.cycle.response_complete):
            return
        left = self._answered + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._idle = self.loop.call_later(left, self._look)
        elif self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_handler()


def fast(app: InferenceApp, protocol: type[Protocol]) -> type[Fast]:
    """The protocol class for `uvicorn.Config(http=…)`: short ways of an app, on a protocol with its limits."""
    return type("Fast", (Fast,), {"quick": app, "heads": Heads(), "patience": protocol.patience})
