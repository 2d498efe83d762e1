"""The watch over a real store: windows, labels in any order, restarts at every write, two at once."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from tests.monitoring.stream import MODEL, SCHEMA, Stream, answered, draw
from tests.monitoring.world import Dying, Killed

from trimtab.core import predictions
from trimtab.core.errors import SignatureError, StoreError
from trimtab.core.records import read_record, rfc3339
from trimtab.core.store import Store
from trimtab.monitoring import windows
from trimtab.monitoring.watch import Watch
from trimtab.monitoring.windows import Cut, Verdict


@pytest.fixture
def stream(store: Store, tmp_path: Path) -> Stream:
    return Stream(store, tmp_path)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def watch(stream: Stream, store: Store | None = None) -> Watch:
    return Watch(store or stream.store, MODEL, clock=lambda: stream.now)


def cuts(stream: Stream, version: str) -> list[Cut]:
    keys = windows.keys_by_window(stream.store, MODEL, version)
    return [
        Cut.of(read_record(stream.store, f"{windows.folder(MODEL, version, w)}cut.json", "window-cut"))
        for w in sorted(keys)
    ]


def members(stream: Stream, version: str) -> list[list[str]]:
    """Ids of the rows of each window."""
    found = []
    for cut in cuts(stream, version):
        tables = [
            predictions.read_files(stream.store, [p.key], ["_id"]).slice(p.start, p.stop - p.start) for p in cut.pieces
        ]
        found.append([i for t in tables for i in t["_id"].to_pylist()])
    return found


def told(verdicts: Iterable[Verdict]) -> list[tuple[int, str, int, int]]:
    return [(v.window, v.verdict, v.labelled, v.k) for v in verdicts]


def test_rows_become_windows_and_labels_make_verdicts_better(stream: Stream, rng: np.random.Generator) -> None:
    version = stream.publish()
    watched = watch(stream)
    assert watched.step() == []
    at = stream.answer(version, draw(rng, 130))
    assert told(watched.step()) == [(1, "none", 0, 1)]
    stream.label(at)
    assert told(watched.step()) == [(1, "none", 100, 2)]
    later = stream.answer(version, draw(rng, 70))
    assert told(watched.step()) == [(2, "none", 30, 1)]
    stream.label(later, by_key=True)
    assert told(watched.step()) == [(2, "none", 100, 2)]
    assert watched.step() == []
    newest = windows.latest(stream.store, MODEL, version)
    assert newest is not None
    assert (newest.window, newest.labelled, newest.rows) == (2, 100, 100)
    assert [v.k for v in windows.verdicts(stream.store, MODEL, version)] == [2, 2]
    ids = members(stream, version)
    assert [len(w) for w in ids] == [100, 100]
    assert ids[0] + ids[1] == stream.kept[0][0] + stream.kept[1][0]


def test_a_drift_is_said_with_its_records(stream: Stream, rng: np.random.Generator) -> None:
    version = stream.publish()
    watched = watch(stream)
    for flip in (0.0, 0.0, 0.3):
        stream.label(stream.answer(version, draw(rng, 100, flip=flip)))
        said = watched.step()
    (last,) = said
    assert (last.window, last.verdict, last.cause) == (3, "drift", "concept")
    assert last.since is not None
    assert last.since["lower"] <= rfc3339(stream.now - timedelta(seconds=100)) <= last.since["upper"]
    assert last.report == f"reports/windows/{MODEL}/{version}/00000003/verdict.html"
    names = {k.rpartition("/")[2] for k in windows.keys_by_window(stream.store, MODEL, version)[3]}
    assert names == {"cut.json", "inputs.json", "expected.json", "realised-00000001.json", "verdict-00000001.json"}
    assert last.performance["realised"]["value"] < last.performance["reference"]["low"]
    stream.answer(version, draw(rng, 100, flip=0.3))
    (unlabelled,) = watched.step()
    assert unlabelled.verdict == "drift"
    assert unlabelled.report == windows.page_key(MODEL, version, 4)  # an alert always has a page to link to


def test_labels_late_partial_out_of_order_and_contradicting(stream: Stream, rng: np.random.Generator) -> None:
    version = stream.publish()
    watched = watch(stream)
    first, second = stream.answer(version, draw(rng, 100)), stream.answer(version, draw(rng, 100))
    watched.step()
    stream.label(second, slice(50, 100))
    assert told(watched.step()) == [(2, "none", 50, 2)]
    stream.label(first, slice(90, 100), by_key=True)
    # The older window got labels, and with it the newest is judged again; that says nothing new.
    assert told(watched.step()) == [(1, "none", 10, 2)]
    stream.label(first, slice(0, 100))
    stream.label(first, slice(0, 100))  # the same again counts once
    assert told(watched.step()) == [(1, "none", 100, 3)]
    stream.label(first, slice(0, 40), turned=True)
    said = watched.step()
    assert (1, 100) in [(v.window, v.labelled) for v in said]
    record = read_record(stream.store, f"{windows.folder(MODEL, version, 1)}realised-00000003.json", "window-realised")
    assert record["contradicted"] == 40
    assert record["value"] < 0.7


def test_labels_that_come_before_their_window_wait(stream: Stream, rng: np.random.Generator) -> None:
    version = stream.publish()
    watched = watch(stream)
    at = stream.answer(version, draw(rng, 60))
    stream.label(at)
    assert watched.step() == []
    stream.answer(version, draw(rng, 40))
    assert told(watched.step()) == [(1, "none", 60, 1)]


def test_few_new_labels_wait_for_a_pause(stream: Stream, rng: np.random.Generator) -> None:
    version = stream.publish()
    watched = watch(stream)
    at = stream.answer(version, draw(rng, 100))
    stream.label(at, slice(0, 50))
    assert told(watched.step()) == [(1, "none", 50, 1)]
    stream.label(at, slice(50, 52))
    assert watched.step() == []
    stream.now += timedelta(seconds=6)
    assert told(watched.step()) == [(1, "none", 52, 2)]


def test_a_restart_finds_everything_said(stream: Stream, rng: np.random.Generator) -> None:
    version = stream.publish()
    watched = watch(stream)
    for flip in (0.0, 0.3):
        stream.label(stream.answer(version, draw(rng, 110, flip=flip)), slice(0, 60))
        watched.step()
    before = sorted(stream.store.list("windows/"))
    again = watch(stream)
    assert again.step() == []
    assert sorted(stream.store.list("windows/")) == before
    at = stream.answer(version, draw(rng, 80))
    stream.label(at)
    assert [v.window for v in again.step()] == [3]
    assert sum(len(w) for w in members(stream, version)) == len({i for w in members(stream, version) for i in w}) == 300


def test_a_restart_reads_no_rows_of_windows_that_are_history(
    stream: Stream, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = stream.publish()
    watched = watch(stream)
    for _ in range(5):
        stream.label(stream.answer(version, draw(rng, 100)))
        watched.step()
    monkeypatch.setattr("trimtab.monitoring.follow.HISTORY", 2)
    again = watch(stream)
    assert again.step() == []
    follow = again._follow
    assert follow is not None
    assert sorted(follow.history) == sorted(follow.labelled.open) == [4, 5]
    stream.label(stream.answer(version, draw(rng, 100)))
    assert [v.window for v in again.step()] == [6]
    rows = [i for w in members(stream, version) for i in w]
    assert len(rows) == len(set(rows)) == 600


@pytest.mark.parametrize(("at", "after"), [(1, True), (2, False), (3, True)])
def test_killed_at_writes_nothing_is_lost_or_counted_twice(store: Store, tmp_path: Path, at: int, after: bool) -> None:
    """Every process dies at its first, second or third write, until one finds nothing more to write."""
    stream = Stream(store, tmp_path)
    version = stream.publish()
    rng = np.random.default_rng(1)
    deaths = 0
    for round_, flip in enumerate((0.0, 0.0, 0.35, 0.35)):
        stream.label(stream.answer(version, draw(rng, 90, flip=flip)), by_key=bool(round_ % 2))
        while True:
            try:
                watch(stream, Dying(store, at, after)).step()
                break
            except Killed:
                deaths += 1
    assert deaths >= 12 // at - 1  # three windows of five records each, at most one process a window survives
    assert watch(stream).step() == []
    rows = [i for w in members(stream, version) for i in w]
    assert len(rows) == len(set(rows)) == 300
    last = windows.latest(store, MODEL, version)
    assert last is not None
    assert (last.window, last.verdict, last.labelled) == (3, "drift", 100)


def test_two_watches_agree(stream: Stream, rng: np.random.Generator) -> None:
    version = stream.publish()
    one, two = watch(stream), watch(stream)
    for i in range(4):
        a = stream.answer(version, draw(rng, 70), server="a")
        (one if i % 2 else two).step()
        b = stream.answer(version, draw(rng, 50), server="b")
        stream.label(a)
        stream.label(b, by_key=True)
        one.step()
        two.step()
    rows = [i for w in members(stream, version) for i in w]
    assert len(rows) == len(set(rows)) == 400
    said = windows.verdicts(stream.store, MODEL, version)
    assert [v.window for v in said] == [1, 2, 3, 4]
    before = sorted(stream.store.list("windows/"))
    assert one.step() + two.step() + watch(stream).step() == []
    assert sorted(stream.store.list("windows/")) == before


def test_a_late_file_goes_to_the_next_window_and_is_marked(stream: Stream, rng: np.random.Generator) -> None:
    version = stream.publish()
    watched = watch(stream)
    start = stream.now
    stream.now = start + timedelta(seconds=3600 * 3)
    stream.answer(version, draw(rng, 100))
    watched.step()
    now, stream.now = stream.now, start
    stream.answer(version, draw(rng, 60), server="late")
    stream.now = now
    stream.answer(version, draw(rng, 40))
    watched.step()
    stream.now += timedelta(seconds=61)  # the whole log is listed once in a minute
    watched.step()
    second = cuts(stream, version)[1]
    assert {(p.key.rpartition("/")[2].partition("-")[0], p.late) for p in second.pieces} == {
        ("late", True),
        ("s", False),
    }


def test_a_window_is_cut_by_time_where_asked(store: Store, tmp_path: Path, rng: np.random.Generator) -> None:
    stream = Stream(store, tmp_path, windows={"rows": 1000, "minutes": 10})
    version = stream.publish()
    watched = watch(stream)
    stream.answer(version, draw(rng, 40))
    assert watched.step() == []
    stream.now += timedelta(minutes=10)
    assert told(watched.step()) == [(1, "none", 0, 1)]
    assert cuts(stream, version)[0].reason == "time"


def test_it_follows_the_champion(stream: Stream, rng: np.random.Generator) -> None:
    first = stream.publish(0)
    watched = watch(stream)
    stream.answer(first, draw(rng, 100))
    assert [v.version for v in watched.step()] == [first]
    second = stream.publish(1)
    stream.answer(first, draw(rng, 100))
    stream.answer(second, draw(rng, 100))
    assert [(v.version, v.window) for v in watched.step()] == [(second, 1)]


def test_without_a_champion_or_rows_it_waits(stream: Stream) -> None:
    assert watch(stream).step() == []
    stream.publish()
    assert watch(stream).step() == []


def test_a_reference_that_was_changed_is_refused(stream: Stream) -> None:
    version = stream.publish()
    stream.store.put(f"models/{MODEL}/versions/{version}/reference.parquet", b"other")
    with pytest.raises(SignatureError, match=r"reference\.parquet"):
        watch(stream).step()


def test_a_store_that_is_away_loses_nothing(stream: Stream, rng: np.random.Generator) -> None:
    version = stream.publish()

    class Away(Dying):
        away = False

        def get(self, key: str) -> bytes:
            if self.away and key.startswith("predictions/"):
                raise StoreError("away", object=key)
            return super().get(key)

    store = Away(stream.store)
    watched = watch(stream, store)
    stream.answer(version, draw(rng, 60))
    watched.step()
    store.away = True
    stream.answer(version, draw(rng, 40))
    with pytest.raises(StoreError):
        watched.step()
    store.away = False
    assert [v.window for v in watched.step()] == [1]
    assert len(members(stream, version)[0]) == 100


def test_records_of_a_window_hold_no_row(stream: Stream, rng: np.random.Generator) -> None:
    """Windows are sums: no value of a field, no id and no key goes into them."""
    version = stream.publish()
    at = stream.answer(version, draw(rng, 100))
    stream.label(at)
    watch(stream).step()
    ids, keys, _, _ = stream.kept[at]
    for key in stream.store.list("windows/"):
        body = stream.store.get(key).decode()
        assert ids[5] not in body
        assert f'"{keys[5]}"' not in body
    assert set(answered(draw(rng, 1))) >= {f.name for f in SCHEMA.features}
