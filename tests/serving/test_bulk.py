"""Many rows as bytes are answered where they are read, also when they come in pieces, as they are the long way."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.serving.here import LIMIT, ROWS, Here, X, cleaned, counts, pieces, request, started, told
from tests.serving.raw import Raw, get, reset

from trimtab.core.tokens import accept, fresh
from trimtab.serving import fast
from trimtab.serving.admission import Admission
from trimtab.serving.app import BULK_BYTES, INLINE_BYTES
from trimtab.serving.keys import Keys
from trimtab.serving.limits import Limits
from trimtab.serving.memory import BODIES
from trimtab.serving.shadow import Shadow
from trimtab.serving.trace import make_tracing
from trimtab.serving.traffic import Traffic


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    with started(tmp_path_factory.mktemp("bulk")) as one:
        yield one


@pytest.fixture(autouse=True, params=["parsed", "known"])
def clean(server: Here, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test runs once with heads that nobody knows, and once with heads that were seen before."""
    with cleaned(server, monkeypatch, known=request.param == "known"):
        yield


def test_rows_in_pieces_are_answered_at_once_and_the_same(server: Here) -> None:
    assert X.nbytes > INLINE_BYTES
    with Raw(server.url) as raw:
        expected = told(raw.ask(request(chunks=True)))
        assert expected[0] == 200
        assert server.app.long == 1
        whole = request()
        head = whole.index(b"\r\n\r\n") + 4
        for cuts in ([], [head], [head + 1], [head + 300], [head + 50_000], [head + 7, 40_000, len(whole) - 1]):
            pieces(raw, server, whole, *cuts)
            assert told(raw.answer()) == expected
        assert told(raw.ask(request(tail=X[::-1].tobytes()))) != expected
        assert server.app.long == 1


def test_requests_behind_each_other_keep_their_order(server: Here) -> None:
    asked = [X, X[:1], X[::-1].copy(), X[:5], X]
    with Raw(server.url) as raw:
        alone = [told(raw.ask(request(x))) for x in asked]
        raw.send(b"".join(request(x) for x in asked))
        assert [told(raw.answer()) for _ in asked] == alone


@pytest.mark.parametrize(
    "odd",
    [
        {"tail": X.tobytes()[:-4]},
        {"tail": np.where(X > 3, np.nan, X).tobytes()},
        {"tensor": {"name": "other"}},
        {"tensor": {"datatype": "FP64", "shape": [ROWS // 2, 4]}},
        {"tensor": {"datatype": "BYTES"}},
        {"tensor": {"shape": [ROWS + 1, 4]}, "tail": np.vstack([X, X[:1]]).tobytes()},
        {"outputs": [{"name": "value", "parameters": {"binary_data": False}}]},
        {"outputs": [{"name": "no such"}]},
        {"id": 1},
        {"id": "x" * 5000},
        {"headers": {"Content-Encoding": "gzip"}},
        {"headers": {"X-Trimtab-Deadline-Ms": "60000"}},
        {"headers": {"X-Trimtab-Deadline-Ms": "soon"}},
    ],
    ids=lambda odd: next(iter(odd)) + "-" + str(next(iter(odd.values())))[:24],
)
def test_all_else_is_answered_as_on_the_long_way(server: Here, odd: dict[str, Any]) -> None:
    with Raw(server.url) as raw:
        expected = told(raw.ask(request(chunks=True, **dict(odd))))
        whole = request(**dict(odd))
        assert told(raw.ask(whole)) == expected
        pieces(raw, server, whole, whole.index(b"\r\n\r\n") + 40_000)
        assert told(raw.answer()) == expected


def test_a_body_that_does_not_come_soon_is_awaited_the_long_way(server: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "SOON", 0.0)
    with Raw(server.url) as raw:
        raw.send(request()[:30_000])
        server.until(lambda: server.app.long == 1)
        assert server.app.metrics.in_flight.value == 1
        raw.send(request()[30_000:])
        assert raw.answer()[0] == 200


def test_who_may_not_ask_is_told_before_the_body(server: Here, tmp_path: Path) -> None:
    accept(tmp_path / "keys.json", key := fresh())
    server.app.keys = Keys(tmp_path / "keys.json", True)
    with Raw(server.url) as raw:
        raw.send(request()[:50_000])
        assert raw.answer()[0] == 401
    with Raw(server.url) as raw:
        assert raw.ask(request(headers={"Authorization": f"Bearer {key}"}))[0] == 200


def test_bodies_that_are_on_their_way_share_the_memory(server: Here) -> None:
    taken = server.app.memory.share(LIMIT)
    server.on_loop(lambda: taken.hold(BODIES * LIMIT))
    try:
        with Raw(server.url) as raw:
            raw.send(request()[:50_000])
            assert raw.answer()[0] == 429
    finally:
        server.on_loop(taken.release)
    half = request()
    with Raw(server.url) as one:
        pieces(one, server, half[:60_001], 60_000)
        server.until(lambda: server.app.memory.held >= 60_000)
    # The client has gone: what its body took is given back (`clean` waits for it).


def test_a_body_that_is_too_long_is_refused_before_it_comes(server: Here) -> None:
    with Raw(server.url) as raw:
        whole = request(tail=b"0" * LIMIT)
        raw.send(whole[:50_000])
        assert raw.answer()[0] == 413
    assert server.app.long == 1


def test_a_body_that_ends_early_is_told_so(server: Here) -> None:
    with Raw(server.url) as raw:
        raw.send(request()[:50_000])
        raw.socket.shutdown(socket.SHUT_WR)
        status, _, body = raw.answer()
        assert status == 400
        assert "bytes of body" in body["expected"]


def test_a_server_that_ends_lets_a_body_come(server: Here) -> None:
    whole = request()
    with Raw(server.url) as raw:
        pieces(raw, server, whole[:50_001], 50_000)
        server.until(lambda: any(one._size > 50_000 for one in server.open))
        server.on_loop(lambda: [one.shutdown() for one in list(server.open) if one._size])
        raw.send(whole[50_001:])
        status, headers, _ = raw.answer()
        assert status == 200
        assert headers["connection"] == "close"
        assert raw.file.read() == b""


def test_a_large_model_is_not_run_at_once(server: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.models[0], "more_seconds", 1.0)
    with Raw(server.url) as raw:
        assert raw.ask(request())[0] == 200
    assert server.app.long == 1


def test_a_model_that_takes_longer_than_thought_is_not_run_at_once_again(
    server: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trimtab.serving.app.SURPRISE_SECONDS", 0.0)
    monkeypatch.setattr("trimtab.serving.app.WARY_SECONDS", 3600.0)
    with Raw(server.url) as raw:
        alone = told(raw.ask(request()))
        assert server.app.long == 0
        assert told(raw.ask(request())) == alone
        pieces(raw, server, request(), 50_000)
        assert told(raw.answer()) == alone
        assert server.app.long == 2
        assert raw.ask(request(X[:1]))[0] == 200
        assert server.app.long == 2  # it is for many rows alone
        server.app._wary_until = 0.0
        assert told(raw.ask(request())) == alone
        assert server.app.long == 2


def test_an_idle_connection_keeps_nothing_of_what_it_sent(server: Here) -> None:
    whole = request(headers={"X-Not": "seen before"})
    with Raw(server.url) as one, Raw(server.url) as other:
        assert one.ask(whole)[0] == 200
        pieces(other, server, whole, 50_000)
        assert other.answer()[0] == 200
        assert server.app.long == 0
        assert len(server.open) >= 2
        assert not any(connection._pieces or connection._data for connection in server.open)


def test_each_request_is_counted_once_and_logged_once(server: Here) -> None:
    before, bad = counts(server), request(tail=X.tobytes()[:-4])
    with Raw(server.url) as raw:
        ids = [raw.ask(whole)[1]["x-prediction-id"] for whole in (request(), request(chunks=True))]
        pieces(raw, server, request(), 50_000)
        ids.append(raw.answer()[1]["x-prediction-id"])
        assert raw.ask(bad)[0] == 400
        pieces(raw, server, bad, 50_000)
        assert raw.answer()[0] == 400
    logged = server.on_loop(lambda: [(f"{row.uuid}-0", len(row.outputs)) for row in server.app.log._queue])
    assert logged == [(one, ROWS) for one in ids]
    for _ in range(3):
        raw = Raw(server.url)
        pieces(raw, server, request()[:60_001], 60_000)
        reset(raw)
    with Raw(server.url) as raw:  # the end of what it sends, not of the connection
        raw.send(request()[:50_000])
        raw.socket.shutdown(socket.SHUT_WR)
        assert raw.answer()[0] == 400
    wanted = {("v2", 200): 3, ("v2", 400): 2, ("v2", 499): 3, ("http", 400): 1}
    server.until(lambda: server.app.metrics.in_flight.value == 0 and not server.open)
    assert counts(server) - before == wanted


def test_what_changes_while_a_body_comes_holds_for_it(server: Here, tmp_path: Path) -> None:
    app, (old, new) = server.app, server.models
    accept(tmp_path / "keys.json", key := fresh())
    whole = request(headers={"Authorization": f"Bearer {key}"})
    with Raw(server.url) as raw:
        first = raw.ask(whole)
        app.keys = Keys(tmp_path / "keys.json", True)
        pieces(raw, server, whole[:50_001], 50_000)
        app.traffic = Traffic(champion=new)
        raw.send(whole[50_001:])
        status, headers, body = raw.answer()
        assert (status, headers["x-model-version"]) == (200, new.version)
        assert (first[1]["x-model-version"], body == first[2]) == (old.version, False)
        pieces(raw, server, whole[:50_001], 50_000)
        app.keys = Keys(tmp_path / "none.json", True)
        raw.send(whole[50_001:])
        assert raw.answer()[0] == 401
        assert app.long == 0


def test_canary_shadow_and_trace_are_as_on_the_long_way(server: Here) -> None:
    app, (old, new) = server.app, server.models
    app.tracing = make_tracing("", "demand", "x")
    app.traffic = Traffic(champion=old, canary=new, percent=50)
    shadow = app.shadow = Shadow(app.metrics, Admission(lambda: app.traffic))
    shadow._wake.set()  # nobody takes what is offered
    x, versions = X[:300], []
    try:
        with Raw(server.url) as raw:
            shadow.model = old
            for i in range(12):
                asked = {
                    "X-Trimtab-Key": str(i),
                    "X-Request-Id": f"r{i}",
                    "Traceparent": f"00-{i + 1:032x}-{1:016x}-01",
                }
                short = raw.ask(request(X, headers=asked))
                long = raw.ask(request(X, headers=asked, chunks=True))
                assert told(short) == told(long)
                for name in ("x-model-version", "x-request-id"):
                    assert short[1][name] == long[1][name]
                assert short[1]["traceparent"].split("-")[1] == f"{i + 1:032x}"
                versions.append(short[1]["x-model-version"])
            assert set(versions) == {old.version, new.version}
            assert app.long == 12
            shadow.model = new
            app.traffic = Traffic(champion=old)
            assert raw.ask(request(x))[0] == 200
            (offered,) = shadow._queue
            assert np.array_equal(offered.tensors["input"], x)
    finally:
        app.shadow = None
        shadow.close()


def test_requests_of_all_kinds_behind_each_other(server: Here) -> None:
    other = get("/v2/models/demand")
    asked = [request(), other, request(chunks=True), request(), request(X[:1]), other, request(X[::-1].copy())]
    with Raw(server.url) as raw:
        alone = [told(raw.ask(one)) for one in asked]
        whole = b"".join(asked)
        for step in (len(whole), 100_000, 33_333):
            for start in range(0, len(whole), step):
                raw.send(whole[start : start + step])
            assert [told(raw.answer()) for _ in asked] == alone


@pytest.mark.parametrize("size", [INLINE_BYTES, INLINE_BYTES + 1, BULK_BYTES, BULK_BYTES + 1])
def test_the_bounds_of_a_body(server: Here, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    model = server.models[0]
    monkeypatch.setattr(model, "limits", Limits(max_rows=1 << 20))
    monkeypatch.setattr(model, "seconds", lambda _: 0.0)
    server.app.traffic = Traffic(champion=model)
    x = np.resize(X, ((size - 1000) // 16, 4))
    whole = request(x)
    whole = request(x, id="m" * (4 + size - len(whole.partition(b"\r\n\r\n")[2])))
    assert len(whole.partition(b"\r\n\r\n")[2]) == size
    with Raw(server.url) as raw:
        answer = told(raw.ask(whole))
        assert answer[0] == 200
        assert server.app.long == int(size > BULK_BYTES)
        assert told(raw.ask(whole.replace(b"POST /", b"POST http://x/", 1))) == answer  # another target, the long way


@pytest.mark.parametrize("first", [b"", get("/v2/health/live"), request(X[:1])], ids=["first", "behind-long", "behind"])
@pytest.mark.parametrize(
    ("broken", "status"),
    [
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (request(headers={"A": "x" * 66_000}), 431),
        (request(headers={"Transfer-Encoding": "chunked"}), 400),
        (request().replace(b"Content-Length: ", b"Content-Length: 0x"), 400),
        (request(headers={"content-length": "7"}), 400),
    ],
    ids=["connect", "head", "both", "hex", "twice"],
)
def test_what_is_refused_is_told_so_wherever_it_stands(server: Here, first: bytes, broken: bytes, status: int) -> None:
    for together in (False, True):
        with Raw(server.url) as raw:
            if together:  # in one piece, which the network alone does not promise
                server.until(lambda: len(server.open) == 1)
                server.on_loop(lambda: next(iter(server.open)).data_received(first + broken))
            elif first:
                assert raw.ask(first)[0] == 200
            if not together:
                raw.send(broken)
            elif first:
                assert raw.answer()[0] == 200
            assert raw.answer()[0] == status
            assert raw.file.read() == b""
        server.until(lambda: not server.open)


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        (b"HTTP/1.0", {}),
        (b"HTTP/1.1", {"Connection": "close"}),
        (b"HTTP/1.1", {"Expect": "100-continue"}),
        (b"HTTP/1.1", {"Connection": "Upgrade", "Upgrade": "h2c"}),
    ],
)
def test_what_asks_for_more_than_an_answer_gets_it(server: Here, line: bytes, fields: dict[str, str]) -> None:
    whole = request(headers=fields).replace(b"HTTP/1.1", line, 1)
    for cut in (None, whole.index(b"\r\n\r\n") + 4):
        with Raw(server.url) as raw:
            expected = told(raw.ask(request()))
            raw.send(whole[:cut])
            if "Expect" in fields:
                assert raw.file.readline() == b"HTTP/1.1 100 Continue\r\n"
                raw.file.readline()
            if cut:
                raw.send(whole[cut:])
            status, headers, body = raw.answer()
            assert (status, body) == expected
            if line == b"HTTP/1.0" or fields.get("Connection") == "close":
                assert headers["connection"] == "close"
                assert raw.file.read() == b""


def test_half_bodies_of_many_are_bounded(server: Here) -> None:
    half = request()[:60_000]
    memory, raws = server.app.memory, [Raw(server.url) for _ in range(20)]
    for raw in raws:
        raw.send(half)
    server.until(lambda: sum(one._size > 0 for one in server.open) == len(raws))
    assert 12 * len(half) <= server.on_loop(lambda: memory.held) <= BODIES * LIMIT
    raws[0].send(request()[60_000:])
    assert raws[0].answer()[0] == 200
    for raw in raws:
        reset(raw)


def test_a_client_that_does_not_read_holds_up_itself_alone(server: Here) -> None:
    with Raw(server.url) as raw, Raw(server.url) as other:
        alone = told(raw.ask(request()))
        sender = threading.Thread(target=raw.send, args=(request() * 400,))
        sender.start()
        server.until(lambda: any(one.flow.write_paused for one in server.open))
        assert told(other.ask(request())) == alone
        assert all(told(raw.answer()) == alone for _ in range(400))
        sender.join(60)
