"""uvicorn's HTTP/1.1 protocol, hardened: whatever comes over a connection, an answer in JSON goes back before it ends.

uvicorn answers broken HTTP with plain text and closes at once; what the client was still sending then turns the close
into a reset, and the answer is lost. Here a refusal is JSON, the rest of the request is read and thrown away for a
while (a lingering close), a body that ends early is told so, and nobody holds a connection by sending slowly.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from trimtab.core.errors import RequestError
from trimtab.serving.http import error_body

# How long, and for how many bytes, a connection that was refused is still read.
LINGER_SECONDS = 5.0
LINGER_BYTES = 1 << 30
# How long an idle connection is kept when the server ends.
PARTING_SECONDS = 0.5


class Patience(NamedTuple):
    """What one connection may take of the server.

    Attributes:
        connections: open connections at once; the next ones are told 429.
        head_bytes: longest request line and headers together.
        head_seconds: time for them to arrive, and for a fresh connection to say anything.
        body_seconds: time for the body to arrive, and one second more for each `body_rate` bytes of it.
        body_rate: bytes a second that are slow but not refused.
    """

    connections: int = 1000
    head_bytes: int = 65_536
    head_seconds: float = 10.0
    body_seconds: float = 20.0
    body_rate: int = 16_384


class Protocol(HttpToolsProtocol):
    """One connection. `protocol(patience)` makes the class that uvicorn is given."""

    patience = Patience()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._raw: asyncio.Transport | None = None
        self._whole = True  # no message is half received
        self._in_head = True
        self._begun = False  # the message that is half received has a cycle: the app answers it
        self._size = 0  # bytes of the message that is half received …
        self._silent = 0  # … and those in a row that brought nothing of its body
        self._bodied = False
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._over = False  # one connection too many
        self._upgrade = False
        self._lingering = False
        self._half_closed = False
        self._refusal: RequestError | None = None
        self._last = False  # the server is ending: the next answer is the connection's last

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A fresh connection; one that says nothing is closed after a while."""
        super().connection_made(transport)
        self._raw = transport
        self.transport = _Transport(transport, self)  # type: ignore[assignment]
        self._over = len(self.connections) > self.patience.connections
        self.timeout_keep_alive_task = self.loop.call_later(self.patience.head_seconds, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; nothing of it stays behind."""
        self._stop_timer()
        self.transport.write = _nowhere  # type: ignore[assignment]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; broken HTTP is refused in JSON."""
        if self._lingering:
            self._size += len(data)
            if self._size > LINGER_BYTES:
                self._end()
            return
        if self._over:
            self._refuse(
                RequestError(
                    429,
                    "too many connections are open",
                    object="connection",
                    expected=f"at most {self.patience.connections}",
                    got="one more",
                    hint="use a connection again, or come back later",
                )
            )
            return
        self._size += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._stay(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            self._refuse(_broken(error))
            return
        if not self._whole:
            self._wait(len(data))

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more; it may still read, so what it asked is answered before the connection ends."""
        if self._half_closed or self._lingering or self.transport.is_closing():
            return False
        self._half_closed = True
        if not self._whole:
            told = next((value for name, value in self.headers if name == b"content-length"), None)
            told = None if self._in_head else told
            self._refuse(
                RequestError(
                    400,
                    "the request ends before its body is complete" if told else "the request ends in its middle",
                    object="Content-Length" if told else "request",
                    expected=f"{int(told)} bytes of body" if told else "a whole HTTP request",
                    got="the connection's end before",
                )
            )
            return True
        if self.cycle is None or self.cycle.response_complete:
            return False
        self.cycle.keep_alive = False  # the last one that was asked for
        return True

    def on_message_begin(self) -> None:
        """A message starts; an empty line before it, which is passed over, does not keep a connection."""
        self._unset_keepalive_if_required()
        super().on_message_begin()
        self.scope["arrived"] = self.loop.time()  # type: ignore[typeddict-unknown-key]
        self._whole, self._in_head, self._begun = False, True, False

    def on_headers_complete(self) -> None:
        """The head is there; a proposal to speak another protocol is passed over, as RFC 9110 lets a server do."""
        self._in_head = False
        if self._has_long_head():
            raise _head_too_long(self.patience.head_bytes)
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise RequestError(
                    405, "this server is no proxy", object="method", expected="GET, HEAD, POST", got="CONNECT"
                )
            self._upgrade = True
            return
        self._begin()

    def _begin(self) -> None:
        """Have the app answer the message, whose head is there."""
        super().on_headers_complete()
        self._begun = True
        if self._last:
            self.cycle.keep_alive = False

    def _has_long_head(self) -> bool:
        """Whether the head, which is there, is longer than allowed; added up only where it could be."""
        most = self.patience.head_bytes
        if 0 < self._size <= most:  # 0: it came in one piece with the end of the message before
            return False
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > most

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._bodied = True
        if not self._upgrade:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The message is whole."""
        if self._upgrade:
            return
        self._whole, self._size, self._silent = True, 0, 0
        if self._timer is not None:
            self._stop_timer()
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()

    def on_response_complete(self) -> None:
        """An answer went out; one refusal may wait behind it."""
        last = not self.pipeline
        super().on_response_complete()
        if self._refusal is not None and last:
            self._unset_keepalive_if_required()
            refusal, self._refusal = self._refusal, None
            self._write(refusal)

    def shutdown(self) -> None:
        """The server is ending: what is asked is answered, and a client that is about to ask again gets that too.

        Closing an idle connection at once would reset the request that its client is just sending.
        """
        self._last = True
        if self.cycle is None or self.cycle.response_complete:
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(PARTING_SECONDS, self.timeout_keep_alive_handler)
        else:
            self.cycle.keep_alive = False

    def close(self) -> None:
        """End the connection once what is written is sent; a client in the middle of sending is let finish first."""
        if self._whole or self._lingering or self._half_closed:
            if not self._lingering:
                self._end()
            return
        self._linger()

    def _stay(self, rest: bytes) -> None:
        """Go on in HTTP/1.1: the same head again without its proposal, then what came behind it."""
        self._upgrade = False
        kept = [(name, value) for name, value in self.headers if name not in {b"upgrade", b"http2-settings"}]
        lines = [b"%b %b HTTP/1.1" % (self.parser.get_method(), self.url)]
        lines += [b"%b: %b" % (name, b"keep-alive" if name == b"connection" else value) for name, value in kept]
        self.parser = httptools.HttpRequestParser(self)
        self._size = 0
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    def _wait(self, size: int) -> None:
        """A message is half received: not for ever, and no more of head, chunk sizes or trailers than fits a head."""
        self._silent = 0 if self._bodied else self._silent + size
        self._bodied = False
        if self._silent > self.patience.head_bytes:
            self._refuse(_head_too_long(self.patience.head_bytes))
        elif self._timer is None:
            self._since = self.loop.time()
            self._timer = self.loop.call_later(self.patience.head_seconds, self._late)

    def _late(self) -> None:
        """The time for a half received message is over, unless its body comes at a fair rate."""
        self._timer = None
        patience = self.patience
        if not self._in_head:
            allowed = patience.body_seconds + self._size / patience.body_rate
            left = self._since + allowed - self.loop.time()
            if left > 0:
                self._timer = self.loop.call_later(left, self._late)
                return
        self._refuse(
            RequestError(
                408,
                "the request comes too slowly",
                object="request",
                expected=f"its head within {patience.head_seconds:g} s"
                if self._in_head
                else f"its body within {patience.body_seconds:g} s and at {patience.body_rate} bytes a second",
                got=f"{self._size} bytes so far",
            )
        )

    def _refuse(self, error: RequestError) -> None:
        """Answer an error to what cannot be received to its end, behind the answers that are still owed."""
        self._lingering, self._size = True, 0
        self._stop_timer()
        cycle = self.cycle
        if not self._whole and self._begun:
            # The broken message is the newest cycle: it is answered here, and its task must not wait for its body, nor
            # count it as that of a client which has gone.
            if cycle.response_started:
                self._linger()
                return
            self.scope["refused"] = True  # type: ignore[typeddict-unknown-key]
            owed = bool(self.pipeline) and self.pipeline[0][0] is cycle  # it waits behind others
            if owed:
                self.pipeline.popleft()
            cycle.disconnected = True
            cycle.message_event.set()
        else:
            owed = cycle is not None and not cycle.response_complete
        if owed:
            self._refusal = error
        else:
            self._write(error)

    def _write(self, error: RequestError) -> None:
        body = error_body(error)
        retry = {429: b"retry-after: 1\r\n", 405: b"allow: GET, HEAD, POST\r\n"}.get(error.status, b"")
        if self._raw is not None and not self._raw.is_closing():
            self._raw.write(
                b"%bcontent-type: application/json\r\n%bcontent-length: %d\r\nconnection: close\r\n\r\n%b"
                % (STATUS_LINE[error.status], retry, len(body), body)
            )
        self._linger()

    def _linger(self) -> None:
        """Say that no more is sent, and read what the client still sends, for a while: closing now would reset."""
        self._lingering, self._size = True, 0
        self._stop_timer()
        self._unset_keepalive_if_required()
        raw = self._raw
        if raw is None or raw.is_closing():
            return
        if self._half_closed:
            self._end()
            return
        self.flow.resume_reading()
        if raw.can_write_eof():
            raw.write_eof()
        self._timer = self.loop.call_later(LINGER_SECONDS, self._end)

    def _end(self) -> None:
        self._stop_timer()
        if self._raw is not None:
            self.transport.write = _nowhere  # type: ignore[assignment]
            self._raw.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def protocol(patience: Patience) -> type[Protocol]:
    """The protocol class for `uvicorn.Config(http=…)` with these limits."""
    return type("Protocol", (Protocol,), {"patience": patience})


class _Transport:
    """The transport as uvicorn sees it: the same, but its `close` is the protocol's, which lingers where it must."""

    def __init__(self, raw: asyncio.Transport, protocol: Protocol) -> None:
        self.write = raw.write
        self.is_closing = raw.is_closing
        self.pause_reading = raw.pause_reading
        self.resume_reading = raw.resume_reading
        self.get_extra_info = raw.get_extra_info
        self.close = protocol.close


def _nowhere(_: bytes) -> None:
    """What an answer is written to once nobody is there."""


def _head_too_long(limit: int) -> RequestError:
    return RequestError(
        431, "request line and headers are too long", object="headers", expected=f"at most {limit} bytes", got="more"
    )


def _broken(error: httptools.HttpParserError) -> RequestError:
    """Why bytes are no HTTP; a refusal that a callback raised is itself."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, RequestError):
            return cause
        cause = cause.__context__ or cause.__cause__
    if isinstance(error, httptools.HttpParserCallbackError):
        return RequestError(
            400, "the request line holds no path", object="path", expected="/path in ASCII", got="another target"
        )
    return RequestError(
        400, "the request is no HTTP/1.1", object="request", expected="a well-formed request", got=str(error)[:120]
    )
