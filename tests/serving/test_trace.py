"""Request ids and trace contexts: taken in, given back, logged with the rows; spans reach a collector where one is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.serving.bundles import Place, Running, running
from tests.serving.raw import Raw, post

from trimtab.core import predictions
from trimtab.core.errors import RequestError
from trimtab.serving.trace import Tracing, make_tracing

V1 = "/v1/models/demand:predict"
ROWS = {"instances": [[1, 2, 3, 4], [1, 2, 3, 5]]}
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_neither_header_costs_and_gives_nothing() -> None:
    assert Tracing().context({b"host": b"x"}, "v1") is None


@pytest.mark.parametrize(
    ("header", "trace"),
    [
        (f"00-{TRACE}-{PARENT}-01", TRACE),
        (f"00-{TRACE}-{PARENT}-00", TRACE),
        (f"cc-{TRACE}-{PARENT}-01-what-the-future-brings", TRACE),
        (f"00-{TRACE}-{PARENT}-01-more", ""),
        (f"ff-{TRACE}-{PARENT}-01", ""),
        (f"00-{'0' * 32}-{PARENT}-01", ""),
        (f"00-{TRACE}-{'0' * 16}-01", ""),
        (f"00-{TRACE.upper()}-{PARENT}-01", ""),
        ("nonsense", ""),
    ],
)
def test_a_trace_context_is_continued_and_a_malformed_one_passed_over(header: str, trace: str) -> None:
    found = make_tracing("", "m", "s").context({b"traceparent": header.encode()}, "v1")
    assert found is not None
    assert found.trace_id == trace
    fields = dict(found.headers)
    if trace:
        version, same, span, flags = fields[b"traceparent"].decode().split("-")
        assert (version, same, len(span), flags) == ("00", TRACE, 16, header.split("-")[3])
        assert span != PARENT
    else:
        assert fields == {}


@pytest.mark.parametrize("given", [b"", b"x" * 129, b"a b", b"\xe9", b"a\x7f"])
def test_a_request_id_that_cannot_be_given_back_is_refused(given: bytes) -> None:
    with pytest.raises(RequestError, match="request id is malformed"):
        Tracing().context({b"x-request-id": given}, "v1")


def logged(place: Place, version: str) -> list[dict[str, Any]]:
    keys = list(predictions.list_files(place.store, "demand", version))
    columns = ["_id", "_request", "_trace", "_share"]
    found: list[dict[str, Any]] = predictions.read_files(place.store, keys, columns).to_pylist()
    return found


def test_ids_are_given_back_and_logged_with_the_rows(place: Place) -> None:
    version = place.serve("demand", "numbers")
    given = {"X_Request_Id": "order-17/a", "traceparent": f"00-{TRACE}-{PARENT}-01"}
    with running(place, "demand") as server, Raw(server.url) as raw:
        status, headers, _ = raw.ask(post(V1, ROWS, **given))
        assert (status, headers["x-request-id"], headers["x-model-version"]) == (200, "order-17/a", version)
        assert headers["traceparent"].startswith(f"00-{TRACE}-")
        status, refused, _ = raw.ask(post(V1, {"instances": [[1]]}, **given))
        assert (status, refused["x-request-id"]) == (400, "order-17/a")
        beside: list[tuple[str, object]] = [("/feedback", {}), ("/v1/models/none:predict", ROWS), ("/none", {})]
        for path, sent in beside:
            status, refused, _ = raw.ask(post(path, sent, **given))
            assert (status in {401, 404}, refused["x-request-id"]) == (True, "order-17/a")
            assert refused["traceparent"].startswith(f"00-{TRACE}-")
        token = place.settings.token_file.read_text().strip()
        label = {"labels": [{"key": "k", "value": 1.0}]}
        status, taken, _ = raw.ask(post("/feedback", label, Authorization=f"Bearer {token}", **given))
        assert (status, taken["x-request-id"]) == (202, "order-17/a")
        plain = raw.ask(post(V1, ROWS))[1]
        assert "x-request-id" not in plain
        assert "traceparent" not in plain
        server.until(lambda: server.metric("trimtab_log_rows_total", outcome="written") == 4)
    rows = logged(place, version)
    asked = {(row["_request"], row["_trace"]) for row in rows if row["_id"].startswith(headers["x-prediction-id"][:-1])}
    assert asked == {("order-17/a", TRACE)}
    others = [row for row in rows if row["_id"].startswith(plain["x-prediction-id"][:-1])]
    assert [(row["_request"], row["_trace"]) for row in others] == [(None, None)] * 2


class Collector:
    """An OpenTelemetry collector as far as spans go: OTLP over HTTP, kept in memory."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        self.arrived = threading.Event()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    import gzip

                    body = gzip.decompress(body)
                for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                    facts = {fact.key: fact.value.string_value for fact in group.resource.attributes}
                    collector.resources.append(facts)
                    for scope in group.scope_spans:
                        collector.spans += scope.spans
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()
                collector.arrived.set()

            def log_message(self, format: str, *args: Any) -> None:
                """Requests are not worth a line."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def test_spans_reach_the_collector(place: Place, collector: Collector) -> None:
    pytest.importorskip("opentelemetry.sdk")
    place.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.url
    place.environ["OTEL_BSP_SCHEDULE_DELAY"] = "100"
    version = place.serve("demand", "numbers")
    with running(place, "demand") as server, Raw(server.url) as raw:
        server.until(lambda: "traceparent" in raw.ask(post(V1, ROWS))[1])  # the SDK is there
        given = {"X_Request_Id": "r1", "traceparent": f"00-{TRACE}-{PARENT}-01"}
        headers = raw.ask(post(V1, ROWS, **given))[1]
        bad = raw.ask(post("/v2/models/demand/infer", {"inputs": 3}, **given))[1]
        unsampled = raw.ask(post(V1, ROWS, traceparent=f"00-{'1' * 32}-{PARENT}-00"))[1]
        assert unsampled["traceparent"].startswith(f"00-{'1' * 32}-")
    # The server has ended: what waited was sent.
    ours = {span.span_id.hex(): span for span in collector.spans if span.trace_id.hex() == TRACE}
    good = ours[headers["traceparent"].split("-")[2]]
    assert (good.name, good.parent_span_id.hex(), good.kind) == ("predict demand", PARENT, 2)
    facts = {fact.key: fact.value for fact in good.attributes}
    assert facts["http.response.status_code"].int_value == 200
    assert facts["trimtab.version"].string_value == version
    assert facts["http.request.header.x-request-id"].string_value == "r1"
    refused = ours[bad["traceparent"].split("-")[2]]
    assert {f.key: f.value for f in refused.attributes}["http.response.status_code"].int_value == 400
    assert not any(span.trace_id.hex() == "1" * 32 for span in collector.spans)
    assert {facts["service.name"] for facts in collector.resources} == {"trimtab"}


@pytest.mark.campaign
def test_a_collector_that_is_away_holds_up_nobody(place: Place) -> None:
    place.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
    place.serve("demand", "numbers")
    with running(place, "demand") as server, Raw(server.url) as raw:
        assert [raw.ask(post(V1, ROWS))[0] for _ in range(20)] == [200] * 20
        _ends_well(server)


def _ends_well(server: Running) -> None:
    assert server.process.poll() is None
    assert server.metric("trimtab_server_requests_total", code="500") == 0
