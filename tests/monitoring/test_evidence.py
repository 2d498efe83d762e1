"""What is counted of a canary and its champion, and what the log's reader keeps."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.monitoring.world import MODEL, START, World

from trimtab.core import labels, predictions
from trimtab.core.store import Store
from trimtab.monitoring.actuators import SingleServer, count_failures
from trimtab.monitoring.evidence import count
from trimtab.monitoring.log_reader import LogReader

NEW, OLD = "v2-00000002", "v1-00000001"


@pytest.fixture
def world(store: Store, tmp_path: Path) -> World:
    return World(store, tmp_path)


def test_counts_of_both_versions_since_the_step_began(world: World) -> None:
    world.log(OLD, START - timedelta(minutes=5), [False] * 30)
    world.log(OLD, START, [True] * 18 + [False] * 2)
    world.log(NEW, START, [True] * 9 + [False], latency=500.0)
    world.log(NEW, START, [True] * 5, labelled=False)
    reader = LogReader(world.store, MODEL, "order")
    canary, champion = count(reader, NEW, OLD, START, {NEW: (15, 2)})
    assert (champion.rows, champion.labelled, champion.wrong) == (20, 20, 2)
    assert (canary.rows, canary.labelled, canary.wrong) == (15, 10, 1)
    assert (canary.slow, champion.slow) == (10, 0)
    assert (canary.requests, canary.failed, champion.requests) == (15, 2, 0)


def test_nothing_answered_is_all_zero(world: World) -> None:
    canary, champion = count(LogReader(world.store, MODEL), NEW, OLD, START, {})
    assert (canary.rows, champion.labelled) == (0, 0)


def test_a_number_is_wrong_when_it_errs_more_than_most(store: Store) -> None:
    def write(version: str, n: int, error: float) -> None:
        rng = np.random.default_rng(n)
        moments = [START + timedelta(seconds=i) for i in range(40)]
        ids = [f"{version}-{i}" for i in range(40)]
        values = rng.normal(0, error, 40)
        table = {"_id": ids, "_time": pa.array(moments, predictions.TIME), "_value": values}
        predictions.write_log(store, MODEL, version, "s1", n, pa.table(table))
        at = pa.array(moments, predictions.TIME)
        none = pa.array([None] * 40, pa.string())
        known = {"_id": ids, "_key": none, "value": ["0"] * 40, "labelled_at": at, "arrived_at": at, "source": none}
        labels.write_labels(store, MODEL, "s1", n, pa.table(known, schema=labels.SCHEMA))

    write(OLD, 1, 1.0)
    write(NEW, 2, 10.0)
    canary, champion = count(LogReader(store, MODEL), NEW, OLD, START, {})
    assert canary.labelled == champion.labelled == 40
    assert canary.wrong == 20
    assert champion.wrong == 0


def test_a_file_is_read_once_and_forgotten_when_it_no_longer_matters(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    get = type(world.store).get

    def counted(self: Store, key: str) -> bytes:
        reads.append(key)
        return bytes(get(self, key))

    monkeypatch.setattr(type(world.store), "get", counted)
    world.log(OLD, START, [True] * 10)
    reader = LogReader(world.store, MODEL, "order")
    for _ in range(3):
        assert reader.joined(START).num_rows == 10
    world.log(OLD, START + timedelta(hours=3), [True] * 5)
    assert reader.joined(START).num_rows == 15
    assert len(reads) == len(set(reads)) == 4
    assert reader.joined(START + timedelta(hours=3)).num_rows == 5
    assert len(reader._files) == 2


def test_failures_are_read_from_the_servers_metrics() -> None:
    text = """# TYPE trimtab_server_requests_total counter
trimtab_server_requests_total{model="toy",version="v1",protocol="v1",code="200"} 90
trimtab_server_requests_total{model="toy",version="v1",protocol="v2",code="503"} 4
trimtab_server_requests_total{model="toy",version="v2",protocol="v1",code="400"} 6
trimtab_server_requests_total{model="other",version="v1",protocol="v1",code="500"} 7
"""
    assert count_failures(text, "toy") == {"v1": (94, 4), "v2": (6, 0)}


def test_a_server_that_does_not_answer_counts_nothing() -> None:
    assert SingleServer("http://127.0.0.1:9/metrics", timeout=0.5).failures("toy") == {}
    assert SingleServer("").failures("toy") == {}
