"""One inference request on its way through the app: admitted, given to a version, recorded, answered or refused."""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING

import numpy as np

from trimtab.core.errors import RequestError
from trimtab.serving.calls import Answer, Call, Decoded, Prediction
from trimtab.serving.http import JSON_LENGTH, STATUS, Headers, check_content, error_body, too_long
from trimtab.serving.rows import Answered

if TYPE_CHECKING:
    from trimtab.serving.app import InferenceApp
    from trimtab.serving.heads import Head
    from trimtab.serving.hooks import Slot, Trace
    from trimtab.serving.http import Scope
    from trimtab.serving.model import LoadedModel

_VARIANT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
_JSON = b"\r\ncontent-type: application/json"
_BINARY = b"\r\ncontent-type: application/octet-stream\r\ninference-header-content-length: "


class Exchange:
    """One request; `leave` is called once, whatever became of it.

    Args:
        app: whose neighbours are asked.
        head: the request's.
    """

    __slots__ = ("_app", "_head", "_started", "_trace", "call", "code", "model", "share", "slot", "version")

    def __init__(self, app: InferenceApp, head: Head) -> None:
        self._started = time.perf_counter()
        self._app, self._head = app, head
        self.version, self.code = "", 500
        self.slot: Slot | None = None
        self._trace: Trace | None = None

    def enter(self, scope: Scope, *, at_once: bool = False) -> None:
        """What can be said before the body: who asks, and whether there is room.

        Args:
            scope: the request's.
            at_once: it is whole and quick: it takes no room, and can only have waited too long already.

        Raises:
            RequestError: 4xx, 503.
        """
        app, head = self._app, self._head
        headers = head.headers
        if app.tracing is not None:
            self._trace = app.tracing.context(headers, head.codec.name)
        if app.keys is not None:
            app.keys.check(head.authorization)
        self.call = Call(head.own_id() or app.ids.fresh(), headers)
        if app.admission is not None:
            if at_once:
                app.admission.glance(headers)
            else:
                self.slot = app.admission.enter(scope, headers)
        if head.length < 0:  # one that is kept was looked at already
            check_content(headers, head.codec.binary)

    def choose(self, size: int, named: str | None) -> LoadedModel:
        """The version that answers a body of so many bytes, or the one that was named.

        Raises:
            RequestError: 404, 413, 429, 503, 504.
        """
        if self.slot is not None:
            self.slot.check()
        app, traffic = self._app, self._app.traffic
        if named is None:
            self.model, self.share = traffic.choose(self._head.key or self.call.uuid.encode())
        else:
            self.model, self.share = traffic.named(named)
        self.version = self.model.version
        limit = app.config.body_bytes or self.model.limits.body_bytes
        if size > limit:
            raise too_long(limit, f"{size} bytes")
        return self.model

    def record(self, decoded: Decoded, said: Prediction) -> None:
        """Log and count what was answered; before it is sent, so that who has the answer finds its row."""
        self.code = 200
        app, version, trace, share, uuid = self._app, self.version, self._trace, self.share, self.call.uuid
        records, outputs, scores = decoded.records, said.outputs, said.probabilities
        latency = (time.perf_counter() - self._started) * 1000
        micros = time.time_ns() // 1000
        if trace is None and isinstance(records, bytes):
            app.log.append_single(version, uuid, micros, latency, share, records, outputs[0], scores)
        else:
            request, traced = ("", "") if trace is None else (trace.request_id, trace.trace_id)
            if isinstance(records, bytes):
                assert self.model.matrix is not None  # it made them
                records = self.model.matrix.unpacked(records)
            app.log.append(Answered(version, uuid, micros, latency, share, records, outputs, scores, request, traced))
        if not self.model.classifies:
            app.metrics.predicted(version, "value", len(outputs))
        elif len(outputs) == 1:
            app.metrics.predicted(version, outputs[0])
        elif said.places is not None:
            app.metrics.predicted_many(version, self.model.classes, np.bincount(said.places).tolist())
        if app.shadow is not None:
            app.shadow.offer(self.model, decoded.tensors, outputs)

    def fields(self, answer: Answer) -> Headers:
        """The headers of an answer."""
        fields = [(b"x-prediction-id", f"{self.call.uuid}-0".encode()), (b"x-model-version", self.version.encode())]
        if answer.json:
            fields += [(b"content-type", b"application/octet-stream"), (JSON_LENGTH, b"%d" % answer.json)]
        if self._trace is not None:
            fields += self._trace.headers
        return fields

    def response(self, answer: Answer) -> bytes:
        """The same as a whole HTTP response."""
        body = answer.body
        if self._trace is not None:
            return http_response(200, body, self.fields(answer))
        head, uuid = self.model.prepared.head, self.call.uuid.encode()
        if answer.json:
            return b"%b%b-0\r\ncontent-length: %d%b%d\r\n\r\n%b" % (head, uuid, len(body), _BINARY, answer.json, body)
        return b"%b%b-0\r\ncontent-length: %d%b\r\n\r\n%b" % (head, uuid, len(body), _JSON, body)

    def refuse(self, error: RequestError) -> tuple[int, bytes, Headers]:
        """Status, body and headers of a refusal."""
        self.code = error.status
        fields = error_headers(error)
        if self.version:
            fields.append((b"x-model-version", self.version.encode()))
        if self._trace is not None:
            fields += self._trace.headers
        return error.status, error_body(error), fields

    def told(self) -> dict[str, str]:
        """What a line of the server's own log says of it."""
        trace = self._trace
        return {} if trace is None else {"request": trace.request_id, "trace": trace.trace_id}

    def withdraw(self) -> None:
        """Give everything back uncounted: it begins anew elsewhere."""
        if self.slot is not None:
            self.slot.leave()
            self.slot = None

    def leave(self) -> None:
        """Give the room back, and count the request, unless the connection has answered and counted it (code 0)."""
        if self.slot is not None:
            self.slot.leave()
        if self.code:
            taken = time.perf_counter() - self._started
            self._app.metrics.answered(self.version, self._head.codec.name, self.code, taken)
        if self._trace is not None:
            self._trace.end(self.version, self.code)


class Ids:
    """Makes the UUIDs (version 7) of requests; for one thread.

    Randomness is fetched for many at once: asking the kernel each time costs more than all else here.
    """

    def __init__(self) -> None:
        self._random, self._at = "", 0

    def fresh(self) -> str:
        """A fresh one.

        >>> Ids().fresh()[14]
        '7'
        """
        at = self._at
        if at + 19 > len(self._random):
            self._random, at = os.urandom(19 * 256).hex(), 0
        self._at = at + 19
        bits = self._random[at : at + 19]
        millis = f"{time.time_ns() // 1_000_000:012x}"
        return f"{millis[:8]}-{millis[8:]}-7{bits[:3]}-{_VARIANT[bits[3]]}{bits[4:7]}-{bits[7:]}"


def error_headers(error: RequestError) -> Headers:
    """What a refusal's status asks for beside its body."""
    if error.status == 401:
        return [(b"www-authenticate", b"Bearer")]
    if error.status == 405:
        return [(b"allow", error.expected.encode())]
    if error.status in {429, 503}:
        return [(b"retry-after", b"%d" % max(1, math.ceil(getattr(error, "retry_after", 1))))]
    return []


def http_response(status: int, body: bytes, fields: Headers) -> bytes:
    """A whole HTTP response; JSON unless the headers say otherwise."""
    lines = [STATUS[status], b"content-length: %d\r\n" % len(body)]
    lines += [b"%b: %b\r\n" % field for field in fields]
    if not any(name == b"content-type" for name, _ in fields):
        lines.append(b"content-type: application/json\r\n")
    return b"".join([*lines, b"\r\n", body])
