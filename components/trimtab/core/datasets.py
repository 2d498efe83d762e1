"""Datasets: Parquet shards and a manifest, content-addressed, so that the same rows have the same name.

Rows are cut into shards anew, whatever tables they came in, so that the digest depends on rows, order and schema
alone. The manifest is written last: a folder or prefix without one is no dataset.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.core.errors import DataError, StoreError
from trimtab.core.records import canonical
from trimtab.core.schema import Schema

if TYPE_CHECKING:
    import pyarrow as pa

    from trimtab.core.store import Store

MANIFEST = "manifest.json"
NOUN = "trimtab/dataset/1"
SHARD_ROWS = 100_000
SHARD_VALUES = 8_000_000  # a shard of wide rows (images) is cut earlier, to bound memory
DIGEST_LENGTH = 32


@dataclass(frozen=True)
class DatasetManifest:
    """What a dataset holds.

    Attributes:
        digest: over schema, columns, shards and row counts; the note is not in it.
        rows: number of rows.
        shards: one mapping a Parquet file: `name`, `rows`, `sha256`.
        schema: fields and target.
        note: facts beside the rows (where they came from, `against`), JSON.
    """

    digest: str
    rows: int
    shards: tuple[Mapping[str, Any], ...]
    schema: Schema
    note: Mapping[str, Any] = field(default_factory=dict)


def file_sha256(path: Path) -> str:
    """sha256 of a file as hex, read in pieces.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(schema: Schema, shards: Iterable[Mapping[str, Any]]) -> str:
    body = canonical({"schema": schema.to_facts(), "shards": [dict(s) for s in shards]})
    return hashlib.sha256(body).hexdigest()[:DIGEST_LENGTH]


def shard_rows(schema: Schema) -> int:
    """How many rows a shard of this schema has."""
    width = sum(f.size for f in schema.fields) + 1
    return max(1, min(SHARD_ROWS, SHARD_VALUES // width))


def _recut(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of exactly `rows` rows (the last has the rest); an empty one if there are none."""
    import pyarrow as pa

    held: list[pa.Table] = []
    count, empty, given = 0, None, False
    for table in tables:
        empty = table.slice(0, 0) if empty is None else empty
        while table.num_rows:
            part = table.slice(0, rows - count)
            held.append(part)
            count += part.num_rows
            table = table.slice(part.num_rows)
            if count == rows:
                yield pa.concat_tables(held).combine_chunks()
                held, count, given = [], 0, True
    if held:
        yield pa.concat_tables(held).combine_chunks()
    elif not given and empty is not None:
        yield empty


def write_dataset(
    folder: Path, tables: Iterable[pa.Table], schema: Schema, note: Mapping[str, Any] | None = None
) -> DatasetManifest:
    """Write tables as a dataset; one shard at a time is in memory.

    Args:
        folder: where to; made if need be.
        tables: rows in order; all with the same columns, at least one table (it may have no rows).
        schema: fields and target of the rows; columns beyond them are kept.
        note: JSON facts kept beside the rows; not part of the digest.

    Raises:
        DataError: there is no table, or the tables' columns differ.
    """
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    shards: list[dict[str, Any]] = []
    first: pa.Schema | None = None
    for table in _recut(tables, shard_rows(schema)):
        first = first or table.schema.remove_metadata()
        if not table.schema.equals(first):
            raise DataError("tables of one dataset have different columns", expected=str(first), got=str(table.schema))
        name = f"part-{len(shards):05d}.parquet"
        pq.write_table(table.replace_schema_metadata(None), folder / name, compression="zstd", compression_level=1)
        shards.append({"name": name, "rows": table.num_rows, "sha256": file_sha256(folder / name)})
    if not shards:
        raise DataError("a dataset was written from no table", object=str(folder))
    manifest = DatasetManifest(
        digest=_digest(schema, shards),
        rows=sum(s["rows"] for s in shards),
        shards=tuple(shards),
        schema=schema,
        note=dict(note or {}),
    )
    body = {
        "schema": NOUN,
        "digest": manifest.digest,
        "rows": manifest.rows,
        "shards": shards,
        "data_schema": schema.to_facts(),
        "note": manifest.note,
    }
    (folder / MANIFEST).write_bytes(canonical(body))
    return manifest


def parse_manifest(body: bytes, where: str) -> DatasetManifest:
    """Read a manifest's bytes and check its own digest.

    Raises:
        DataError: it is none, or does not hold.
    """
    try:
        raw = json.loads(body)
        if raw["schema"] != NOUN:
            raise DataError("not a dataset this version can read", object=where, expected=NOUN, got=str(raw["schema"]))
        manifest = DatasetManifest(
            digest=raw["digest"],
            rows=raw["rows"],
            shards=tuple(raw["shards"]),
            schema=Schema.from_facts(raw["data_schema"]),
            note=raw["note"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DataError("a dataset's manifest cannot be read", object=where, got=str(error)[:200]) from None
    if _digest(manifest.schema, manifest.shards) != manifest.digest:
        raise DataError("a dataset's manifest does not match its own digest", object=where, expected=manifest.digest)
    return manifest


def read_manifest(folder: Path) -> DatasetManifest:
    """The manifest of a dataset folder.

    Raises:
        DataError: the folder holds none.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise DataError("the folder holds no dataset", object=str(folder), expected=f"a {MANIFEST}")
    return parse_manifest(path.read_bytes(), str(path))


def iter_tables(folder: Path, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """A dataset's rows, one shard at a time.

    Raises:
        DataError: the folder holds no dataset, or a shard is missing.
    """
    import pyarrow.parquet as pq

    for shard in read_manifest(folder).shards:
        path = folder / str(shard["name"])
        if not path.is_file():
            raise DataError("a dataset's shard is missing", object=str(path))
        yield pq.ParquetFile(path).read(columns=columns, use_threads=False)


def read_table(folder: Path, columns: list[str] | None = None) -> pa.Table:
    """A whole dataset as one table.

    Raises:
        DataError: the folder holds no dataset, or a shard is missing.
    """
    import pyarrow as pa

    return pa.concat_tables(list(iter_tables(folder, columns))).combine_chunks()


def dataset_prefix(name: str, digest: str) -> str:
    """The store prefix of a dataset, without a slash at the end."""
    return f"datasets/{name}/{digest}"


def put_dataset(store: Store, name: str, folder: Path) -> str:
    """Upload a dataset; the manifest is created last and is the commit. Doing it twice changes nothing.

    Returns:
        the digest.

    Raises:
        DataError: the folder holds no dataset.
        StoreError: the store did not take it.
    """
    manifest = read_manifest(folder)
    prefix = dataset_prefix(name, manifest.digest)
    if store.exists(f"{prefix}/{MANIFEST}"):
        return manifest.digest
    for shard in manifest.shards:
        store.upload(folder / str(shard["name"]), f"{prefix}/{shard['name']}")
    store.create(f"{prefix}/{MANIFEST}", (folder / MANIFEST).read_bytes())
    return manifest.digest


def fetch_dataset(store: Store, name: str, digest: str, folder: Path) -> DatasetManifest:
    """Download a dataset and check every shard.

    Raises:
        NotFound: the store has no such dataset.
        DataError: the manifest is not that dataset's.
        StoreError: a shard's bytes are not what the manifest says.
    """
    prefix = dataset_prefix(name, digest)
    body = store.get(f"{prefix}/{MANIFEST}")
    manifest = parse_manifest(body, f"{prefix}/{MANIFEST}")
    if manifest.digest != digest:
        raise DataError(
            "the store holds another dataset under that name", object=prefix, expected=digest, got=manifest.digest
        )
    folder.mkdir(parents=True, exist_ok=True)
    for shard in manifest.shards:
        path = folder / str(shard["name"])
        store.download(f"{prefix}/{shard['name']}", path)
        if file_sha256(path) != shard["sha256"]:
            raise StoreError("a dataset's shard is damaged", object=f"{prefix}/{shard['name']}")
    (folder / MANIFEST).write_bytes(body)
    return manifest
