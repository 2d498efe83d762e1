"""A loopback HTTP proxy in front of a real S3 that fails on purpose: one fault a request, in the order given."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import urllib.parse
from collections import deque
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

# drop: forward the request, then break the connection instead of answering.
# refuse: break the connection before the request is forwarded.
# busy: answer 503 without forwarding. busy_done: forward, then answer 503.
# half: forward, answer with half of the body. ignore: forward without If-None-Match. ok: forward and answer.
Fault = Literal["drop", "refuse", "busy", "busy_done", "half", "ignore", "ok"]
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect"}
_BUSY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>later</Message></Error>"


class FaultyProxy:
    """The proxy; a context manager.

    Attributes:
        endpoint: its URL, to be used as the S3 endpoint.
        faults: what happens to the next requests; behind them, `then`.
        then: what happens to requests without a fault of their own.
        seen: method and path of each request that came.
        before: called with the method before a request is forwarded.
    """

    def __init__(self, upstream: str, faults: Iterable[Fault] = (), then: Fault = "ok") -> None:
        self._upstream = urllib.parse.urlsplit(upstream).netloc
        self.faults: deque[Fault] = deque(faults)
        self.then: Fault = then
        self.seen: list[tuple[str, str]] = []
        self.before: Callable[[str], None] = lambda _method: None
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> FaultyProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def next_fault(self, method: str, path: str) -> Fault:
        """The fault of the request that has just come."""
        with self._lock:
            self.seen.append((method, path))
            return self.faults.popleft() if self.faults else self.then

    def forward(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """What the real S3 says to a request."""
        connection = http.client.HTTPConnection(self._upstream, timeout=30)
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fault = proxy.next_fault(self.command, self.path)
                proxy.before(self.command)
                if fault == "refuse":
                    self._break()
                    return
                status, headers, answer = 503, [("Content-Type", "application/xml")], _BUSY
                if fault != "busy":
                    sent = dict(self.headers.items())
                    if fault == "ignore":
                        sent = {k: v for k, v in sent.items() if k.lower() != "if-none-match"}
                    real = proxy.forward(self.command, self.path, sent, body)
                    if fault == "drop":
                        self._break()
                        return
                    if fault != "busy_done":
                        status, headers, answer = real
                self.send_response(status)
                length = str(len(answer))
                for name, value in headers:
                    if self.command == "HEAD" and name.lower() == "content-length":
                        length = value
                    elif name.lower() not in _HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", length)
                self.end_headers()
                if self.command == "HEAD":
                    return
                if fault == "half":
                    self.wfile.write(answer[: len(answer) // 2])
                    self._break()
                else:
                    self.wfile.write(answer)

            def _break(self) -> None:
                """Reset the connection: the client cannot know how far its request came."""
                self.wfile.flush()
                self.close_connection = True
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _serve  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                return

            def handle(self) -> None:
                try:
                    super().handle()
                except (OSError, ValueError):
                    return  # a connection that was broken on purpose

            def finish(self) -> None:
                try:
                    super().finish()
                except (OSError, ValueError):
                    return

        return Handler
