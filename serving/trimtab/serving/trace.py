"""Request ids and W3C trace contexts: taken in, logged with the rows, given back; spans where a collector is named.

Without either header and without a collector a request costs two look-ups here.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trimtab.core.errors import RequestError

if TYPE_CHECKING:
    from trimtab.serving.http import Headers

logger = logging.getLogger(__name__)

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
# https://www.w3.org/TR/trace-context/: version, trace, parent, flags; later versions may append to it.
_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
# What waits for the collector when a server stops.
FLUSH_SECONDS = 5.0


class Trace:
    """One request's id and place in a trace.

    Attributes:
        request_id: as the client gave it, or empty.
        trace_id: 32 hex digits, or empty where the request belongs to no trace.
        headers: what its answer carries.
    """

    __slots__ = ("_span", "headers", "request_id", "trace_id")

    def __init__(self, request_id: str, trace_id: str, headers: Headers, span: Any = None) -> None:
        self.request_id, self.trace_id, self.headers = request_id, trace_id, headers
        self._span = span

    def end(self, version: str, code: int) -> None:
        """The request was answered; 0: by the connection."""
        span = self._span
        if span is not None:
            if code:
                span.set_attribute("http.response.status_code", code)
            span.set_attribute("trimtab.version", version)
            if code >= 500:
                from opentelemetry.trace import StatusCode

                span.set_status(StatusCode.ERROR)
            span.end()


class Tracing:
    """Reads request ids and trace contexts.

    Args:
        spans: makes a span of each request; None where no collector is named.
    """

    def __init__(self, spans: Spans | None = None) -> None:
        self._spans = spans

    def context(self, headers: Mapping[bytes, bytes], protocol: str) -> Trace | None:
        """The request's id and trace; None where it has neither.

        Args:
            headers: the request's, names in lower case.
            protocol: `v1` or `v2`.

        Raises:
            RequestError: 400, the request id cannot be given back.
        """
        given, parent = headers.get(b"x-request-id"), headers.get(b"traceparent")
        spans = self._spans
        if given is None and parent is None and (spans is None or spans.tracer is None):
            return None
        answer: Headers = []
        request_id = ""
        if given is not None:
            if not _REQUEST_ID.fullmatch(given):
                raise RequestError(
                    400,
                    "the request id is malformed",
                    object="X-Request-Id",
                    expected="1 to 128 printable ASCII characters without spaces",
                    got=repr(given[:60].decode("latin-1")),
                )
            request_id = given.decode("ascii")
            answer.append((b"x-request-id", given))
        trace_id, parent_id, flags = read_parent(parent)
        if spans is not None and spans.tracer is not None:
            span, trace_id, parent_id, flags = spans.start(trace_id, parent_id, flags, protocol, request_id)
        else:
            span, parent_id = None, os.urandom(8).hex() if trace_id else ""
        if trace_id:
            answer.append((b"traceparent", f"00-{trace_id}-{parent_id}-{flags}".encode()))
        return Trace(request_id, trace_id, answer, span)

    def close(self) -> None:
        """Send what waits for the collector, for a few seconds at most."""
        if self._spans is not None:
            self._spans.close()


def echoes(headers: Mapping[bytes, bytes]) -> Headers:
    """What an answer beside predict and infer carries: the request's id and trace, as far as they are well formed."""
    given, parent = headers.get(b"x-request-id"), headers.get(b"traceparent")
    found: Headers = []
    if given is not None and _REQUEST_ID.fullmatch(given):
        found.append((b"x-request-id", given))
    trace_id, _, flags = read_parent(parent)
    if trace_id:
        found.append((b"traceparent", f"00-{trace_id}-{os.urandom(8).hex()}-{flags}".encode()))
    return found


def read_parent(header: bytes | None) -> tuple[str, str, str]:
    """Trace, parent and flags of a `traceparent` header; empty where it is none, as the standard asks.

    >>> read_parent(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    ('0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331', '01')
    >>> read_parent(b"00-00000000000000000000000000000000-b7ad6b7169203331-01")
    ('', '', '00')
    """
    match = _PARENT.fullmatch(header) if header is not None and len(header) <= 512 else None
    if match is None:
        return "", "", "00"
    version, trace, parent, flags, more = match.groups()
    if version == b"ff" or (version == b"00" and more) or not trace.strip(b"0") or not parent.strip(b"0"):
        return "", "", "00"
    return trace.decode(), parent.decode(), "01" if int(flags, 16) & 1 else "00"


class Spans:
    """OpenTelemetry spans, sent to the collector that `OTEL_EXPORTER_OTLP_ENDPOINT` names.

    The SDK is imported and set up in a thread, since that takes longer than the server's own start; requests until
    then have no span. What the collector does not take in time is dropped by the SDK; no answer waits for it.

    Attributes:
        tracer: the SDK's, once it is there.

    Args:
        model: the model's name, an attribute of every span.
        server: this start's name, the service's instance.
    """

    def __init__(self, model: str, server: str) -> None:
        self.tracer: Any = None
        self._model, self._server = model, server
        self._provider: Any = None
        self._thread = threading.Thread(target=self._set_up, name="spans", daemon=True)
        self._thread.start()

    def start(
        self, trace_id: str, parent_id: str, flags: str, protocol: str, request_id: str
    ) -> tuple[Any, str, str, str]:
        """A started span below the given one, with its trace, its id and its flags."""
        from opentelemetry import trace as api

        context = api.set_span_in_context(api.INVALID_SPAN)
        if trace_id:
            given = api.SpanContext(int(trace_id, 16), int(parent_id, 16), True, api.TraceFlags(int(flags, 16)))
            context = api.set_span_in_context(api.NonRecordingSpan(given))
        attributes = {"http.request.method": "POST", "trimtab.model": self._model, "trimtab.protocol": protocol}
        if request_id:
            attributes["http.request.header.x-request-id"] = request_id
        name = "predict" if protocol == "v1" else "infer"
        span = self.tracer.start_span(
            f"{name} {self._model}", context=context, kind=api.SpanKind.SERVER, attributes=attributes
        )
        own = span.get_span_context()
        flags = "01" if own.trace_flags & 1 else "00"
        return span, api.format_trace_id(own.trace_id), api.format_span_id(own.span_id), flags

    def close(self) -> None:
        """Send what is left, for a few seconds at most."""
        self.tracer = None
        self._thread.join(FLUSH_SECONDS)
        if self._provider is not None:
            flushing = threading.Thread(target=self._provider.shutdown, daemon=True)
            flushing.start()
            flushing.join(FLUSH_SECONDS)

    def _set_up(self) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            logger.warning("a collector is named, but no spans are sent: %s; install trimtab[tracing]", error)
            return
        try:
            # The SDK's own variables (service name, attributes, sampler, headers) hold beside these.
            given = Resource.create({"service.instance.id": self._server})
            if str(given.attributes.get("service.name", "")).startswith("unknown_service"):
                given = given.merge(Resource({"service.name": "trimtab"}))
            self._provider = TracerProvider(resource=given, shutdown_on_exit=False)
            self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
            self.tracer = self._provider.get_tracer("trimtab")
        except Exception:  # a wrong variable of the SDK must not end a server
            logger.exception("no spans are sent: OpenTelemetry could not be set up")


def make_tracing(endpoint: str, model: str, server: str) -> Tracing:
    """What a server traces with.

    Args:
        endpoint: the collector's URL (`settings.otlp_endpoint`); empty: no spans.
        model: the model's name.
        server: this start's name.
    """
    return Tracing(Spans(model, server) if endpoint else None)
