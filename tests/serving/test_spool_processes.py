"""The prediction log of a whole server: outages, kills and signals, of the server or its shipper, lose no row."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.serving.bundles import Place, Running, running, starting
from tests.serving.raw import Raw, post

from trimtab.core import labels, predictions
from trimtab.serving.config import ServerConfig
from trimtab.serving.process import unshipped

REQUEST = post("/v1/models/digits:predict", {"instances": [[[1.0] * 8] * 8]})


def logged(place: Place, version: str) -> pa.Table:
    return predictions.read_files(place.store, predictions.list_files(place.store, "digits", version))


def ask(server: Running, n: int) -> None:
    with Raw(server.url) as raw:
        for _ in range(n):
            assert raw.ask(REQUEST)[0] == 200


def test_an_outage_of_the_store_costs_no_request_and_no_row(place: Place) -> None:
    version = place.serve("digits", "digits")
    root, away = place.root / "store", place.root / "away"
    with running(place, "digits") as server:
        ask(server, 50)
        server.until(lambda: server.metric("trimtab_log_rows_total", outcome="written") == 50)
        root.rename(away)
        root.write_text("no folder")
        ask(server, 100)
        server.until(lambda: server.metric("trimtab_store_errors_total") > 0)
        assert server.metric("trimtab_log_rows_total", outcome="written") == 50
        server.until(lambda: server.metric("trimtab_log_spool_bytes") > 0)
        root.unlink()
        away.rename(root)
        server.until(lambda: server.metric("trimtab_log_rows_total", outcome="written") == 150)
        assert server.metric("trimtab_log_rows_total", outcome="dropped") == 0
    assert logged(place, version).num_rows == 150
    assert len(set(logged(place, version)["_id"].to_pylist())) == 150


@pytest.mark.parametrize("with_shipper", [False, True])
def test_kill_9_loses_nothing_that_was_on_disk(place: Place, with_shipper: bool) -> None:
    version = place.serve("digits", "digits")
    with starting(place, "digits", "--flush-seconds", "60") as server:
        server.until(lambda: _up(server))
        server.until_ready()
        ask(server, 80)
        server.until(lambda: server.metric("trimtab_log_rows_total", outcome="spooled") == 80)
        (shipper,) = server.children()
        if with_shipper:
            os.kill(shipper, signal.SIGKILL)
        server.process.kill()
        server.process.wait()
    if with_shipper:
        with running(place, "digits") as after:
            after.until(lambda: after.metric("trimtab_log_rows_total", outcome="written") == 80)
    else:
        _until(lambda: not Path(f"/proc/{shipper}").exists())  # it ships what is left, then ends
    assert logged(place, version).num_rows == 80


def test_a_killed_shipper_is_started_again(place: Place) -> None:
    version = place.serve("digits", "digits")
    with running(place, "digits") as server:
        (shipper,) = server.children()
        os.kill(shipper, signal.SIGKILL)
        ask(server, 20)
        server.until(lambda: server.metric("trimtab_log_rows_total", outcome="written") == 20)
        assert server.children() != [shipper]
    assert logged(place, version).num_rows == 20


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_a_shipper_that_died_gets_a_successor_at_the_end(place: Place, options: tuple[str, ...]) -> None:
    version = place.serve("digits", "digits")
    with running(place, "digits", "--flush-seconds", "60", *options) as server:
        ask(server, 30)
        for pid in server.children():
            if b"serving.shipper" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
    assert server.process.returncode == 0
    assert logged(place, version).num_rows == 30


def test_what_a_worker_left_is_unshipped_too(tmp_path: Path) -> None:
    """A shipper that died just before the end gets a successor for the workers' rows, which lie beside the keeper's."""
    config = ServerConfig("digits", "", tmp_path, tmp_path, tmp_path, workers=2)
    for folder in (config.name, f"{config.name}w0s0", f"{config.name}w1s0", "another"):
        (config.home / folder / "log").mkdir(parents=True)
    (config.home / "another" / "log" / "00000000.done").touch()
    assert not unshipped(config)
    (config.home / f"{config.name}w1s0" / "log" / "00000000.open").touch()
    assert unshipped(config)


def test_what_is_sent_to_the_servers_group_is_not_for_its_shipper(place: Place) -> None:
    version = place.serve("digits", "digits")
    with running(place, "digits", "--flush-seconds", "60") as server:
        (shipper,) = server.children()
        assert os.getpgid(shipper) != os.getpgid(server.process.pid)
        ask(server, 10)
        os.kill(server.process.pid, signal.SIGINT)
    assert logged(place, version).num_rows == 10


def test_sigterm_drains_and_leaves_no_process_and_no_spool(place: Place) -> None:
    version = place.serve("digits", "digits")
    with running(place, "digits", "--flush-seconds", "60") as server:
        ask(server, 30)
        children = server.children()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(120) == 0
        assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert logged(place, version).num_rows == 30
    assert list((place.root / "home" / "spool" / "digits").iterdir()) == []


def test_labels_are_on_disk_before_they_are_acknowledged_and_reach_the_store(place: Place) -> None:
    place.serve("digits", "digits")
    with running(place, "digits", "--flush-seconds", "60") as server, Raw(server.url) as raw:
        token = place.settings.token_file.read_text().strip()
        body = {"labels": [{"key": "k1", "value": 3}]}
        assert raw.ask(post("/feedback", body, Authorization=f"Bearer {token}"))[0] == 202
        (segment,) = (place.root / "home" / "spool").rglob("labels/*.open")
        assert json.loads(segment.read_bytes())["value"] == "3"
    (row,) = labels.read_files(place.store, labels.list_files(place.store, "digits")).to_pylist()
    assert (row["_key"], row["value"]) == ("k1", "3")


def _up(server: Running) -> bool:
    try:
        return server.get("/v2/health/live")[0] == 200
    except OSError:
        return False


def _until(what: Any, seconds: float = 120) -> None:
    import time

    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)
