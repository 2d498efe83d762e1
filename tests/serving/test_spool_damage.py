"""Damaged segments and servers that die amid shipping: nothing else is held up, and every row is counted."""

from __future__ import annotations

import errno
import fcntl
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.serving.bundles import MIXED, NUMBERS
from tests.serving.test_spool import MICROS, VERSION, open_log, single

from trimtab.core import predictions
from trimtab.core.ids import uuid7
from trimtab.serving import frames, shipper
from trimtab.serving.config import ServerConfig
from trimtab.serving.metrics import Metrics
from trimtab.serving.rows import Answered
from trimtab.serving.shipper import Shipped, ship_all, ship_folder
from trimtab.serving.spool import finished
from trimtab.serving.tally import claim, lost_rows


def test_whatever_bit_of_single_rows_is_damaged_the_other_segments_are_shipped(
    config: ServerConfig, metrics: Metrics, store: Any, caplog: pytest.LogCaptureFixture
) -> None:
    log = open_log(config, metrics, replace(NUMBERS, target=MIXED.target))
    labelled = (*single()[:6], "no", np.zeros((1, 2), np.float32))
    log.append_single(*labelled)
    log.close()
    (segment,) = finished(log.folder / "log")
    body, places = segment.read_bytes(), range(frames.LENGTHS.size, segment.stat().st_size)
    segment.unlink()
    caplog.set_level(logging.CRITICAL)
    for n, place in enumerate(places):
        for bit in (0, 4, 7):
            damaged = body[:place] + bytes([body[place] ^ 1 << bit]) + body[place + 1 :]
            (log.folder / "log" / f"{3 * n + bit % 3:08d}.done").write_bytes(damaged)
    whole = log.folder / "log" / "99999999.done"
    whole.write_bytes(body)
    shipped = Shipped()
    ship_folder(log.folder, "digits", store, shipped, abandoned=False)
    assert finished(log.folder / "log") == []
    assert shipped.dropped == len(list((config.home / "bad").iterdir())) > 0
    keys = list(predictions.list_files(store, "digits", VERSION))
    assert [key for key in keys if key.endswith("-99999999.parquet")]


def test_a_request_that_says_it_held_more_rows_than_any_memory_is_set_aside(
    config: ServerConfig, metrics: Metrics, store: Any
) -> None:
    log = open_log(config, metrics, NUMBERS)
    log.append(Answered(VERSION, uuid7(), MICROS, 1.5, 100, np.zeros((1, 4)), [0.5], None))
    log.close()
    (segment,) = finished(log.folder / "log")
    body = segment.read_bytes()
    head, rest = frames.LENGTHS.unpack_from(body)
    said = body[frames.LENGTHS.size :][:head].replace(b'"k":[1]', b'"k":[1000000000000000]')
    segment.write_bytes(frames.LENGTHS.pack(len(said), rest) + said + body[frames.LENGTHS.size + head :])
    ship_folder(log.folder, "digits", store, shipped := Shipped(), abandoned=False)
    assert shipped == Shipped(dropped=1)
    assert finished(log.folder / "log") == []


def test_a_damaged_write_does_not_keep_a_dead_servers_loss_from_being_counted(
    config: ServerConfig, metrics: Metrics
) -> None:
    log = open_log(config, metrics, NUMBERS)
    log.append_single(*single())
    log._drain()
    log._tally.accept(3)
    (segment,) = finished(log.folder / "log", abandoned=True)
    whole = segment.read_bytes()
    segment.write_bytes(whole.replace(b'"<i4"', b'",i4"'))  # numpy's own reader of types fails with a SyntaxError
    assert lost_rows(log.folder) == 3
    log.close()


def test_a_server_that_dies_while_another_folder_is_shipped_has_its_loss_counted(
    config: ServerConfig, metrics: Metrics, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (open_log(replace(config, name=name), metrics, NUMBERS) for name in ("a", "b"))
    first.append_single(*single())
    first.close()
    second._tally.accept(7)
    lock = (second.folder / "owner.lock").open("ab")
    fcntl.flock(lock, fcntl.LOCK_EX)
    original = ship_folder

    def ship(folder: Path, *given: Any, **more: Any) -> None:
        """The second one is killed while the first one's folder is shipped."""
        if folder == first.folder:
            lock.close()
        original(folder, *given, **more)

    monkeypatch.setattr(shipper, "ship_folder", ship)
    ship_all(config.home, "c", "digits", store, Shipped())
    assert not second.folder.exists()
    assert claim(config.home) == {"b": 7}


@pytest.mark.parametrize(
    "lacking", [OSError(errno.EMFILE, "too many open files"), MemoryError()], ids=["files", "memory"]
)
def test_a_segment_that_could_not_be_read_for_want_of_something_is_shipped_later(
    config: ServerConfig, metrics: Metrics, store: Any, monkeypatch: pytest.MonkeyPatch, lacking: Exception
) -> None:
    log = open_log(config, metrics, NUMBERS)
    log.append_single(*single())
    log.close()

    def fails(_: Path) -> bytes:
        raise lacking

    shipped = Shipped()
    with monkeypatch.context() as patched:
        patched.setattr(shipper, "_mapped", fails)
        with pytest.raises(type(lacking)):
            ship_folder(log.folder, "digits", store, shipped, abandoned=False)
    assert shipped == Shipped()
    assert not (config.home / "bad").exists()
    ship_folder(log.folder, "digits", store, shipped, abandoned=False)
    assert shipped == Shipped(written=1)
