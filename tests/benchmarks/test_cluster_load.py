"""The load of the cluster's tests and of the loop: a request is sent once, and what becomes of it is counted."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from benchmarks.cluster.load import THREADS, Load, Row
from benchmarks.cluster.waiting import Missed, until
from tests.serving.bundles import Place, running, starting

RATE = 50.0
ROW = Row({"image": [[1.0] * 8] * 8, "image_id": "x"})


@pytest.mark.timeout(300)
def test_a_killed_server_costs_what_it_was_answering_and_refused_connections_are_told_apart(tmp_path: Path) -> None:
    place = Place(tmp_path)
    version = place.serve("digits", "digits")
    with running(place, "digits") as server, Load(server.url, "digits", [ROW], RATE) as load:
        load.wait(20)
        # The shipper too: it holds the port for a moment longer, and what the kernel takes meanwhile is lost.
        for pid in (*server.children(), server.process.pid):
            os.kill(pid, signal.SIGKILL)
        server.process.wait()
        until(lambda: load.seen.refused, 60, "connections that nobody accepts", load.seen.words)
        lost = list(load.seen.failures)
        with pytest.raises(Missed, match="connections refused"):
            load.wait(1, seconds=0.1)
        with starting(place, "digits", "--port", server.url.rpartition(":")[2]):
            load.wait(20, seconds=120)
            seen = load.stop()
    assert len(lost) <= THREADS, seen.words()
    assert not any(failure.told for failure in lost)
    assert seen.requests == seen.failed + len(seen.answers)
    assert len({answer.id for answer in seen.answers}) == len(seen.answers) == seen.by_version[version]
    assert 0 < seen.slowest < 60


def test_what_a_server_refuses_is_a_failure_that_was_told(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.serve("digits", "digits")
    with running(place, "digits") as server, Load(server.url, "digits", [Row({"image_id": "x"})], RATE) as load:
        until(lambda: load.seen.failed, 60, "a refusal", load.seen.words)
        seen = load.stop()
    assert all(failure.told and "image" in failure.why for failure in seen.failures)
    assert (seen.refused, seen.answers) == (0, [])
