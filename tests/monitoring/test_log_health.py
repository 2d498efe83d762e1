"""Log files that are missing, torn, gone or late, and clocks that are off: named and counted, and nothing stops."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.monitoring.stream import MODEL, START, Stream, draw
from tests.monitoring.test_watch import cuts, members, watch

from trimtab.core import labels, predictions
from trimtab.core.store import Store
from trimtab.monitoring import explanation, windows
from trimtab.monitoring.log_health import LogHealth

HOUR = "2026-11-21T08"
LATER = timedelta(minutes=3)


def key(n: int, version: str = "v1", server: str = "s") -> str:
    return f"predictions/{MODEL}/{version}/{HOUR}/{server}-{n:08d}.parquet"


def test_a_number_that_never_turns_up_is_missing_after_a_while(store: Store) -> None:
    health = LogHealth(store, MODEL, "v1")
    for n in (3, 4, 7):  # 0 to 2 were another version's
        health.read(key(n), START, START)
    assert health.missing(START) == []
    assert health.missing(START + LATER) == ["s-00000005", "s-00000006"]
    health.read(key(6), START, START + LATER)
    assert health.missing(START + LATER) == ["s-00000005"]
    assert health.facts(START + LATER) == {"missing": ["s-00000005"], "missing_count": 1}


def test_numbers_of_other_versions_are_not_missing(store: Store) -> None:
    store.create(key(1, "v2"), b"canary's")
    health = LogHealth(store, MODEL, "v1")
    for n in (0, 3):
        health.read(key(n), START, START)
    assert health.missing(START + LATER) == ["s-00000002"]


def test_files_that_turn_up_in_any_order_are_not_missing(store: Store) -> None:
    health = LogHealth(store, MODEL, "v1")
    rng = np.random.default_rng(0)
    for server in ("a", "b"):
        for n in rng.permutation(200).tolist():
            health.read(key(n, server=server), START, START)
    assert health.missing(START + LATER) == []
    assert health.facts(START + LATER) is None


def test_a_clock_ahead_is_said_and_forgotten_when_mended(store: Store) -> None:
    health = LogHealth(store, MODEL, "v1")
    health.read(key(0), START + timedelta(hours=2), START)
    assert health.facts(START) == {"ahead_seconds": 7200.0}
    health.read(key(1), START, START + timedelta(minutes=30))
    assert health.ahead == timedelta(hours=2)
    health.read(key(2), START, START + timedelta(minutes=91))
    assert health.facts(START + timedelta(minutes=91)) is None


def test_a_verdict_names_what_is_missing_and_torn(store: Store, tmp_path: Path) -> None:
    stream = Stream(store, tmp_path)
    version, rng = stream.publish(), np.random.default_rng(1)
    watched = watch(stream)
    stream.answer(version, draw(rng, 40))
    stream.files += 1  # this one is lost on its way
    torn = f"predictions/{MODEL}/{version}/{HOUR}/s-{stream.files:08d}.parquet"
    store.create(torn, b"PAR1")
    stream.files += 1
    stream.answer(version, draw(rng, 40))
    watched.step()
    stream.now += LATER
    stream.answer(version, draw(rng, 20))
    (said,) = watched.step()
    assert said.log == {
        "missing": ["s-00000001"],
        "missing_count": 1,
        "unreadable": [torn],
        "unreadable_count": 1,
    }
    told = " ".join(explanation.explain(store, MODEL, version, 1)["paragraphs"])
    assert "1 log file missing, though later ones of the same server turned up: s-00000001." in told
    assert f"1 log file left out because unreadable: {torn}." in told
    assert [v.log for v in windows.verdicts(store, MODEL, version)] == [said.log]


def test_a_server_ahead_of_time_hides_nobody_else(store: Store, tmp_path: Path) -> None:
    """Its rows are taken as they are; what others write now is found at once and is not called late."""
    stream = Stream(store, tmp_path)
    version, rng = stream.publish(), np.random.default_rng(2)
    now = stream.now
    watched = watch(stream)
    watched.clock = lambda: now
    stream.now = now + timedelta(hours=30)
    stream.answer(version, draw(rng, 100), server="ahead")
    (said,) = watched.step()
    assert said.log is not None
    assert said.log["ahead_seconds"] == pytest.approx(30 * 3600 + 99)
    for _ in range(2):
        stream.now = now = now + timedelta(seconds=10)
        stream.label(stream.answer(version, draw(rng, 100), server="right"))
        (said,) = watched.step()
        now += timedelta(seconds=100)
    assert (said.window, said.labelled) == (3, 100)
    assert [p.late for c in cuts(stream, version)[1:] for p in c.pieces] == [False, False]
    assert sum(len(w) for w in members(stream, version)) == 300


def test_files_of_other_columns_are_left_out(store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stream = Stream(store, tmp_path)
    version, rng = stream.publish(), np.random.default_rng(3)
    odd = [
        pa.table({"x": [1.0]}),
        pa.table({"_id": ["a"], "_time": ["yesterday"]}),
        pa.table({"_id": ["a"], "_time": pa.nulls(1, predictions.TIME)}),
    ]
    for n, table in enumerate(odd):
        body = predictions.to_parquet(table)
        store.create(f"predictions/{MODEL}/{version}/{HOUR}/odd-{n:08d}.parquet", body)
        store.create(f"labels/{MODEL}/{HOUR}/odd-{n:08d}.parquet", body)
    values = pa.table({**{n: pa.nulls(1, pa.string()) for n in labels.SCHEMA.names}, "labelled_at": ["soon"]})
    store.create(f"labels/{MODEL}/{HOUR}/odd-00000009.parquet", predictions.to_parquet(values))
    stream.label(stream.answer(version, draw(rng, 100)))
    (said,) = watch(stream).step()
    assert (said.verdict, said.labelled) == ("none", 100)
    assert said.log is not None
    assert said.log["unreadable_count"] == 7
    assert caplog.text.count("left out") == 7


def test_rows_that_were_pruned_leave_a_verdict(store: Store, tmp_path: Path) -> None:
    """A window whose files are gone after a restart keeps what was said, and new windows are judged."""
    stream = Stream(store, tmp_path)
    version, rng = stream.publish(), np.random.default_rng(4)
    stream.label(stream.answer(version, draw(rng, 100)))
    (first,) = watch(stream).step()
    for name in list(store.list(f"predictions/{MODEL}/{version}/")):
        store.delete(name)
    again = watch(stream)
    assert again.step() == []
    stream.label(stream.answer(version, draw(rng, 100)))
    (said,) = again.step()
    assert said.window == 2
    assert said.log is not None
    assert said.log["gone_count"] == 1
    assert windows.verdicts(store, MODEL, version)[0] == first
