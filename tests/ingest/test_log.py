"""The log as a source: labelled rows alone, split in time, each once, the same rows for ever once fixed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.ingest.logs import label, log, moment, prediction_id
from tests.ingest.tables import PEOPLE, Place, people, write_csv

from trimtab.core import logsource, sources
from trimtab.core.datasets import read_manifest, read_table
from trimtab.core.errors import DataError, NotFound, ProjectError
from trimtab.core.records import rfc3339
from trimtab.core.sources import resolve

MODEL = "people"


def rows(first: int, count: int, minute: float = 0.0) -> list[dict[str, Any]]:
    """Served rows, one a minute."""
    made = people(first + count)[first:]
    return [
        {"age": r[0], "income": r[1], "city": r[2], "person": r[3], "row": first + i, "minute": minute + i}
        for i, r in enumerate(made)
    ]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """120 served rows of two versions, labelled half by id and half by key, the last ten not at all."""
    place = Place(tmp_path)
    log(place.store, PEOPLE, MODEL, "v1-aaaaaaaa", rows(0, 60))
    log(place.store, PEOPLE, MODEL, "v2-bbbbbbbb", rows(60, 60, 60.0))
    truth = [r[4] for r in people(120)]
    label(
        place.store,
        MODEL,
        [
            {"id": prediction_id(i), "value": truth[i], "minute": i + 0.5}
            if i % 2
            else {"key": f"p{i:04d}", "value": truth[i], "minute": i + 0.5}
            for i in range(110)
        ],
    )
    return place


def source(**more: Any) -> dict[str, Any]:
    return {"log": {"model": MODEL, **more}}


def test_labelled_rows_of_every_version_in_order_of_time(place: Place) -> None:
    read = place.ingest(source())
    table = read_table(place.folder / "data")
    assert read.rows == 110
    assert read.judge_rows == 0
    assert table["person"].to_pylist() == [f"p{i:04d}" for i in range(110)]
    assert table["churn"].to_pylist() == [r[4] for r in people(110)]
    assert table["_id"][3].as_py() == prediction_id(3)
    assert table["_time"][3].as_py() == moment(3)
    assert any("10 of 120 logged rows have no label" in w for w in read.warnings)


@pytest.mark.parametrize("batch", [1, 500])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_stretch_over_versions_that_kept_numbers_in_different_widths(
    place: Place, dtype: Any, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logsource, "BATCH_FILES", batch)
    fields = tuple(replace(f, dtype="float32") if f.kind == "number" else f for f in PEOPLE.fields)
    log(place.store, replace(PEOPLE, fields=fields), MODEL, "v3-cccccccc", rows(120, 20, 120.0))
    truth = [r[4] for r in people(140)][120:]
    items = [{"id": prediction_id(120 + i), "value": one, "minute": 140.0} for i, one in enumerate(truth)]
    label(place.store, MODEL, items, n=1)
    wanted = replace(PEOPLE, fields=tuple(replace(f, dtype=dtype) if f.kind == "number" else f for f in PEOPLE.fields))
    assert place.ingest(source(), wanted).rows == 130
    table = read_table(place.folder / "data")
    assert {str(table.schema.field(name).type) for name in ("age", "income")} == {
        {"float64": "double", "float32": "float"}[dtype]
    }
    incomes = np.array([r[1] for r in [*people(120)[:110], *people(140)[120:]]])
    np.testing.assert_allclose(table["income"].to_pylist(), incomes, rtol=1e-7)


def test_a_stretch_split_into_training_and_judging(place: Place) -> None:
    read = place.ingest(
        source(
            since=rfc3339(moment(20)),
            until=rfc3339(moment(100)),
            judge_from=rfc3339(moment(80)),
            against="v1-aaaaaaaa",
        )
    )
    assert (read.rows, read.judge_rows) == (60, 20)
    train, judge = read_table(place.folder / "data"), read_table(place.folder / "judge")
    assert train["person"].to_pylist() == [f"p{i:04d}" for i in range(20, 80)]
    assert judge["person"].to_pylist() == [f"p{i:04d}" for i in range(80, 100)]
    assert train.schema == judge.schema
    assert read_manifest(place.folder / "judge").note["against"] == "v1-aaaaaaaa"
    checked = place.validate()
    assert checked.rows == 60
    assert read_manifest(place.folder / "checked_judge").rows == 20
    assert read_manifest(place.folder / "checked_judge").note["against"] == "v1-aaaaaaaa"


def test_labels_that_arrived_later_do_not_count(place: Place) -> None:
    read = place.ingest(source(labels_until=rfc3339(moment(50))))
    assert read.rows == 50


def test_a_fixed_source_names_the_same_rows_for_ever(place: Place) -> None:
    fixed = resolve(source(), place.store, place.folder)
    before = place.ingest(fixed.source)
    log(place.store, PEOPLE, MODEL, "v2-bbbbbbbb", rows(120, 20, 120.0), n=1)
    label(place.store, MODEL, [{"key": f"p{i:04d}", "value": "no", "minute": 150} for i in range(110, 140)], n=1)
    assert resolve(fixed.source, place.store, place.folder) == fixed
    assert place.ingest(json.loads(json.dumps(fixed.source))).digest == before.digest
    now = resolve(source(), place.store, place.folder)
    assert now.digest != fixed.digest
    assert place.ingest(now.source).rows == 140


def test_a_row_already_used_is_used_once(place: Place) -> None:
    first = place.ingest(source(until=rfc3339(moment(40))))
    both = place.ingest(
        [{"dataset": f"people/{first.digest}"}, source(since=rfc3339(moment(20)), judge_from=rfc3339(moment(90)))]
    )
    assert (both.rows, both.judge_rows) == (90, 20)
    people_seen = read_table(place.folder / "data")["person"].to_pylist()
    assert len(people_seen) == len(set(people_seen))
    assert any("20 logged rows came before" in w for w in both.warnings)
    judged = place.ingest([{"dataset": f"people/{first.digest}"}, source(judge_from=rfc3339(moment(30)))])
    assert judged.judge_rows == 70, "ten of the rows to judge on were trained on before"


def test_a_table_and_the_log_together(place: Place) -> None:
    path = write_csv(place.folder / "people.csv", people(60, seed=9))
    read = place.ingest([str(path), source(judge_from=rfc3339(moment(90)))])
    assert (read.rows, read.judge_rows) == (60 + 90, 20)
    table = read_table(place.folder / "data")
    assert table["_id"].null_count == 60


def test_a_list_in_the_store(place: Place) -> None:
    place.store.create("campaigns/people/00000001/retrain-1/data.json", json.dumps(source()["log"]).encode())
    listed = {"log": {"list": "campaigns/people/00000001/retrain-1/data.json"}}
    assert place.ingest(listed).rows == 110
    with pytest.raises(NotFound):
        place.ingest({"log": {"list": "campaigns/people/00000009/none.json"}})
    place.store.create("campaigns/people/x.json", b'{"model": 3}')
    with pytest.raises(DataError, match="no log source"):
        place.ingest({"log": {"list": "campaigns/people/x.json"}})


def test_a_long_list_is_kept_in_the_store(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "INLINE_BYTES", 1000)
    for n in range(2, 20):
        log(place.store, PEOPLE, MODEL, "v2-bbbbbbbb", rows(n * 10, 1, 120.0), n=n)
    fixed = resolve(source(), place.store, place.folder)
    assert len(json.dumps(fixed.source)) < 1000
    assert set(fixed.source["sources"][0]["log"]) == {"list", "digest"}
    assert resolve(fixed.source, place.store, place.folder) == fixed
    assert place.ingest(fixed.source).rows == 110


def test_what_cannot_be_answered(place: Place) -> None:
    before = place.keys()
    with pytest.raises(DataError, match=r"no file there.*serve the model first|no file there.*Serve the model first"):
        place.ingest({"log": {"model": "nobody"}})
    with pytest.raises(DataError, match="no logged row there has a label"):
        place.ingest(source(since=rfc3339(moment(111))))
    with pytest.raises(ProjectError, match=r"RFC 3339.*yesterday"):
        place.ingest(source(since="yesterday"))
    with pytest.raises(ProjectError, match=r"'untill', did you mean 'until'"):
        place.ingest(source(untill="x"))
    private = replace(PEOPLE, fields=(replace(PEOPLE.fields[0], private="drop"), *PEOPLE.fields[1:]))
    with pytest.raises(DataError, match=r"private features.*age"):
        place.ingest(source(), private)
    assert place.keys() == before


def test_an_empty_log_window_keeps_its_columns(place: Place) -> None:
    place.ingest(source(judge_from=rfc3339(moment(500))))
    judge = read_table(place.folder / "judge")
    assert judge.num_rows == 0
    assert judge.schema == read_table(place.folder / "data").schema
    assert judge.schema.field("_id").type == pa.string()
