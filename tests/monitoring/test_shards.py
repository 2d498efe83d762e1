"""Big windows: streamed from Parquet, counted in shards; split and whole agree exactly, by a Kubeflow loop too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.monitoring.stream import MODEL, SCHEMA, Stream, answered, draw

from trimtab.core.errors import DataError
from trimtab.core.store import Store
from trimtab.monitoring import shards
from trimtab.monitoring.columns import arrays, compared
from trimtab.monitoring.drift import Profile
from trimtab.monitoring.figures_records import inputs_facts

COLUMNS = compared(SCHEMA)
CLASSES = SCHEMA.target.classes


def profile(seed: int = 0, rows: int = 400) -> Profile:
    table = pa.table(answered(draw(np.random.default_rng(seed), rows)))
    return Profile.of(COLUMNS, arrays(table, COLUMNS, CLASSES))


@pytest.fixture
def window(tmp_path: Path) -> Path:
    """Three files of several row groups, one of them without the column `b` and with a category never seen."""
    folder = tmp_path / "window"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for i, rows in enumerate((700, 1, 450)):
        columns = answered(draw(rng, rows, shift=0.3))
        if i == 2:
            del columns["b"]
            columns["plan"] = pa.array(["news", None, "", "plus", "basic"] * (rows // 5), pa.string())
        pq.write_table(pa.table(columns), folder / f"{i}.parquet", row_group_size=150)
    return folder


def same(a: shards.Counts, b: shards.Counts) -> bool:
    return a.keys() == b.keys() and all(
        x.nulls == y.nulls and np.array_equal(x.cells, y.cells) for n in a for x, y in zip(a[n], b[n], strict=True)
    )


def test_streamed_is_what_is_counted_in_memory(window: Path) -> None:
    about = profile()
    whole = about.empty()
    for path in shards.files(window):
        table = pq.read_table(path)
        whole = shards.add(whole, about.count(arrays(table, COLUMNS, CLASSES), table.num_rows))
    assert same(shards.count(about, shards.files(window), CLASSES), whole)
    assert whole["b"][0].nulls > 450
    assert all(parts[0].rows == 1151 for parts in whole.values())


@pytest.mark.parametrize(("number", "threads"), [(1, 1), (2, 2), (5, 1), (40, 3)])
def test_split_and_whole_agree(window: Path, number: int, threads: int) -> None:
    about = profile()
    whole = shards.count(about, shards.files(window), CLASSES)
    parts = shards.split(shards.files(window), number)
    assert 1 <= len(parts) <= number
    groups = [(s.path.name, g) for part in parts for s in part for g in s.groups]
    assert len(groups) == len(set(groups)) == 5 + 1 + 3
    bodies = [shards.to_bytes(about, shards.count(about, part, CLASSES, threads)) for part in parts]
    added = shards.total(about, [shards.from_bytes(about, b) for b in bodies])
    assert same(added, whole)
    assert about.compare(added) == about.compare(whole)
    assert about.compare(whole).p < 1e-6


def test_counts_of_another_reference_are_refused(window: Path) -> None:
    body = shards.to_bytes(profile(), shards.count(profile(), shards.files(window), CLASSES))
    with pytest.raises(DataError, match="another reference"):
        shards.from_bytes(profile(seed=5), body)
    with pytest.raises(DataError, match="not the counts"):
        shards.from_bytes(profile(), b"[]")


def test_what_is_no_parquet_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no Parquet file"):
        shards.files(tmp_path)
    (tmp_path / "a.parquet").write_text("no")
    with pytest.raises(DataError, match="not a Parquet file"):
        shards.count(profile(), shards.files(tmp_path), CLASSES)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64, np.int8, np.uint16])
def test_sorted_counts_are_those_of_the_places(kind: Any) -> None:
    rng = np.random.default_rng(2)
    then = np.round(rng.normal(0, 20, 500))
    cells = shards_cells(then)
    now = np.round(rng.normal(3, 25, 3000)).astype(kind)
    if np.issubdtype(kind, np.floating):
        now[:40], now[40:43] = np.nan, [np.inf, -np.inf, -0.0]
    place = cells.place(now)
    counted = cells.count(now)
    assert np.array_equal(counted.cells, np.bincount(place[place >= 0], minlength=len(counted.cells)))
    assert counted.nulls == (place < 0).sum()


def shards_cells(values: Any) -> Any:
    from trimtab.monitoring.counts import NumberCells

    return NumberCells.of(values)


@pytest.mark.campaign
@pytest.mark.filterwarnings("ignore::DeprecationWarning:kfp")
@pytest.mark.filterwarnings("ignore::FutureWarning:kfp")
def test_a_kubeflow_loop_over_shards_agrees_with_the_whole(
    store: Store, tmp_path: Path, window: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kfp import local

    from trimtab.monitoring.reference import load
    from trimtab.pipelines.compare import build

    version = Stream(store, tmp_path).publish()
    monkeypatch.setenv("TRIMTAB_STORE", store.url)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "root"), raise_on_error=True)
    task = build(shards=3)(model=MODEL, version=version, window=str(window))
    facts = json.loads(Path(task.output.path).read_text())

    about = load(store, MODEL, version)
    whole = shards.count(about.profile, shards.files(window), about.classes)
    assert facts["rows"] == 1151
    assert facts["p"] == about.profile.compare(whole).p
    assert facts["fields"] == json.loads(json.dumps(inputs_facts(about.profile.compare(whole))))["fields"]
