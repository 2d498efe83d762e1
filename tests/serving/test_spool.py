"""From answer to store: nothing waits, nothing is doubled, what is dropped is counted."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.serving.bundles import DIGITS, MIXED, NUMBERS

from trimtab.core import predictions
from trimtab.core.errors import StoreError
from trimtab.core.ids import uuid7
from trimtab.core.schema import Field
from trimtab.serving.config import ServerConfig
from trimtab.serving.log import PredictionLog
from trimtab.serving.metrics import Metrics
from trimtab.serving.rows import Answered
from trimtab.serving.shipper import Shipped, ship_all
from trimtab.serving.singles import Singles
from trimtab.serving.spool import SegmentWriter, finished, held, read_lines
from trimtab.serving.tally import lost_rows

MICROS = 1_795_255_980_000_000  # 2026-11-21T10:13:00Z
VERSION = "v1-00000000"


def answered(n: int = 1, micros: int = MICROS, **record: Any) -> Answered:
    image = np.arange(64, dtype=np.float32).reshape(8, 8)
    records = [{"image_id": f"k{i}", "image": image, **record} for i in range(n)]
    return Answered(VERSION, uuid7(), micros, 1.5, 90, records, ["3"] * n, np.full((n, 10), 0.1, np.float32))


def single(value: float = 0.0) -> tuple[Any, ...]:
    """A row of `NUMBERS` on the short way."""
    return VERSION, uuid7(), MICROS, 1.5, 100, np.full(4, value).tobytes(), 0.5, None


@pytest.fixture
def log(config: ServerConfig, metrics: Metrics) -> Iterator[PredictionLog]:
    yield (log := open_log(config, metrics))
    log.close()


def open_log(config: ServerConfig, metrics: Metrics, schema: Any = DIGITS) -> PredictionLog:
    log = PredictionLog(config, metrics, b"key")
    log.folder.mkdir(parents=True, exist_ok=True)
    (log.folder / "owner.lock").touch()
    log.add_version(VERSION, schema)
    return log


def count(metrics: Metrics, outcome: str) -> float:
    return metrics.value("trimtab_log_rows_total", outcome)


def logged(place_or_store: Any, version: str = VERSION) -> pa.Table:
    store = getattr(place_or_store, "store", place_or_store)
    return predictions.read_files(store, predictions.list_files(store, "digits", version))


def test_rows_reach_the_store_as_they_were(config: ServerConfig, log: PredictionLog, store: Any) -> None:
    rows = [answered(2), answered(1, MICROS + 3_600_000_000)]
    for row in rows:
        log.append(row)
    log.close()
    shipped = Shipped()
    ship_all(config.home, config.name, "digits", store, shipped)
    assert shipped == Shipped(written=3)
    table = logged(store)
    assert table.schema.equals(predictions.log_schema(DIGITS))
    assert table["_id"].to_pylist() == [f"{rows[0].uuid}-0", f"{rows[0].uuid}-1", f"{rows[1].uuid}-0"]
    assert table["image"].to_pylist()[0] == list(map(float, range(64)))
    assert table["_label"].to_pylist() == ["3"] * 3
    np.testing.assert_allclose(table["_probabilities"].to_pylist(), 0.1, rtol=1e-6)
    assert len(list(predictions.list_files(store, "digits", VERSION))) == 2  # an hour each
    assert finished(log.folder / "log", abandoned=True) == []


def test_shipping_a_segment_twice_doubles_nothing(config: ServerConfig, log: PredictionLog, store: Any) -> None:
    log.append(answered(5))
    log.close()
    (segment,) = finished(log.folder / "log")
    kept = segment.read_bytes()
    with held(log.folder / "owner.lock"):
        ship_all(config.home, config.name, "digits", store, Shipped())
        segment.write_bytes(kept)  # as if the shipper had been killed before it could delete it
        ship_all(config.home, config.name, "digits", store, Shipped())
    assert logged(store).num_rows == 5


def test_a_full_queue_drops_and_counts(config: ServerConfig, metrics: Metrics) -> None:
    log = open_log(replace(config, queue_rows=10), metrics)
    for _ in range(7):
        log.append(answered(3))
    log.close()
    assert (count(metrics, "spooled"), count(metrics, "dropped")) == (9, 12)


def test_rows_that_come_while_others_are_written_are_neither_lost_nor_doubled(
    config: ServerConfig, metrics: Metrics, store: Any
) -> None:
    log = open_log(replace(config, queue_rows=10_000_000), metrics, NUMBERS)
    rows = [single(float(i)) for i in range(20_000)]
    done, drained = threading.Event(), 0

    def write() -> None:
        nonlocal drained
        while not done.is_set():
            drained += log._drain()

    thread = threading.Thread(target=write)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        thread.start()
        for i, row in enumerate(rows):
            log.append_single(*row)
            if i % 100 == 0:
                log.append(Answered(VERSION, uuid7(), MICROS, 1.5, 100, np.zeros((1, 4)), [0.5], None))
    finally:
        done.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert drained > 0
    log.close()
    assert (count(metrics, "spooled"), count(metrics, "dropped")) == (20_200, 0)
    shipped = Shipped()
    ship_all(config.home, config.name, "digits", store, shipped)
    assert shipped == Shipped(written=20_200)
    found = dict(zip(*logged(store).select(["_id", "a"]).to_pydict().values(), strict=True))
    assert len(found) == 20_200
    assert all(found[f"{row[1]}-0"] == i for i, row in enumerate(rows))


def test_a_full_queue_takes_as_many_single_rows_as_others(config: ServerConfig, metrics: Metrics) -> None:
    log = open_log(replace(config, queue_rows=100), metrics, NUMBERS)
    for _ in range(130):
        log.append_single(*single())
    log.close()
    assert (count(metrics, "spooled"), count(metrics, "dropped")) == (100, 30)


def test_single_rows_that_cannot_be_written_do_not_end_theopen_log(
    config: ServerConfig, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log(config, metrics, NUMBERS)
    with monkeypatch.context() as patched:
        patched.setattr(Singles, "frame", lambda *_: 1 / 0)
        log.append_single(*single())
        log._drain()
    log.append_single(*single())
    log.close()
    assert (count(metrics, "spooled"), count(metrics, "dropped")) == (1, 1)
    assert lost_rows(log.folder) == 0


def test_a_spool_that_fills_while_a_request_is_taken_stops_those_behind_it(
    config: ServerConfig, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log(replace(config, spool_bytes=10), metrics, NUMBERS)
    log.append_single(*single())
    log._drain()
    original = log._has_room

    def fills(n: int) -> bool:
        """The writing thread finds the spool full just after there was room."""
        answer = original(n)
        log._tick()
        return answer

    monkeypatch.setattr(log, "_has_room", fills)
    log.append(Answered(VERSION, uuid7(), MICROS, 1.5, 100, np.zeros((100, 4)), [0.5] * 100, None))
    monkeypatch.undo()
    assert log.full
    for _ in range(50):
        log.append_single(*single())
    assert count(metrics, "dropped") == 50
    log.close()
    assert count(metrics, "spooled") == 101


def test_large_rows_are_few_in_memory_in_a_write_and_in_a_segment(
    config: ServerConfig, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = replace(DIGITS, fields=(Field(name="image", kind="image", shape=(500, 500)),))
    log = open_log(config, metrics, large)  # a megabyte a row
    written: list[int] = []
    original = SegmentWriter.append

    def append(writer: SegmentWriter, parts: list[bytes], rows: int) -> None:
        written.append(rows)
        original(writer, parts, rows)

    monkeypatch.setattr(SegmentWriter, "append", append)
    image = np.zeros((500, 500), np.float32)
    for _ in range(100):
        log.append(answered(1, image=image))
    queued = len(log._queue)
    assert 20 < queued < 64
    log.close()
    assert max(written) <= 4
    assert count(metrics, "dropped") == 100 - queued
    assert max(path.stat().st_size for path in finished(log.folder / "log")) < 21_000_000
    alone = open_log(replace(config, name="other", queue_rows=10), metrics)
    alone.append(answered(50))  # in memory already
    alone.append(answered(1))
    assert len(alone._queue) == 1
    alone.close()


def test_what_the_disk_takes_in_parts_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = SegmentWriter(tmp_path, 60, 10_000)
    parts = [b"%d\n" % i for i in range(3000)]  # more than the system takes at once
    original = os.writev
    monkeypatch.setattr(os, "writev", lambda fd, given: original(fd, [b"".join(given)[:7]]))
    writer.append(parts, 3000)
    monkeypatch.undo()
    writer.append(parts, 3000)
    writer.finish()
    (segment,) = finished(tmp_path)
    assert segment.read_bytes() == b"".join(parts) * 2


def test_a_full_spool_drops_and_recovers(config: ServerConfig, metrics: Metrics) -> None:
    log = open_log(replace(config, spool_bytes=10), metrics)
    log.append(answered())
    log._drain()
    log._tick()
    assert log.full
    log.append(answered())
    assert count(metrics, "dropped") == 1
    shutil.rmtree(log.folder / "log")
    log._next_size = 0.0
    log._tick()
    assert not log.full
    (log.folder / "log").mkdir()
    (log.folder / "log" / "00000000.open").touch()
    log.close()


def test_private_fields_reach_no_disk(config: ServerConfig, metrics: Metrics, store: Any) -> None:
    log = open_log(config, metrics, MIXED)
    record = {"age": 40.0, "income": None, "plan": "basic", "name": "Ann Smith", "email": "ann@example.org"}
    extra = {"customer": "c1", "seen": None}
    row = Answered(VERSION, uuid7(), MICROS, 1.0, 100, [{**record, **extra}], ["no"], np.zeros((1, 2), np.float32))
    log.append(row)
    log.close()
    on_disk = b"".join(path.read_bytes() for path in log.folder.rglob("*") if path.is_file())
    assert b"Ann" not in on_disk
    assert b"ann@" not in on_disk
    ship_all(config.home, config.name, "digits", store, Shipped())
    (read,) = logged(store).to_pylist()
    assert "name" not in read
    assert read["email"] not in (None, "ann@example.org")
    assert (read["age"], read["income"], read["plan"]) == (40.0, None, "basic")
    assert record["name"] == "Ann Smith"  # the request's own record is left alone


def test_a_torn_frame_is_counted_and_the_rest_kept(config: ServerConfig, metrics: Metrics, store: Any) -> None:
    log = open_log(config, metrics)
    for rows in (2, 5):
        log.append(answered(rows))
        log._drain()
    log.append(answered(4))  # still in memory when the server is killed
    (torn,) = (log.folder / "log").iterdir()
    os.truncate(torn, torn.stat().st_size - 20)
    assert log._log._file is not None
    log._log._file.close()
    shipped = Shipped()
    ship_all(config.home, "another", "digits", store, shipped)  # its owner holds no lock: dead
    assert (shipped.written, shipped.dropped) == (2, 0)
    assert not log.folder.exists()
    after = PredictionLog(replace(config, name="after"), metrics, b"key")
    after._tick()
    assert (count(metrics, "dropped"), metrics.value("trimtab_log_lost_rows_total")) == (9, 9)
    after.close()
    assert sorted(path.name for path in config.home.iterdir()) == ["after"]


def test_what_cannot_be_converted_is_kept_aside_and_holds_up_nobody(
    config: ServerConfig, log: PredictionLog, store: Any
) -> None:
    log.append(answered(1, image="no image"))
    log._drain()
    log._log.finish()
    log.append(answered(3))
    log.close()
    shipped = Shipped()
    ship_all(config.home, config.name, "digits", store, shipped)
    assert (shipped.written, shipped.dropped) == (3, 1)
    assert len(list((config.home / "bad").iterdir())) == 1


def test_a_row_that_cannot_be_written_is_dropped_alone(config: ServerConfig, metrics: Metrics) -> None:
    log = open_log(config, metrics)
    for row in (answered(2), answered(3, odd=object()), answered(4)):
        log.append(row)
    log.close()
    assert (count(metrics, "spooled"), count(metrics, "dropped")) == (6, 3)


def test_a_living_servers_folder_is_left_to_it(config: ServerConfig, log: PredictionLog, store: Any) -> None:
    log.append(answered())
    log.close()
    with held(log.folder / "owner.lock") as mine:
        assert mine
        ship_all(config.home, "another", "digits", store, Shipped())
        assert len(finished(log.folder / "log")) == 1
    ship_all(config.home, "another", "digits", store, Shipped())
    assert logged(store).num_rows == 1


def test_a_segment_is_whole_after_a_failed_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = SegmentWriter(tmp_path / "log", 60, 100, sync=True)
    writer.append([b"one\n"], 1)

    def fail(_: int) -> None:
        raise OSError("no space")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        writer.append([b"two\n"], 1)
    monkeypatch.undo()
    writer.append([b"three\n"], 1)
    writer.finish()
    assert read_lines(tmp_path / "log" / "00000000.done") == ([b"one", b"three"], False)


def test_a_full_disk_drops_counts_and_says_so_once(
    config: ServerConfig, log: PredictionLog, metrics: Metrics, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("no space")

    with monkeypatch.context() as patched:
        patched.setattr(SegmentWriter, "append", fail)
        for _ in range(3):
            log.append(answered(2))
            log._drain()
    log.append(answered(5))
    log._drain()
    assert (count(metrics, "spooled"), count(metrics, "dropped")) == (5, 6)
    assert [record.getMessage() for record in caplog.records] == [
        "the spool does not take rows, they are dropped: no space",
        "the spool takes rows again; 6 were dropped",
    ]


def test_numbers_are_not_used_twice(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "log", 60, 2)
    for i in range(5):
        writer.append([b"%d\n" % i], 1)
    writer.finish()
    assert [path.name for path in finished(tmp_path / "log")] == [f"0000000{n}.done" for n in range(3)]


def test_a_store_that_is_away_keeps_raising(config: ServerConfig, log: PredictionLog, tmp_path: Path) -> None:
    from trimtab.core.store import open_store

    log.append(answered())
    log.close()
    (tmp_path / "broken").write_text("")
    with pytest.raises(StoreError):
        ship_all(config.home, config.name, "digits", open_store((tmp_path / "broken").as_uri()), Shipped())
    assert len(finished(log.folder / "log")) == 1
