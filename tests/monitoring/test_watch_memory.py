"""What the watch holds does not grow with traffic: long windows, long histories, many labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.monitoring.stream import MODEL, Stream, draw

from trimtab.core import predictions
from trimtab.core.store import Store
from trimtab.monitoring import follow, reading
from trimtab.monitoring.watch import Watch


@pytest.fixture
def stream(store: Store, tmp_path: Path) -> Stream:
    return Stream(store, tmp_path, windows={"rows": 100})


def watch(stream: Stream) -> Watch:
    return Watch(stream.store, MODEL, clock=lambda: stream.now)


def test_a_long_window_is_counted_whole_and_joined_in_part(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "KEPT_ROWS", 30)
    version = stream.publish()
    rng = np.random.default_rng(0)
    parts = [stream.answer(version, draw(rng, n)) for n in (33, 7, 60)]
    for part in parts:
        stream.label(part)
    about = watch(stream)
    (said,) = about.step()
    assert (said.rows, said.labelled) == (100, 25)  # every fourth
    known = about._follow
    assert known is not None
    ids = known.labelled.open[1]["_id"].to_pylist()
    whole = [i for p in parts for i in stream.kept[p][0]]
    assert ids == whole[::4]
    assert known.history[1].figures.inputs is not None


def test_a_restart_reads_rows_only_where_labels_may_be_joined(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    version = stream.publish()
    rng = np.random.default_rng(1)
    for _ in range(6):
        stream.answer(version, draw(rng, 100))
    first = watch(stream)
    assert [v.window for v in first.step()] == [1, 2, 3, 4, 5, 6]

    monkeypatch.setattr(follow, "OPEN_ROWS", 250)
    asked: list[str] = []
    real = predictions.read_files

    def noted(store: Store, keys: list[str], columns: Any = None) -> Any:
        asked.extend(keys)
        return real(store, keys, columns)

    monkeypatch.setattr(predictions, "read_files", noted)
    again = follow.Follow(stream.store, MODEL, first._follow.reference)  # type: ignore[union-attr]
    assert sorted(again.labelled.open) == [5, 6]
    assert len(set(asked)) == 2
    assert {w: h.figures for w, h in again.history.items()} == _figures(first)
    stream.label(5)
    assert [v.window for v in again.step(stream.now) if v.labelled] == [6]
    assert [v.rows for v in [again.history[w].said for w in range(1, 7)] if v] == [100] * 6


def _figures(about: Watch) -> dict[int, Any]:
    assert about._follow is not None
    return {w: h.figures for w, h in about._follow.history.items()}


def test_many_labels_are_joined_a_part_at_a_time(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "LANDING_ROWS", 20)
    version = stream.publish()
    rng = np.random.default_rng(2)
    part = stream.answer(version, draw(rng, 100))
    for start in range(0, 100, 10):
        stream.label(part, slice(start, start + 10))
    about = watch(stream)
    sizes: list[int] = []
    about.step()
    known = about._follow
    assert known is not None
    real = known.labelled.land

    def noted(new: Any, now: Any) -> set[int]:
        sizes.append(new.num_rows)
        return real(new, now)

    monkeypatch.setattr(known.labelled, "land", noted)
    for start in range(0, 100, 10):
        stream.label(part, slice(start, start + 10))
    about.step()
    assert known.history[1].figures.realised is not None
    assert known.history[1].figures.realised.labelled == 100
    assert sizes
    assert max(sizes) <= 30
