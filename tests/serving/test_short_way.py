"""Requests that are answered where they are read: the same answers as the long way, whatever the bytes look like."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.serving.bundles import Running
from tests.serving.raw import Raw, chunked, get, post

from trimtab.core.ids import parse_prediction_id, uuid7
from trimtab.serving.calls import Codec
from trimtab.serving.heads import KEPT, LONGEST, Head, Heads

PREDICT = "/v1/models/demand:predict"
INFER = "/v2/models/demand/infer"
ROW = {"instances": [[1.0, 2.0, 3.0, 4.0]]}
TENSOR = {"inputs": [{"name": "input", "shape": [1, 4], "datatype": "FP32", "data": [1.0, 2.0, 3.0, 4.0]}]}
CODEC = Codec("v1", lambda *_: None, lambda *_: None)  # type: ignore[arg-type]


def value(answer: tuple[int, Any, Any]) -> float:
    assert answer[0] == 200, answer
    return float(answer[2]["predictions"][0])


@pytest.fixture(scope="module")
def right(demand: Running) -> float:
    """The answer the long way: a chunked body always takes it."""
    with Raw(demand.url) as raw:
        return value(raw.ask(chunked(PREDICT, [json.dumps(ROW).encode()])))


def test_each_repeat_has_its_own_id_and_its_own_body(demand: Running, right: float) -> None:
    with Raw(demand.url) as raw:
        ids = set()
        for i in range(50):
            twice = json.dumps({"instances": [[1.0, 2.0, 3.0, 4.0 if i % 2 else 5.0]]}).encode()  # one length, two rows
            status, headers, body = raw.ask(post(PREDICT, twice))
            assert status == 200
            assert (body["predictions"][0] == pytest.approx(right)) == bool(i % 2)
            assert parse_prediction_id(headers["x-prediction-id"]) is not None
            ids.add(headers["x-prediction-id"])
        assert len(ids) == 50


def test_a_request_cut_at_any_byte_is_answered_the_same(demand: Running, right: float) -> None:
    whole = post(PREDICT, ROW)
    with Raw(demand.url) as raw:
        assert value(raw.ask(whole)) == right  # the head is known from now on
        for cut in range(1, len(whole)):
            raw.send(whole[:cut])
            raw.send(whole[cut:])
            assert value(raw.answer()) == right


def test_pipelined_requests_are_answered_in_order(demand: Running, right: float) -> None:
    own = [f"{uuid7()}-0" for _ in range(6)]
    short, long = post(PREDICT, ROW), chunked(PREDICT, [json.dumps(ROW).encode()])
    named = [post(PREDICT, ROW, X_Prediction_Id=one) for one in own]
    mixed = [short, named[0], long, named[1], short, get("/v2/health/live"), named[2], long, long, named[3], short]
    with Raw(demand.url) as raw:
        for sent in (mixed, mixed[::-1], [short] * 8, [*named, long]):
            raw.send(b"".join(sent))
            for one in sent:
                status, headers, body = raw.answer()
                assert status == 200
                if one.startswith(b"GET"):
                    assert body == {"live": True}
                    continue
                assert body["predictions"][0] == right
                if one in named:
                    assert headers["x-prediction-id"] == own[named.index(one)]


def test_a_known_head_with_another_body_is_looked_at_again(demand: Running, right: float) -> None:
    good = post(PREDICT, ROW)
    bad = good.replace(b"4.0", b"nan")
    with Raw(demand.url) as raw:
        for _ in range(3):
            assert value(raw.ask(good)) == right
            assert raw.ask(bad)[0] == 400
            head, _, body = good.partition(b"\r\n\r\n")
            raw.send(head + b"\r\n\r\n" + body[:-5])  # the same head, its body in two parts
            raw.send(body[-5:])
            assert value(raw.answer()) == right


def test_what_one_connection_taught_holds_for_others(demand: Running, right: float) -> None:
    def ask(_: int) -> list[float]:
        with Raw(demand.url) as raw:
            return [value(raw.ask(post(PREDICT, ROW))) for _ in range(20)]

    with ThreadPoolExecutor(8) as pool:
        assert {one for found in pool.map(ask, range(16)) for one in found} == {right}


def test_old_http_and_connections_that_end_go_the_long_way(demand: Running, right: float) -> None:
    body = json.dumps(ROW).encode()
    for head in (b"HTTP/1.0\r\n", b"HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"):
        with Raw(demand.url) as raw:
            raw.send(b"POST %b %bContent-Length: %d\r\n\r\n%b" % (PREDICT.encode(), head, len(body), body))
            assert value(raw.answer()) == right
            assert raw.file.read() == b""
    with Raw(demand.url) as raw:
        head = b"POST %b HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        raw.send(head % (PREDICT.encode(), len(body)))
        assert raw.file.readline() == b"HTTP/1.1 100 Continue\r\n"
        raw.file.readline()
        raw.send(body)
        assert value(raw.answer()) == right


def test_short_and_long_answers_are_the_same_to_the_letter(demand: Running, digits: Running) -> None:
    image = [[3] * 8] * 8
    questions = [
        (demand, PREDICT, {"instances": [dict(zip("abcd", [1, 2, 3, None], strict=True))]}),
        (demand, PREDICT, {"instances": [[1, 2, 3, 4], [5, 6, 7, 8]]}),
        (demand, INFER, {**TENSOR, "id": 'a "quoted" id\n'}),
        (demand, INFER, {"inputs": [{**TENSOR["inputs"][0], "data": [[1, 2, 3, 4]]}], "id": "x"}),
        (digits, "/v1/models/digits:predict", {"instances": [image]}),
        (digits, "/v1/models/digits:predict", {"instances": [image] * 3, "parameters": {"probabilities": True}}),
        (digits, "/v2/models/digits/infer",
         {"id": "x", "inputs": [{"name": "image", "shape": [1, 8, 8], "datatype": "FP32", "data": [3] * 64}]}),
        (digits, "/v1/models/digits:predict", {"instances": [[[True] * 8] * 8]}),
        (digits, "/v1/models/digits:predict", {"instances": []}),
    ]  # fmt: skip
    for server, path, question in questions:
        own = f"{uuid7()}-0"
        body = json.dumps(question).encode()
        with Raw(server.url) as raw:
            short = raw.ask(post(path, body, X_Prediction_Id=own))
            raw.send(chunked(path, [body]).replace(b"\r\n\r\n", b"\r\nX-Prediction-Id: %b\r\n\r\n" % own.encode(), 1))
            long = raw.answer()
        assert short == long


def test_every_answer_is_counted_and_logged_whichever_way(demand: Running) -> None:
    def counted() -> float:
        return demand.metric("trimtab_server_requests_total", protocol="v1", code="200")

    def logged() -> float:
        return demand.metric("trimtab_log_rows_total", outcome="written")

    demand.until(lambda: logged() == demand.metric("trimtab_server_predictions_total"))
    before, rows = counted(), logged()
    with Raw(demand.url) as raw:
        for _ in range(10):
            value(raw.ask(post(PREDICT, ROW)))
            value(raw.ask(chunked(PREDICT, [json.dumps(ROW).encode()])))
    assert counted() - before == 20
    demand.until(lambda: logged() - rows == 20)


def test_heads_are_kept_within_bounds() -> None:
    heads = Heads()
    for i in range(3 * KEPT):
        heads.keep(b"%d" % i, Head(CODEC, {}), i)
        assert heads.find(b"%d" % i) is not None
    assert sum(heads.find(b"%d" % i) is not None for i in range(3 * KEPT)) <= KEPT
    heads.keep(b"x" * (LONGEST + 1), Head(CODEC, {}), 1)
    assert heads.find(b"x" * (LONGEST + 1)) is None
    for own in (b"x-prediction-id", b"x-request-id", b"traceparent"):
        heads.keep(own, Head(CODEC, {own: b"1"}), 1)
        assert heads.find(own) is None
