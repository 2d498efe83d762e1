"""Clients that mean harm: huge bodies, lying lengths, half requests, slow senders; memory stays, all are answered."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.serving.bundles import Place, Running, running
from tests.serving.malformed import v2, v2_binary
from tests.serving.raw import Raw, get, post
from tests.serving.test_malformed import GOOD, peak_mb

V1 = "/v1/models/demand:predict"
MB = 1_000_000


@pytest.fixture(scope="module")
def patient(shared: Place) -> Iterator[Running]:
    """A server of `demand` with the default limits on bodies and short ones on time."""
    with running(shared, "demand", "--head-seconds", "1", "--body-seconds", "1", "--keep-alive-seconds", "3") as server:
        yield server


def head(length: int, extra: str = "") -> bytes:
    return f"POST {V1} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{extra}\r\n".encode()


def flood(raw: Raw, size: int, piece: bytes = b"[" * MB) -> None:
    """Send that many bytes, as far as the server takes them."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(size // len(piece)):
            raw.send(piece)


def still_good(server: Running) -> None:
    with Raw(server.url) as raw:
        assert raw.ask(GOOD["demand"])[0] == 200
    assert server.metric("trimtab_server_requests_total", code="500") == 0
    assert "Traceback" not in server.log.read_text()
    assert peak_mb(server) < 300


def test_200_mb_are_refused_and_the_connection_goes_on(patient: Running) -> None:
    with Raw(patient.url) as raw:
        raw.send(head(200 * MB))
        sender = threading.Thread(target=flood, args=(raw, 200 * MB))
        sender.start()
        status, _, body = raw.answer()
        assert (status, body["object"]) == (413, "body")
        sender.join()
        assert raw.ask(GOOD["demand"])[0] == 200
    still_good(patient)


def test_200_mb_in_chunks_are_refused_and_the_connection_goes_on(patient: Running) -> None:
    with Raw(patient.url) as raw:
        raw.send(f"POST {V1} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        sender = threading.Thread(target=flood, args=(raw, 200 * MB, b"f4240\r\n" + b"[" * MB + b"\r\n"))
        sender.start()
        status, _, body = raw.answer()
        assert (status, body["expected"]) == (413, "at most 8000000 bytes")
        sender.join()
        raw.send(b"0\r\n\r\n")
        assert raw.ask(GOOD["demand"])[0] == 200
    still_good(patient)


@pytest.mark.parametrize(
    "unit",
    [
        b"[[[[[[]]]]]],",
        b'{"a":1},',
        *(pytest.param(unit, marks=pytest.mark.campaign) for unit in (b"[],", b"{},", b'"ab",', b"0.5,", b'{"":{}},')),
    ],
)
def test_a_body_that_would_fill_the_memory_is_refused(patient: Running, unit: bytes) -> None:
    body = b'{"instances": [' + unit * ((8 * MB - 30) // len(unit)) + b"0]}"
    with Raw(patient.url) as raw:
        status, _, answer = raw.ask(post(V1, body))
        assert status == 413, answer
        assert {"object", "expected", "got"} <= answer.keys()
    still_good(patient)


@pytest.mark.campaign
def test_many_large_bodies_at_once_wait_for_each_other(patient: Running) -> None:
    body = b'{"instances": [' + b"[0.123456,2,3,4]," * 300_000 + b"[1,2,3,4]]}"

    def send() -> tuple[int, str]:
        with Raw(patient.url) as raw:
            status, _, answer = raw.ask(post(V1, body))
            return status, answer["error"]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: send(), range(10)))
    assert {status for status, _ in answers} <= {413, 429}
    assert 413 in {status for status, _ in answers}  # too many rows: it was parsed
    still_good(patient)


@pytest.mark.campaign
def test_half_bodies_held_by_many_connections_are_bounded(patient: Running) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            raw = stack.enter_context(Raw(patient.url))
            raw.send(head(8 * MB))
            flood(raw, 7 * MB, b"1" * MB)
        still_good(patient)
    still_good(patient)


def test_a_body_that_ends_early_is_told_so(patient: Running) -> None:
    for sent in (head(100) + b"half", head(100), head(5)[:30]):
        with Raw(patient.url) as raw:
            raw.send(sent)
            raw.socket.shutdown(socket.SHUT_WR)
            status, _, body = raw.answer()
            assert (status, set(body)) == (400, {"error", "object", "expected", "got"})
            assert raw.file.read() == b""


def test_a_client_that_has_said_all_still_gets_its_answers(patient: Running) -> None:
    with Raw(patient.url) as raw:
        raw.send(GOOD["demand"] * 3)
        raw.socket.shutdown(socket.SHUT_WR)
        assert [raw.answer()[0] for _ in range(3)] == [200] * 3
        assert raw.file.read() == b""


@pytest.mark.parametrize("asked", [False, True], ids=["fresh", "answered"])
def test_empty_lines_keep_no_connection(patient: Running, asked: bool) -> None:
    with Raw(patient.url) as raw:
        if asked:
            assert raw.ask(get("/v2/health/live"))[0] == 200
        raw.send(b"\r\n\r\n")
        raw.socket.settimeout(30)
        assert raw.file.read() == b""


@pytest.mark.parametrize("sent", [GOOD["demand"][:40], head(500) + b"{", head(500)])
def test_slow_senders_are_told_so(patient: Running, sent: bytes) -> None:
    with Raw(patient.url) as raw:
        raw.send(sent)
        status, fields, body = raw.answer()
        assert (status, fields["connection"], body["object"]) == (408, "close", "request")
        assert raw.file.read() == b""


def test_a_connection_that_says_nothing_is_closed(patient: Running) -> None:
    with Raw(patient.url) as raw:
        assert raw.file.read() == b""


def test_an_error_behind_good_requests_comes_after_their_answers(patient: Running) -> None:
    broken = f"POST {V1} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".encode()
    for behind in (b"garbage\r\n\r\n", broken):
        with Raw(patient.url) as raw:
            raw.send(GOOD["demand"] * 2 + behind)
            assert [raw.answer()[0] for _ in range(3)] == [200, 200, 400]
            assert raw.file.read() == b""


def test_a_proposal_of_another_protocol_is_passed_over(patient: Running) -> None:
    for upgrade in ("h2c", "websocket"):
        asked = post(V1, {"instances": [[1, 2, 3, 4]]}, Connection="Upgrade", Upgrade=upgrade)
        with Raw(patient.url) as raw:
            assert raw.ask(asked)[0] == 200
            raw.send(asked + GOOD["demand"])
            assert [raw.answer()[0] for _ in range(2)] == [200, 200]
            for byte in asked:  # wherever the packets are cut
                raw.send(bytes([byte]))
            assert raw.answer()[0] == 200


def test_a_length_is_waited_for_only_once_it_can_be_right(patient: Running) -> None:
    with Raw(patient.url) as raw:
        raw.send(head(200 * MB, "Expect: 100-continue\r\n"))
        assert raw.answer()[0] == 413  # no `100 Continue` for what is not taken
    with Raw(patient.url) as raw:
        raw.send(head(30, "Expect: 100-continue\r\n"))
        assert raw.file.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert raw.file.readline() == b"\r\n"
        assert raw.ask(b'{"instances": [[1, 2, 3, 4]]} ')[0] == 200


def test_more_connections_than_allowed_are_told_so(shared: Place) -> None:
    with running(shared, "demand", "--max-connections", "5") as server, contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(Raw(server.url)).ask(GOOD["demand"])
        with Raw(server.url) as raw:
            status, fields, body = raw.ask(GOOD["demand"])
            assert (status, fields["retry-after"], body["object"]) == (429, "1", "connection")
        stack.close()
        server.until(lambda: _answered(server))


def _answered(server: Running) -> bool:
    with Raw(server.url) as raw:
        return raw.ask(GOOD["demand"])[0] == 200


def test_the_decoders_good_requests_stay_good_in_pieces(patient: Running) -> None:
    for whole in (GOOD["demand"], v2_binary.GOOD, post(v2.DEMAND, v2.tensor())):
        with Raw(patient.url) as raw:
            for start in range(0, len(whole), 7):
                raw.send(whole[start : start + 7])
            assert raw.answer()[0] == 200
