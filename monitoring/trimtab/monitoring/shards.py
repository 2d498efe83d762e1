"""Big windows: counted from Parquet as a stream, by two threads, in shards that add up exactly.

A window of any length is read a column and some hundred thousand rows at a time, so memory stays that of a few
columns' batches; what is kept are counts over the reference's cells. Shards (of files, of row groups, of several
machines) are counted apart, written as small files and added: integers, so split and whole agree to the last bit.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trimtab.core.errors import DataError
from trimtab.monitoring.columns import arrays, needed
from trimtab.monitoring.counts import Counted
from trimtab.monitoring.figures_records import inputs_facts

if TYPE_CHECKING:
    from trimtab.monitoring.drift import Column, Profile
    from trimtab.monitoring.reference import Reference

# Values of one column in memory at once, by thread.
BATCH_VALUES = 1 << 18
THREADS = 2
_SCHEMA = "trimtab/window-counts/1"

Counts = dict[str, list[Counted]]


@dataclass(frozen=True)
class Shard:
    """Row groups of one Parquet file.

    Attributes:
        path: the file.
        groups: its row groups.
    """

    path: Path
    groups: tuple[int, ...]


def split(paths: Sequence[Path], shards: int) -> list[list[Shard]]:
    """Divide files into at most so many lists of about as many rows; a row group stays whole.

    Raises:
        DataError: a file is no Parquet.
    """
    pieces = []
    for path in paths:
        meta = _open(path).metadata
        pieces += [(path, i, meta.row_group(i).num_rows) for i in range(meta.num_row_groups)]
    total, done = max(1, sum(rows for _, _, rows in pieces)), 0
    parts: list[list[tuple[Path, int]]] = [[] for _ in range(shards)]
    for path, group, rows in pieces:
        parts[min(shards - 1, (done + rows // 2) * shards // total)].append((path, group))
        done += rows
    return [
        [Shard(path, tuple(g for _, g in of)) for path, of in itertools.groupby(part, key=lambda piece: piece[0])]
        for part in parts
        if part
    ]


def count(
    profile: Profile, shards: Sequence[Shard | Path], classes: Sequence[str] = (), threads: int = THREADS
) -> Counts:
    """Counts of Parquet files, or of some of their row groups.

    Args:
        profile: the reference in cells.
        shards: files, or parts of them; columns named as the fields are, as the prediction log has them.
        classes: the target's classes, in the order of the probabilities.
        threads: columns counted at the same time.

    Raises:
        DataError: a file is no Parquet.
    """
    total = profile.empty()
    for shard in shards:
        total = add(total, _count(profile, _whole(shard), classes, threads))
    return total


def add(a: Mapping[str, Sequence[Counted]], b: Mapping[str, Sequence[Counted]]) -> Counts:
    """The counts of two shards together, exactly."""
    return {name: [x + y for x, y in zip(a[name], b[name], strict=True)] for name in a}


def total(profile: Profile, parts: Iterable[Mapping[str, Sequence[Counted]]]) -> Counts:
    """The counts of all shards together."""
    found = profile.empty()
    for part in parts:
        found = add(found, part)
    return found


def digest(profile: Profile) -> str:
    """What the cells are, as 16 hex: counts of different references must not be added."""
    described = hashlib.sha256()
    for column in profile.columns:
        described.update(repr((column, [name for name, _ in profile.parts[column.name]])).encode())
        for _, cells in profile.parts[column.name]:
            described.update(cells.identity())
    return described.hexdigest()[:16]


def to_bytes(profile: Profile, counts: Mapping[str, Sequence[Counted]]) -> bytes:
    """Counts as a small file: canonical JSON."""
    fields = {name: [[c.nulls, c.cells.tolist()] for c in of] for name, of in counts.items()}
    return json.dumps({"schema": _SCHEMA, "profile": digest(profile), "fields": fields}, sort_keys=True).encode()


def from_bytes(profile: Profile, body: bytes) -> Counts:
    """Counts from `to_bytes`.

    Raises:
        DataError: they are none, or were counted over the cells of another reference.
    """
    try:
        read = json.loads(body)
        schema, cells, fields = read["schema"], read["profile"], read["fields"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError("not the counts of a window", object="counts", got=str(error)[:200]) from error
    if schema != _SCHEMA:
        raise DataError("not the counts of a window", object="counts", expected=_SCHEMA, got=str(schema))
    if cells != digest(profile):
        raise DataError(
            "counts over the cells of another reference cannot be added",
            object="counts",
            expected=digest(profile),
            got=str(cells),
            hint="count every shard with the same reference",
        )
    like = profile.empty()
    return {
        name: [type(old)(np.array(c, np.int64), int(n)) for old, (n, c) in zip(like[name], of, strict=True)]
        for name, of in fields.items()
    }


def _whole(shard: Shard | Path) -> Shard:
    if isinstance(shard, Shard):
        return shard
    return Shard(shard, tuple(range(_open(shard).metadata.num_row_groups)))


def _count(profile: Profile, shard: Shard, classes: Sequence[str], threads: int) -> Counts:
    """Columns are dealt out to the threads, each with the file open for itself (a Parquet reader is no one else's)."""
    meta = _open(shard.path).metadata
    rows = sum(meta.row_group(g).num_rows for g in shard.groups)
    hands = [profile.columns[i::threads] for i in range(min(threads, len(profile.columns)))]
    if len(hands) < 2:
        return dict(_columns(profile, shard, profile.columns, classes, rows, meta))
    with ThreadPoolExecutor(len(hands)) as pool:
        found = pool.map(lambda hand: list(_columns(profile, shard, hand, classes, rows, meta)), hands)
        return dict(itertools.chain.from_iterable(found))


def _columns(
    profile: Profile, shard: Shard, columns: Sequence[Column], classes: Sequence[str], rows: int, meta: Any
) -> Iterator[tuple[str, list[Counted]]]:
    names = [c.name for c in columns if c.kind == "category"]
    file = _open(shard.path, meta, names)
    held = set(file.schema_arrow.names)
    for column in columns:
        asked = [n for n in needed([column]) if n in held]
        alone = profile.only(column)
        counted = alone.empty()
        if not asked:
            yield column.name, alone.missing(rows)[column.name]
            continue
        size = max(1, BATCH_VALUES // max(1, int(np.prod(column.shape))))
        for batch in file.iter_batches(size, row_groups=list(shard.groups), columns=asked, use_threads=False):
            table = pa.Table.from_batches([batch])
            counted = add(counted, alone.count(arrays(table, [column], classes), table.num_rows))
        yield column.name, counted[column.name]


def _open(path: Path, meta: Any = None, dictionaries: Sequence[str] = ()) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, metadata=meta, read_dictionary=list(dictionaries), pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise DataError("not a Parquet file", object=str(path), got=str(error)[:200]) from error


def files(folder: Path) -> list[Path]:
    """The Parquet files of a folder, by name, or the one that it is.

    Raises:
        DataError: there is none.
    """
    found = [folder] if folder.is_file() else sorted(folder.rglob("*.parquet"))
    if not found:
        raise DataError("no Parquet file", object=str(folder), expected="a folder of Parquet files, or one")
    return found


def of_version(model: str, version: str, window: Path, shard: int, shards: int) -> bytes:
    """Counts of one of several shards of a window, over the cells of a version's reference in the settings' store."""
    about = _reference(model, version)
    parts = split(files(window), shards)
    profile = about.profile.without_vectors()
    return to_bytes(profile, count(profile, parts[shard] if shard < len(parts) else [], about.classes))


def compared_with_version(model: str, version: str, parts: Sequence[bytes]) -> dict[str, Any]:
    """All shards' counts against the reference, as record fields with the rows counted."""
    profile = _reference(model, version).profile.without_vectors()
    counted = total(profile, (from_bytes(profile, p) for p in parts))
    rows = max((of[0].rows for of in counted.values()), default=0)
    return {**inputs_facts(profile.compare(counted)), "rows": rows}


def _reference(model: str, version: str) -> Reference:
    from trimtab.core import settings
    from trimtab.core.store import open_store
    from trimtab.monitoring.reference import load

    env = settings.load()
    return load(open_store(env.store, env), model, version)
