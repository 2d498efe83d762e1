"""A real server beyond its capacity: it refuses in JSON what it cannot answer in time, and recovers at once."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.serving.bundles import Place, Running, running
from tests.serving.raw import Raw, post

PATH = "/v1/models/heavy:predict"
ROW = {"instances": [[1.0, 2.0, 3.0, 4.0]]}
CONNECTIONS = 64
# Half of 5 ms of waiting holds a handful of rows that take milliseconds each, on any machine.
LATENCY_MS = 5


@pytest.fixture(scope="module")
def heavy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    place = Place(tmp_path_factory.mktemp("overload"))
    place.serve("heavy", "heavy")
    options = ["--latency-ms", str(LATENCY_MS), "--max-connections", str(CONNECTIONS), "--keep-alive-seconds", "2"]
    options += ["--head-seconds", "2"]
    with running(place, "heavy", *options) as server:
        yield server


def patiently(raw: Raw, request: bytes) -> int:
    """The status once the request has room: a slow machine may still be busy with what came before."""
    for _ in range(1000):
        status, _, _ = raw.ask(request)
        if status != 429:
            return status
    return 429


def test_beyond_its_capacity_it_answers_some_refuses_the_rest_and_recovers(heavy: Running) -> None:
    statuses: list[int] = []
    with contextlib.ExitStack() as stack:
        raws = [stack.enter_context(Raw(heavy.url)) for _ in range(CONNECTIONS)]
        for _ in range(4):
            for raw in raws:
                raw.send(post(PATH, ROW))
            for raw in raws:
                status, headers, body = raw.answer()
                statuses.append(status)
                assert status in {200, 429}
                if status == 429:
                    assert int(headers["retry-after"]) >= 1
                    assert "more requests than it can answer in time" in body["error"]
                    assert body["expected"]
                    assert body["got"]
        # Nothing is left over from the flood: the next request has room.
        assert patiently(raws[0], post(PATH, ROW)) == 200
    assert statuses.count(200) >= 1
    assert statuses.count(429) > CONNECTIONS
    assert heavy.metric("trimtab_server_requests_total", code="429") >= statuses.count(429)
    assert heavy.metric("trimtab_server_in_flight") == 0
    runs, rows = (heavy.metric(f"trimtab_server_{name}_total") for name in ("runs", "run_rows"))
    assert rows == heavy.metric("trimtab_server_requests_total", code="200") >= runs > 0


def test_slow_senders_keep_nobody_out(heavy: Running) -> None:
    whole = post(PATH, ROW)
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(Raw(heavy.url)) for _ in range(CONNECTIONS - 1)]
        for raw in slow:
            raw.send(whole[:-5])
        with Raw(heavy.url) as raw:
            assert patiently(raw, whole) == 200
        for raw in slow[:2]:
            assert raw.ask(whole[-5:])[0] == 200


def test_a_deadline_is_kept(heavy: Running) -> None:
    many = {"instances": [[1.0, 2.0, 3.0, 4.0]] * 200}
    with Raw(heavy.url) as raw:
        status, _, body = raw.ask(post(PATH, many, X_Trimtab_Deadline_Ms="1"))
        assert status == 504
        assert body["object"] == "X-Trimtab-Deadline-Ms"
        status, _, body = raw.ask(post(PATH, ROW, X_Trimtab_Deadline_Ms="soon"))
        assert status == 400
        assert (body["expected"], body["got"]) == ("whole milliseconds from 1 to 3600000", "'soon'")


def test_one_connection_too_many_is_told_so_and_an_idle_one_is_closed(heavy: Running) -> None:
    with contextlib.ExitStack() as stack:
        raws = [stack.enter_context(Raw(heavy.url)) for _ in range(CONNECTIONS)]
        with Raw(heavy.url) as over:
            status, headers, body = over.ask(post(PATH, ROW))
            assert status == 429
            assert headers["retry-after"] == "1"
            assert body["expected"] == f"at most {CONNECTIONS}"
        assert heavy.metric("trimtab_server_requests_total", code="429", protocol="http") == 1
        for raw in raws:
            assert raw.file.read() == b""  # the server's side ends, after the keep-alive's or the head's time
    with Raw(heavy.url) as raw:
        assert patiently(raw, post(PATH, ROW)) == 200
        assert raw.file.read() == b""


def test_the_limit_on_open_files_is_raised_as_far_as_the_system_lets_it() -> None:
    code = """import resource
from trimtab.serving.listening import SPARE_FILES, allow_connections
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 600))
assert allow_connections(50) == 50 and resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 200
assert allow_connections(300) == 300 and resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 300 + SPARE_FILES
assert allow_connections(1000) == 600 - SPARE_FILES and resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 600
"""
    subprocess.run([sys.executable, "-c", code], check=True)
