"""A raw keep-alive connection: what is sent is what is written, byte for byte."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any
from urllib.parse import urlsplit


class Raw:
    """One connection to a server; `ask` sends bytes and reads one answer."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=120)
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self.file.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Write bytes as they are."""
        self.socket.sendall(data)

    def answer(self, head: bool = False) -> tuple[int, dict[str, str], Any]:
        """Read one answer: status, headers, decoded JSON (or bytes); `head`: to a HEAD request, which has no body."""
        line = self.file.readline()
        assert line, "the server closed the connection"
        status = int(line.split()[1])
        headers: dict[str, str] = {}
        while (line := self.file.readline().strip()) != b"":
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        body = b"" if head else self.file.read(int(headers.get("content-length", "0")))
        try:
            return status, headers, json.loads(body)
        except ValueError:
            return status, headers, body

    def ask(self, data: bytes) -> tuple[int, dict[str, str], Any]:
        """Send bytes, read one answer."""
        self.send(data)
        return self.answer()


def reset(raw: Raw) -> None:
    """End a connection as a client does that dies."""
    raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.close()


def post(path: str, body: bytes | object, kind: str | None = "application/json", **headers: str) -> bytes:
    """A POST with its length; a body that is no bytes is sent as JSON."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(sent)}"]
    lines += [f"Content-Type: {kind}"] if kind else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + sent


def chunked(path: str, chunks: list[bytes]) -> bytes:
    """A POST whose body comes in chunks, its length untold."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode() + b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"


def get(path: str, method: str = "GET") -> bytes:
    """A request without a body."""
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode("latin-1")
