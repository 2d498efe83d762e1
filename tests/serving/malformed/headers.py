"""What is wrong before the body: paths, methods, headers, and bytes that are no HTTP."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator

from tests.serving.malformed.case import Case, body
from tests.serving.malformed.v1 import DEMAND, GOOD
from tests.serving.raw import chunked, get, post

SENT = json.dumps(GOOD["demand"]).encode()
CLOSES = "no HTTP/1.1"


def cases() -> Iterator[Case]:
    """To a server of `demand`."""
    yield from _content()
    yield from _paths()
    yield from _identity()
    yield from _framing()


def _content() -> Iterator[Case]:
    kinds = ["text/plain", "text/csv", "application/xml", "application/x-www-form-urlencoded", "image/png", "*/*", ""]
    kinds += ["multipart/form-data; boundary=x", "application/octet-stream", "application/jsonp", "json", ";", "é"]
    for kind in kinds:
        headers = {"Content_Type": kind}
        yield body(
            DEMAND, f"content type {kind!r}", SENT, 415, "application/json", "Content-Type", kind=None, **headers
        )
    for charset in ("utf-16", "latin-1", "ascii", "utf-8; x", "utf-7"):
        kind = f"application/json; charset={charset}"
        yield body(DEMAND, kind, SENT, 415, "UTF-8", "Content-Type", kind=kind)
    packed = {"gzip": gzip.compress(SENT), "deflate": zlib.compress(SENT), "br": SENT, "zstd": SENT, "x": SENT}
    for coding, sent in {**packed, "gzip, gzip": SENT, "identity, gzip": SENT, "GZIP": SENT}.items():
        yield body(DEMAND, f"encoding {coding}", sent, 415, "encoding", "Content-Encoding", Content_Encoding=coding)


def _paths() -> Iterator[Case]:
    for name in ("other", "Demand", "demand ", "%00", "%ff", "..", "x" * 5000, "%2e%2e", "😀".encode().hex()):
        quoted = name.replace(" ", "%20")
        yield body(f"/v1/models/{quoted}:predict", f"model {name[:9]!r}", SENT, 404, "not served here")
        yield body(f"/v2/models/{quoted}/infer", f"model {name[:9]!r} (V2)", SENT, 404, "not served here")
    for version in ("v9-00000000", "1", "%00", "latest", "x" * 300):
        path = f"/v2/models/demand/versions/{version}/infer"
        yield body(path, f"version {version[:12]!r}", {"inputs": []}, 404, "version", "")
        yield Case(f"metadata of {version[:12]!r}", get(f"/v2/models/demand/versions/{version}"), 404, "version")
    nothing = ["/nothing", "//", "/v1", "/v1/models/demand:explain", "/v1/models/demand:predict/", "/v2/models//infer"]
    nothing += [
        "/v1/models/demand",
        "/V1/models/demand:predict",
        "/v2/models/demand/infer/x",
        "/metrics",
        "/.git/config",
    ]
    for path in nothing:
        yield body(path, f"POST {path}", SENT, 405 if path == "/v1/models/demand" else 404, "")
    for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        for path in (DEMAND, "/v2/models/demand/infer", "/feedback"):
            yield Case(f"{method} {path}", get(path, method), 405, "" if method == "HEAD" else "expected POST")
    for method in ("POST", "PUT", "DELETE"):
        for path in ("/v2/health/live", "/v2/health/ready", "/v2", "/v1/models", "/v2/models/demand", "/docs", "/"):
            yield Case(f"{method} {path}", post(path, b"").replace(b"POST", method.encode(), 1), 405, "GET")


def _identity() -> Iterator[Case]:
    good = "0193a6a0-0000-7000-8000-000000000000"
    wrong = ["7", "", "x" * 3000, good, f"{good}-1", f"{good}-00", f"{good.upper()}-0".replace("0193A", "0193b") + " "]
    wrong += [
        good.replace("-7000-", "-4000-") + "-0",
        f"{good}-0, {good}-0",
        "é",
        good.replace("0193a", "0193A") + "-0",
    ]
    for given in wrong:
        name = f"prediction id {given[:40]!r}"
        yield body(DEMAND, name, SENT, 400, "prediction id", "X-Prediction-Id", X_Prediction_Id=given)
    for given in ("x" * 129, "a b", "é", "", "\t"):
        name = f"request id {given[:10]!r}"
        yield body(DEMAND, name, SENT, 400, "request id", "X-Request-Id", X_Request_Id=given)


def _framing() -> Iterator[Case]:
    """Broken HTTP; the connection ends after these, in order."""
    head = f"POST {DEMAND} HTTP/1.1\r\nHost: x\r\n".encode()
    chunky = head + b"Transfer-Encoding: chunked\r\n\r\n"
    broken = {
        "no request line": b"hello\r\n\r\n",
        "zeros": b"\0" * 64,
        "TLS": bytes.fromhex("160301020001000001fc0303") + b"x" * 100,
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "HTTP/3.0": b"GET / HTTP/3.0\r\n\r\n",
        "unknown method": b"PREDICT / HTTP/1.1\r\n\r\n",
        "path not ASCII": "GET /é HTTP/1.1\r\n\r\n".encode(),
        "no path": b"GET  HTTP/1.1\r\n\r\n",
        "header without colon": head + b"nonsense\r\n\r\n",
        "header with a space": head + b"Bad Name: x\r\n\r\n",
        "header folded over": head + b"X: a\r\n b\r\n\r\n",
        "header with nul": head + b"X: a\0b\r\n\r\n",
        "two lengths": head + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "negative length": head + b"Content-Length: -5\r\n\r\nhello",
        "length in words": head + b"Content-Length: five\r\n\r\nhello",
        "length beyond 64 bits": head + b"Content-Length: 99999999999999999999999\r\n\r\nhello",
        "length and chunks": head + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "chunked twice over": head + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "no chunk size": chunky + b"zz\r\nabc\r\n",
        "chunk longer than it says": chunky + b"3\r\nabcdef\r\n0\r\n\r\n",
        "chunk size beyond 64 bits": chunky + b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "negative chunk": chunky + b"-3\r\nabc\r\n0\r\n\r\n",
    }
    for name, sent in broken.items():
        yield Case(name, sent, 400, CLOSES, "", closes=True)
    long = {
        "long request line": b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
        "long header": head + b"X: " + b"x" * 100_000 + b"\r\n\r\n",
        "long header without an end": head + b"X: " + b"x" * 200_000,
        "10,000 headers": head + b"X: abcdef\r\n" * 10_000 + b"\r\n",
        "long chunk extension": chunky + b"3;" + b"x" * 400_000,
        "long trailer": chunky + b"3\r\nabc\r\n0\r\nX: " + b"x" * 400_000,
    }
    for name, sent in long.items():
        yield Case(name, sent, 431, "too long", "", closes=True)
    yield Case("a proxy asked for", b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", 405, "no proxy", "", closes=True)
    yield Case("chunks that are no JSON", chunked(DEMAND, [b"{", b"]"]), 400, "no JSON", "body")
    yield Case("chunks of nothing", chunked(DEMAND, []), 400, "no JSON", "body")
    old = f"POST {DEMAND} HTTP/1.0\r\nContent-Length: 1\r\n\r\n[".encode()
    yield Case("HTTP/1.0", old, 400, "no JSON", "body", closes=True)
    last = post(DEMAND, b"[", Connection="close")
    yield Case("connection: close", last, 400, "no JSON", "body", closes=True)
