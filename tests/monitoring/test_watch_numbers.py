"""A model of a number, watched: errors in the target's unit, with and without labels."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.monitoring.stream import KEY, START

from trimtab.core import bundle, labels, ledger, predictions
from trimtab.core.schema import Field, Schema, Target
from trimtab.core.store import Store
from trimtab.monitoring.watch import Watch
from trimtab.monitoring.windows import Verdict

MODEL = "numbers"
SCHEMA = Schema(fields=(Field(name="x", kind="number"),), target=Target(name="y", kind="number", unit="mm"))


def draw(rng: np.random.Generator, n: int, noise: float = 1.0) -> dict[str, Any]:
    x = rng.normal(size=n)
    return {"x": x, "_value": 5 * x, "y": 5 * x + noise * rng.standard_t(4, n)}


def publish(store: Store, folder: Path) -> str:
    folder.mkdir()
    pq.write_table(pa.table(draw(np.random.default_rng(0), 1000)), folder / "reference.parquet")
    (folder / "schema.json").write_text(SCHEMA.to_json())
    (folder / "expected.json").write_text(json.dumps({}))
    project = {"name": MODEL, "windows": {"rows": 100}, "task": {"rows_per_day": 1000}}
    version = bundle.publish_bundle(store, MODEL, folder, KEY, metrics={}, threshold=None, lineage={}, project=project)
    state = ledger.state(store, MODEL)
    assert ledger.append(store, MODEL, "promoted", version, expect=state, who="test", why="test") is not None
    return version


def answer(store: Store, version: str, n: int, rows: dict[str, Any]) -> None:
    size = len(rows["x"])
    start = START + timedelta(minutes=5 * n)
    times = pa.array([start + timedelta(seconds=i) for i in range(size)], predictions.TIME)
    ids = pa.array([f"id{n}-{i}" for i in range(size)], pa.string())
    table = pa.table({"_id": ids, "_time": times, "x": rows["x"], "_value": rows["_value"]})
    predictions.write_log(store, MODEL, version, "s", n, table)
    values = pa.array([f"{v:.6f}" for v in rows["y"]], pa.string())
    none = pa.nulls(size, pa.string())
    found = [ids, none, values, times, times, none]
    labels.write_labels(store, MODEL, "s", n, pa.table(dict(zip(labels.SCHEMA.names, found, strict=True))))


@pytest.mark.parametrize(("noise", "verdict"), [(1.0, "none"), (2.5, "drift")])
def test_errors_that_grow_are_drift(store: Store, tmp_path: Path, noise: float, verdict: str) -> None:
    version = publish(store, tmp_path / "bundle")
    rng = np.random.default_rng(2)
    watch = Watch(store, MODEL, clock=lambda: START + timedelta(hours=1))
    said: list[Verdict] = []
    for n in range(4):
        answer(store, version, n, draw(rng, 100, noise if n > 1 else 1.0))
        said += watch.step()
    assert [v.verdict for v in said] == ["none", "none", verdict, verdict]
    last = said[-1]
    assert last.labelled == 100
    assert last.performance["metric"] == "mean absolute error"
    assert last.performance["reference"]["value"] == pytest.approx(0.95, abs=0.15)
    expected = last.performance["expected"]
    assert expected["low"] < last.performance["reference"]["value"] < expected["high"]
    if verdict == "drift":
        assert last.cause == "concept"
        assert last.since is not None
        assert last.cost_per_day == pytest.approx(1000 * 1.2, rel=0.4)  # 1.2 mm more a row
        assert "Mean absolute error is" in last.words
