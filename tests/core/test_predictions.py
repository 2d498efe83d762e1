"""The prediction log: keys by hour, one version a file, columns typed by the schema."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.serving.bundles import DIGITS, MIXED, NUMBERS

from trimtab.core import predictions
from trimtab.core.errors import DataError, NotFound
from trimtab.core.store import Store

START = datetime(2026, 11, 21, 14, 58, tzinfo=UTC)


def rows(n: int, start: datetime = START, step: float = 1.0) -> pa.Table:
    times = [start + timedelta(minutes=step * i) for i in range(n)]
    return pa.table({"_id": [f"{i}-0" for i in range(n)], "_time": pa.array(times, predictions.TIME), "x": range(n)})


def test_columns_follow_the_schema() -> None:
    log = predictions.log_schema(DIGITS)
    of_request = ["_latency_ms", "_share", "_request", "_trace"]
    assert log.names == ["_id", "_time", "image_id", "image", "_label", "_probabilities", *of_request]
    assert log.field("image").type == pa.list_(pa.float32())
    assert "_value" in predictions.log_schema(NUMBERS).names
    mixed = predictions.log_schema(MIXED)
    assert "name" not in mixed.names
    assert mixed.field("email").type == pa.string()
    assert mixed.field("seen").type == predictions.TIME


def test_files_lie_under_their_rows_hour_and_read_back(store: Store) -> None:
    parts = list(predictions.split_hours(rows(5)))
    assert [part.num_rows for part in parts] == [2, 3]
    keys = [predictions.write_log(store, "m", "v1-00000000", "s", n, part) for n, part in enumerate(parts)]
    assert keys == [
        "predictions/m/v1-00000000/2026-11-21T14/s-00000000.parquet",
        "predictions/m/v1-00000000/2026-11-21T15/s-00000001.parquet",
    ]
    assert list(predictions.list_files(store, "m", "v1-00000000")) == keys
    assert list(predictions.list_files(store, "m", "v1-00000000", after=keys[0])) == keys[1:]
    assert predictions.read_files(store, keys).equals(rows(5))
    assert predictions.read_files(store, keys, ["x", "absent"]).column_names == ["x"]


def test_rows_of_one_hour_are_not_copied_and_none_are_no_file() -> None:
    table = rows(5).slice(0, 2)
    assert [one is table for one in predictions.split_hours(table)] == [True]
    assert list(predictions.split_hours(table.slice(0, 0))) == []


def test_texts_and_pixels_have_dictionaries_and_numbers_have_none() -> None:
    values = {"number": 0.5, "image": [1.0, 2.0], "text": "a", "whole": 3}
    fixed = {"_id": "u-0", "_time": START, "_label": "b", "_probabilities": [0.25], "_share": 100}
    schema = pa.schema(
        [
            ("number", pa.float64()),
            ("image", pa.list_(pa.float32())),
            ("text", pa.string()),
            ("whole", pa.int64()),
            ("_id", pa.string()),
            ("_time", predictions.TIME),
            ("_label", pa.string()),
            ("_probabilities", pa.list_(pa.float32())),
            ("_share", pa.int64()),
        ]
    )
    table = pa.Table.from_pylist([{**values, **fixed}] * 3, schema=schema)
    body = predictions.to_parquet(table)
    group = pq.ParquetFile(io.BytesIO(body)).metadata.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    found = {c.path_in_schema.split(".")[0] for c in columns if c.has_dictionary_page}
    assert found == {"image", "text", "whole", "_label", "_share"}
    told = {c.path_in_schema for c in columns if c.is_stats_set}
    assert told == {"text", "whole", "_id", "_time", "_label", "_share"}
    assert predictions.from_parquet(body, "k").equals(table)


def test_writing_a_file_again_changes_nothing(store: Store) -> None:
    first = predictions.write_log(store, "m", "v1-00000000", "s", 0, rows(1))
    assert predictions.write_log(store, "m", "v1-00000000", "s", 0, rows(1)) == first
    assert predictions.read_files(store, [first]).num_rows == 1


def test_equal_tables_are_equal_bytes() -> None:
    assert predictions.to_parquet(rows(5)) == predictions.to_parquet(rows(5))


def test_versions_are_listed_without_reading_their_files(store: Store) -> None:
    for version in ("v10-00000000", "v2-00000000"):
        for n in range(3):
            predictions.write_log(store, "m", version, "s", n, rows(1))
    predictions.write_log(store, "m2", "v3-00000000", "s", 0, rows(1))
    assert predictions.versions(store, "m") == ["v10-00000000", "v2-00000000"]
    assert predictions.versions(store, "nobody") == []


def test_what_cannot_be_written_or_read_is_said(store: Store) -> None:
    with pytest.raises(DataError, match="spans hours"):
        predictions.write_log(store, "m", "v1-00000000", "s", 0, rows(5))
    with pytest.raises(DataError, match="without rows"):
        predictions.write_log(store, "m", "v1-00000000", "s", 0, rows(0))
    with pytest.raises(NotFound):
        predictions.read_files(store, ["predictions/m/v1-00000000/2026-11-21T14/s-00000009.parquet"])
    store.put("predictions/m/bad.parquet", b"no parquet")
    with pytest.raises(DataError, match="not a Parquet file"):
        predictions.read_files(store, ["predictions/m/bad.parquet"])


def test_files_of_different_columns_are_read_as_one_and_of_different_types_are_not(store: Store) -> None:
    times = pa.array([START], predictions.TIME)
    first = predictions.write_log(store, "m", "v1-00000000", "s", 0, pa.table({"_time": times, "a": ["x"]}))
    second = predictions.write_log(store, "m", "v1-00000000", "s", 1, pa.table({"_time": times, "b": [1.5]}))
    third = predictions.write_log(store, "m", "v1-00000000", "s", 2, pa.table({"_time": times, "a": [1.5]}))
    assert predictions.read_files(store, [first, second]).to_pydict()["a"] == ["x", None]
    with pytest.raises(DataError, match="different types"):
        predictions.read_files(store, [first, third])
