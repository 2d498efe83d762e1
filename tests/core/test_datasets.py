"""Datasets: named by their rows alone, whole or not at all in the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from trimtab.core import datasets
from trimtab.core.datasets import (
    fetch_dataset,
    iter_tables,
    put_dataset,
    read_manifest,
    read_table,
    shard_rows,
    write_dataset,
)
from trimtab.core.errors import DataError, NotFound, StoreError
from trimtab.core.schema import Field, Schema, Target
from trimtab.core.store import Store, open_store

SCHEMA = Schema(fields=(Field(name="x", kind="number"),), target=Target(name="y", kind="category"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store((tmp_path / "store").as_uri())


def rows(count: int, first: int = 0) -> pa.Table:
    return pa.table({"x": [1.0 * i for i in range(first, first + count)], "y": [f"c{i % 3}" for i in range(count)]})


def test_the_digest_is_that_of_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "SHARD_ROWS", 7)
    whole = write_dataset(tmp_path / "a", [rows(20)], SCHEMA)

    def pieces() -> Iterator[pa.Table]:
        for start in range(0, 20, 3):
            yield rows(20).slice(start, 3)
            yield rows(20).slice(0, 0)

    parts = write_dataset(tmp_path / "b", pieces(), SCHEMA, {"note": 1})
    assert parts.digest == whole.digest
    assert [s["rows"] for s in parts.shards] == [7, 7, 6]
    assert parts.note == {"note": 1}
    assert write_dataset(tmp_path / "c", [rows(20).slice(0, 19)], SCHEMA).digest != whole.digest
    other = Schema(fields=(Field(name="x", kind="number", unit="m"),), target=SCHEMA.target)
    assert write_dataset(tmp_path / "d", [rows(20)], other).digest != whole.digest
    assert read_table(tmp_path / "b").equals(rows(20))
    assert sum(t.num_rows for t in iter_tables(tmp_path / "b")) == 20
    assert read_table(tmp_path / "b", ["y"]).column_names == ["y"]
    assert read_manifest(tmp_path / "a") == whole


def test_no_rows_keep_their_columns(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "a", [rows(0)], SCHEMA)
    assert manifest.rows == 0
    assert read_table(tmp_path / "a").schema == rows(0).schema
    with pytest.raises(DataError, match="no table"):
        write_dataset(tmp_path / "b", [], SCHEMA)


def test_tables_of_other_columns_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "SHARD_ROWS", 5)
    with pytest.raises(DataError, match="different columns"):
        write_dataset(tmp_path / "a", [rows(5), rows(5).rename_columns(["x", "z"])], SCHEMA)


def test_wide_rows_make_smaller_shards() -> None:
    image = Schema(fields=(Field(name="i", kind="image", shape=(224, 224, 3)),), target=SCHEMA.target)
    assert shard_rows(SCHEMA) == datasets.SHARD_ROWS
    assert shard_rows(image) * 224 * 224 * 3 <= datasets.SHARD_VALUES


def test_put_twice_and_fetch(tmp_path: Path, store: Store) -> None:
    manifest = write_dataset(tmp_path / "a", [rows(20)], SCHEMA, {"against": "v1"})
    digest = put_dataset(store, "people", tmp_path / "a")
    keys = list(store.list(""))
    assert put_dataset(store, "people", tmp_path / "a") == digest == manifest.digest
    assert list(store.list("")) == keys
    assert fetch_dataset(store, "people", digest, tmp_path / "b") == manifest
    assert read_table(tmp_path / "b").equals(rows(20))
    with pytest.raises(NotFound):
        fetch_dataset(store, "people", "0" * 32, tmp_path / "c")


def test_an_upload_that_broke_off_is_no_dataset_and_can_be_done_again(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = write_dataset(tmp_path / "a", [rows(20)], SCHEMA).digest
    with monkeypatch.context() as patch:
        patch.setattr(type(store), "create", lambda *_: (_ for _ in ()).throw(StoreError("gone")))
        with pytest.raises(StoreError):
            put_dataset(store, "people", tmp_path / "a")
    with pytest.raises(NotFound):
        fetch_dataset(store, "people", digest, tmp_path / "b")
    assert put_dataset(store, "people", tmp_path / "a") == digest
    assert fetch_dataset(store, "people", digest, tmp_path / "b").rows == 20


def test_damage_is_found(tmp_path: Path, store: Store) -> None:
    digest = write_dataset(tmp_path / "a", [rows(20)], SCHEMA).digest
    put_dataset(store, "people", tmp_path / "a")
    shard = f"datasets/people/{digest}/part-00000.parquet"
    body = bytearray(store.get(shard))
    body[100] ^= 1
    store.put(shard, bytes(body))
    with pytest.raises(StoreError, match=r"shard is damaged|part-00000"):
        fetch_dataset(store, "people", digest, tmp_path / "b")
    manifest = tmp_path / "a" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"rows":20', b'"rows":21'))
    with pytest.raises(DataError, match="does not match"):
        read_manifest(tmp_path / "a")
    manifest.write_bytes(b"{}")
    with pytest.raises(DataError, match="cannot be read"):
        read_manifest(tmp_path / "a")
    manifest.unlink()
    with pytest.raises(DataError, match="no dataset"):
        read_manifest(tmp_path / "a")
