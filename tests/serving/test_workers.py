"""Several workers behind one port: who answers, what is counted, what a kill costs, what SIGTERM finishes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.serving.bundles import Place, Running, running, starting
from tests.serving.raw import Raw, post

from trimtab.core import ledger, predictions
from trimtab.serving.config import ServerConfig, processors
from trimtab.serving.scrape import added, ended
from trimtab.serving.worker import from_json, to_json

PATH = "/v1/models/digits:predict"
ROW = {"instances": [{"image": [[1.0] * 8] * 8, "image_id": "x"}]}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("workers"))
    place.serve("digits", "digits")
    return place


@pytest.fixture(scope="module")
def pair(made: Place) -> Iterator[Running]:
    with running(made, "digits", "--workers", "2") as server:
        server.until(lambda: listening(server) == 2)
        yield server


def listening(server: Running) -> int:
    """How many sockets listen on its port (Linux's table of TCP sockets; state 0A is LISTEN)."""
    port = int(server.url.rpartition(":")[2])
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows)


def workers(server: Running) -> list[int]:
    """Process ids of the workers, the shipper left out."""
    found = []
    for pid in server.children():
        with_arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
        if b"trimtab.serving.worker\0" in with_arguments:
            found.append(pid)
    return found


def version(place: Place, model: str) -> str:
    champion = ledger.state(place.store, model).champion
    assert champion is not None
    return champion


def answered(server: Running) -> float:
    return server.metric("trimtab_server_requests_total", code="200")


def logged(server: Running) -> float:
    outcomes = ("written", "dropped")
    return sum(server.metric("trimtab_log_rows_total", outcome=outcome) for outcome in outcomes)


def ask(server: Running, connections: int) -> None:
    """One request on each of so many fresh connections: the kernel spreads them over the workers."""
    for _ in range(connections):
        with Raw(server.url) as raw:
            status, _, body = raw.ask(post(PATH, ROW))
            assert (status, list(body)) == (200, ["predictions"])


def test_each_worker_answers_and_all_are_counted_and_logged_together(made: Place, pair: Running) -> None:
    before = answered(pair)
    ask(pair, 30)
    pair.until(lambda: answered(pair) == before + 30)
    pair.until(lambda: logged(pair) == answered(pair))
    assert len(workers(pair)) == 2
    files = predictions.list_files(made.store, "digits", version(made, "digits"))
    writers = {key.rsplit("/", 1)[1].split("-")[0].split("w")[1] for key in files}
    assert writers == {"0s0", "1s0"}  # none of 30 connections at one of them: once in a thousand million times
    assert pair.metric("trimtab_server_in_flight") == 0
    assert len([pid for pid in pair.children() if pid not in workers(pair)]) == 1  # one shipper for both


def test_a_killed_worker_is_replaced_and_nothing_that_was_counted_is_lost(pair: Running) -> None:
    counted = answered(pair) + 20
    ask(pair, 20)
    pair.until(lambda: answered(pair) == counted)
    victim = workers(pair)[0]
    os.kill(victim, signal.SIGKILL)
    # Those that fall to the dead worker's socket wait in it for the next one: no connection is refused.
    ask(pair, 20)
    pair.until(lambda: len(workers(pair)) == 2 and victim not in workers(pair))
    pair.until(lambda: answered(pair) == counted + 20)
    pair.until(lambda: logged(pair) == answered(pair))
    lost = pair.metric("trimtab_log_rows_total", outcome="dropped")
    assert lost <= counted  # what was in the killed worker's memory, counted after its death
    assert pair.get("/v2/health/ready") == (200, {"ready": True})


def test_sigterm_answers_what_is_in_flight_in_every_worker(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.serve("heavy", "heavy")
    rows = {"instances": [[1.0, 2.0, 3.0, 4.0]] * 10}
    with running(place, "heavy", "--workers", "2", "--latency-ms", "600000") as server:
        raws = [Raw(server.url) for _ in range(12)]
        for raw in raws:
            raw.send(post("/v1/models/heavy:predict", rows))
        name, code = "trimtab_server_requests_total", {"code": "200"}
        server.until(lambda: server.metric("trimtab_server_in_flight") + server.metric(name, **code) == 12)
        server.process.terminate()
        for raw in raws:
            status, _, body = raw.answer()
            assert (status, len(body["predictions"])) == (200, 10)
            raw.__exit__()
        assert server.process.wait(120) == 0
    log = predictions.read_files(place.store, predictions.list_files(place.store, "heavy", version(place, "heavy")))
    assert log.num_rows == 12 * 10
    assert "Traceback" not in server.log.read_text()


def test_what_no_start_would_heal_ends_all_workers_with_its_exit_code(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.serve("digits", "digits")
    spool = tmp_path / "file"
    spool.write_text("")
    with starting(place, "digits", "--workers", "2", "--spool", str(spool)) as server:
        assert server.process.wait(120) == 2
    assert "spool cannot be written" in server.log.read_text()
    assert "Traceback" not in server.log.read_text()


def test_a_worker_is_told_its_settings_whole(tmp_path: Path) -> None:
    config = ServerConfig("m", "file:///x", tmp_path, tmp_path / "t", tmp_path / "k", workers=3, body_bytes=5)
    assert from_json(to_json(config, 7)) == (config, 7)


def test_processors_are_those_of_the_container(tmp_path: Path) -> None:
    quota = tmp_path / "cpu.max"
    bound = processors(quota)
    assert bound >= 1
    quota.write_text("max 100000\n")
    assert processors(quota) == bound
    quota.write_text("50000 100000\n")
    assert processors(quota) == 0.5
    assert ServerConfig("m", "file:///x", tmp_path, tmp_path, tmp_path, threads=64).runs == 1


def test_dumps_of_the_dead_add_up() -> None:
    one = {
        "versions": ["v1"],
        "answers": [["v1", "v1", 200, 0.5, [1, 2]]],
        "values": {"trimtab_log_rows_total": [[["written"], 3]], "trimtab_server_in_flight": [[[], 4]]},
    }
    other = {
        "versions": ["v2"],
        "answers": [["v1", "v1", 200, 0.25, [1, 0]], ["v2", "v1", 200, 1.0, [0, 1]]],
        "values": {"trimtab_log_rows_total": [[["written"], 2], [["dropped"], 1]]},
    }
    total = added(ended(one), ended(other))
    assert total["answers"] == [["v1", "v1", 200, 0.75, [2, 2]], ["v2", "v1", 200, 1.0, [0, 1]]]
    assert total["values"] == {"trimtab_log_rows_total": [[["written"], 5], [["dropped"], 1]]}
    assert total["versions"] == []
