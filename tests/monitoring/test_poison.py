"""Windows that make no sense: each has a verdict, and the ones behind it have theirs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.monitoring.stream import MODEL, Stream, answered, draw
from tests.monitoring.test_watch import watch

from trimtab.core import predictions
from trimtab.core.store import Store
from trimtab.monitoring import windows
from trimtab.monitoring.performance import Yardstick


@pytest.fixture
def stream(store: Store, tmp_path: Path) -> Stream:
    return Stream(store, tmp_path)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("poison", ["null", "one", "infinite", "odd types"])
def test_a_poisoned_window_has_a_verdict(stream: Stream, rng: np.random.Generator, poison: str) -> None:
    version = stream.publish()
    watched = watch(stream)
    rows = draw(rng, 100)
    if poison == "null":
        rows["a"][:], rows["b"][:] = np.nan, np.nan
        rows["plan"] = np.array([""] * 100)
    elif poison == "one":
        rows["a"][:], rows["b"][:] = 1.0, 1.0
        rows["plan"] = np.array(["plus"] * 100)
    elif poison == "infinite":
        rows["a"][:] = np.inf
    if poison == "odd types":
        names, times = [f"x-{i}" for i in range(100)], pa.array([stream.now] * 100, predictions.TIME)
        table = pa.table({"_id": names, "_time": times, "a": ["text"] * 100, "_label": pa.nulls(100, pa.string())})
        predictions.write_log(stream.store, MODEL, version, "s", 0, table)
    else:
        stream.label(stream.answer(version, rows))
    (said,) = watched.step()
    assert said.verdict != "none"
    assert said.layers["inputs"] == "watch"
    assert {"a"} <= {f["name"] for f in said.fields}


def odd_file(stream: Stream, version: str, n: int, **columns: object) -> None:
    """Fifty rows as a server that went wrong might write them."""
    rows = draw(np.random.default_rng(n), 50)
    plain: dict[str, object] = {
        "_id": [f"odd{n}-{i}" for i in range(50)],
        "_time": pa.array([stream.now + timedelta(seconds=i) for i in range(50)], predictions.TIME),
        **answered(rows),
        "order": [f"odd{n}-{i}" for i in range(50)],
    }
    table = pa.table({**plain, **columns})
    predictions.write_log(stream.store, MODEL, version, "odd", n, table)
    stream.now += timedelta(seconds=60)


def test_rows_that_lie_about_the_model_have_a_verdict(stream: Stream, rng: np.random.Generator) -> None:
    """Answers that are numbers or of no class, probabilities that are none, too many, not finite or beyond 1."""
    version = stream.publish()
    watched = watch(stream)
    floats = pa.list_(pa.float32())
    odd = [
        {"_label": pa.array([1] * 50)},
        {"_label": ["neither"] * 50},
        {"_label": pa.nulls(50, pa.string())},
        {"_probabilities": pa.nulls(50, floats)},
        {"_probabilities": pa.array([[0.2, 0.3, 0.5]] * 50, floats)},
        {"_probabilities": pa.array([[float("nan"), float("inf")]] * 50, floats)},
        {"_probabilities": pa.array([[-7.0, 8.0]] * 50, floats)},
        {"_probabilities": ["none"] * 50},
        {"order": pa.array(range(50))},
        {"a": pa.array([1e308, -1e308] * 25)},
        {"a": pa.array([[1.0]] * 50)},
        {"plan": pa.array([3.5] * 50)},
        {"plan": pa.array([["basic"]] * 50)},
    ]
    for n, columns in enumerate(odd):
        odd_file(stream, version, n, **columns)
        stream.label(stream.answer(version, draw(rng, 50)))
        said = watched.step()
        assert [v.window for v in said][-1] == n + 1, columns
        assert said[-1].verdict in ("none", "watch", "drift")
        assert said[-1].labelled == 50
    assert watch(stream).step() == []
    assert np.isfinite([v.cost_per_day for v in windows.verdicts(stream.store, MODEL, version)]).all()


def test_rows_that_nobody_foresaw_do_not_stop_the_watch(
    stream: Stream, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = stream.publish()
    watched = watch(stream)
    kept = Yardstick.kept

    def fails(self: Yardstick, table: pa.Table, key_field: str | None = None) -> pa.Table:
        if table.num_rows == 33:
            raise ValueError("never seen before")
        return kept(self, table, key_field)

    monkeypatch.setattr(Yardstick, "kept", fails)
    for n in (33, 67, 100):
        stream.label(stream.answer(version, draw(rng, n)))
    said = watched.step()
    assert [(v.window, v.rows, v.labelled) for v in said] == [(1, 100, 67), (2, 100, 100)]
    assert said[0].log is not None
    assert said[0].log["unreadable_count"] == 1


@pytest.mark.parametrize("values", [["maybe"] * 60, [""] * 60, ["yes", "no", "1", "null", "YES"] * 12])
def test_labels_of_no_class_have_a_verdict(stream: Stream, rng: np.random.Generator, values: list[str]) -> None:
    version = stream.publish()
    watched = watch(stream)
    at = stream.answer(version, draw(rng, 100))
    ids, keys, _, last = stream.kept[at]
    stream.kept[at] = (ids, keys, values, last)
    stream.label(at, slice(0, 60))
    (said,) = watched.step()
    assert said.labelled == 60
    assert said.words


def test_a_file_that_cannot_be_read_is_left_out(
    stream: Stream, rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    version = stream.publish()
    stream.store.create(f"predictions/{MODEL}/{version}/2026-11-21T08/s-00000900.parquet", b"junk")
    stream.store.create(f"labels/{MODEL}/2026-11-21T08/s-00000901.parquet", b"junk")
    stream.answer(version, draw(rng, 100))
    assert len(watch(stream).step()) == 1
    assert "s-00000900" in caplog.text
    assert "s-00000901" in caplog.text
