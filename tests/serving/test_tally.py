"""The count of what a killed server had in memory: exact wherever the kill strikes, given once."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.serving.bundles import DIGITS, Place, Running, running, starting
from tests.serving.raw import Raw, post

from trimtab.core import predictions
from trimtab.core.ids import uuid7
from trimtab.serving import frames, tally
from trimtab.serving.config import ServerConfig
from trimtab.serving.frames import Privacy
from trimtab.serving.log import PredictionLog
from trimtab.serving.metrics import Metrics
from trimtab.serving.rows import Answered
from trimtab.serving.spool import SegmentWriter
from trimtab.serving.tally import Tally

PRIVACY = {"v1": Privacy(DIGITS, b"key")}
PREDICT = post("/v1/models/digits:predict", {"instances": [[[1.0] * 8] * 8]})


def frame(rows: int) -> bytes:
    image = np.zeros((rows, 8, 8), np.float32)
    row = Answered("v1", uuid7(), 1, 1.0, 100, {"image": image}, ["3"] * rows, np.zeros((rows, 10), np.float32))
    return b"".join(frames.encode([row], PRIVACY))


def on_disk(folder: Path) -> int:
    paths = (folder / "log").glob("*")
    return sum(found.rows for path in paths for found, _ in frames.decode(path.read_bytes()))


class Killed(BaseException):
    """What stands for the kill: nothing of ours catches it."""


def test_a_write_cut_at_any_byte_is_counted_exactly(tmp_path: Path) -> None:
    kept = Tally(tmp_path / "s")
    writer = SegmentWriter(tmp_path / "s" / "log", 60, 10_000, tally=kept)
    kept.accept(3 + 4 + 2 + 6)
    for batch in ([3], [4, 2]):
        writer.append([frame(n) for n in batch], sum(batch))
        kept.settle(sum(batch))
    path = tmp_path / "s" / "log" / "00000000.open"
    # The newest write began behind the first frame: it alone can be torn.
    whole, first = path.read_bytes(), len(frame(3))
    seen = set()
    for cut in range(first, len(whole) + 1, 7):
        path.write_bytes(whole[:cut])
        lost = tally.lost_rows(tmp_path / "s")
        assert lost + on_disk(tmp_path / "s") == 15
        seen.add(lost)
    assert seen == {12, 8} | ({6} if (len(whole) - first) % 7 == 0 else set())
    path.write_bytes(whole)
    assert tally.lost_rows(tmp_path / "s") == 6
    writer.finish()


@pytest.mark.parametrize("step", ["before", "begun", "written", "finished", "shipped"])
def test_a_kill_at_any_step_is_counted_exactly(tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "s"
    kept = Tally(folder)
    writer = SegmentWriter(folder / "log", 60, 9, tally=kept)

    def write(rows: int) -> None:
        writer.append([frame(rows)], rows)
        kept.settle(rows)

    def killed(*_: object) -> None:
        raise Killed

    kept.accept(30)
    write(5)
    if step == "before":
        monkeypatch.setattr(SegmentWriter, "append", killed)
    elif step == "begun":
        original = Tally.begin

        def begin(*given: Any) -> None:
            original(*given)
            killed()

        monkeypatch.setattr(Tally, "begin", begin)
    elif step == "written":
        monkeypatch.setattr(SegmentWriter, "_finish", killed)
    else:
        monkeypatch.setattr(kept, "settle", killed)
    with pytest.raises(Killed):
        write(8)
    shipped = 0
    if step == "shipped":
        shipped = on_disk(folder)
        shutil.rmtree(folder / "log")
    if writer._file is not None:
        writer._file.close()
    lost = tally.lost_rows(folder)
    assert lost + shipped + on_disk(folder) == 30
    assert lost == 25 - (8 if step in {"written", "finished", "shipped"} else 0)


def test_the_count_is_left_once_and_given_to_one(tmp_path: Path) -> None:
    kept = Tally(tmp_path / "a")
    kept.accept(7)
    for _ in range(3):  # whoever takes the folder over may be killed and begin again
        tally.leave(tmp_path / "a")
    assert tally.claim(tmp_path) == {"a": 7}
    assert tally.claim(tmp_path) == {}
    tally.leave(tmp_path / "a")
    assert tally.claim(tmp_path) == {}
    assert not (tmp_path / "lost").exists()


def test_a_server_that_ends_as_it_should_loses_nothing(tmp_path: Path) -> None:
    config = ServerConfig("digits", "file:///nowhere", tmp_path, tmp_path, tmp_path, queue_rows=5)
    log = PredictionLog(config, Metrics("digits"), b"key")
    log.add_version("v1", DIGITS)
    row = Answered("v1", uuid7(), 1, 1.0, 100, [{"image": np.zeros((8, 8))}] * 2, ["3"] * 2, None)
    for _ in range(3):
        log.append(row)  # the third finds the queue full: dropped and counted, never accepted
    assert tally.lost_rows(log.folder) == 4
    assert not tally.closed(log.folder)
    log.append(row._replace(records=[{"image": object()}], outputs=["3"]))  # dropped when it is written
    log.close()
    assert tally.lost_rows(log.folder) == 0
    assert tally.closed(log.folder)


def test_kill_9_under_load_loses_what_was_in_memory_and_says_how_much(place: Place) -> None:
    version = place.serve("digits", "digits")
    home = place.root / "home" / "spool" / "digits"
    with starting(place, "digits", "--flush-seconds", "60") as server:
        server.until(lambda: _ready(server.get))
        answered = [0] * 4
        threads = [threading.Thread(target=_ask, args=(server.url, answered, i)) for i in range(4)]
        for thread in threads:
            thread.start()
        server.until(lambda: server.metric("trimtab_log_rows_total", outcome="spooled") > 100)
        (path,) = home.glob("*/tally")
        with path.open("rb") as kept:  # open, since the folder goes once it is shipped
            server.process.kill()
            for thread in threads:
                thread.join(60)
            server.process.wait()
            accepted = int.from_bytes(kept.read(8), "little")
    with running(place, "digits") as after:
        after.until(lambda: not path.exists() and _in_store(place, version) + _lost(after) >= accepted)
        lost = _lost(after)
        assert after.metric("trimtab_log_rows_total", outcome="dropped") == lost
    assert _in_store(place, version) + lost == accepted
    # A request that was logged when the kill struck may not have been answered: one for each connection.
    assert sum(answered) <= accepted <= sum(answered) + len(threads)


@pytest.mark.campaign
def test_a_killed_worker_s_rows_are_counted_by_the_others(place: Place) -> None:
    version = place.serve("digits", "digits")
    with running(place, "digits", "--workers", "2", "--flush-seconds", "60") as server:
        answered = [0] * 8
        threads = [threading.Thread(target=_ask, args=(server.url, answered, i)) for i in range(8)]
        for thread in threads:
            thread.start()
        server.until(lambda: server.metric("trimtab_log_rows_total", outcome="spooled") > 200)
        workers = {pid for pid in server.children() if b"serving.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()}
        for pid in workers:  # all, so that every connection ends
            os.kill(pid, signal.SIGKILL)
        for thread in threads:
            thread.join(60)
        server.until(lambda: _written(server) + _lost(server) >= sum(answered))
        written, lost = _written(server), _lost(server)
    assert _in_store(place, version) == written
    assert sum(answered) <= written + lost <= sum(answered) + len(threads)


def _in_store(place: Place, version: str) -> int:
    rows: int = predictions.read_files(place.store, predictions.list_files(place.store, "digits", version)).num_rows
    return rows


def _written(server: Running) -> float:
    return server.metric("trimtab_log_rows_total", outcome="written")


def _lost(server: Running) -> float:
    return server.metric("trimtab_log_lost_rows_total")


def _ready(get: Callable[[str], tuple[int, object]]) -> bool:
    try:
        return get("/v2/health/ready")[0] == 200
    except OSError:
        return False


def _ask(url: str, answered: list[int], place: int) -> None:
    try:
        with Raw(url) as raw:
            while raw.ask(PREDICT)[0] == 200:
                answered[place] += 1
    except (OSError, AssertionError, ValueError, IndexError):  # the connection ended, in an answer or between two
        return
