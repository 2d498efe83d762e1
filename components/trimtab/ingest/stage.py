"""Ingest: the rows of a source as one typed, content-addressed dataset; of the log, also the rows to judge on.

Everything streams: a source may be larger than the memory. Nothing reaches the store until all of it is right.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from trimtab.core.datasets import put_dataset, write_dataset
from trimtab.core.profile import Profile
from trimtab.core.refusals import refuse
from trimtab.core.schema import Schema
from trimtab.core.sources import resolve
from trimtab.ingest.convert import convert
from trimtab.ingest.origin import Origin
from trimtab.ingest.parts import read_source

if TYPE_CHECKING:
    import pyarrow as pa

    from trimtab.core.store import Store


class IngestConfig(BaseModel):
    """What to read.

    Attributes:
        name: the dataset's name in the store: the project's.
        source: any form of a source (see `core.sources`).
        schema: fields and target.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)

    name: str
    source: Any
    schema_: Schema = Field(alias="schema")


@dataclass(frozen=True)
class IngestResult:
    """What was read; digests are the datasets'."""

    rows: int
    digest: str
    judge_rows: int
    judge_digest: str
    source_digest: str
    warnings: tuple[str, ...]


@dataclass
class _Reading:
    """What is gathered while rows stream by."""

    schema: Schema
    store: Store
    profile: Profile
    starts: list[int] = field(default_factory=list)
    origins: list[tuple[Origin, int]] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    repeats: int = 0
    warnings: list[str] = field(default_factory=list)
    judge: list[pa.Table] = field(default_factory=list)
    against: str = ""

    def rows(self, sources: Sequence[dict[str, Any]]) -> Iterator[pa.Table]:
        """The training rows of all sources in order; the log's judge rows are set aside."""
        for source in sources:
            for table in self._log(source) if "log" in source else self._read(source):
                self.profile.add(table)
                yield table
        if self.repeats:
            self.warnings.append(f"{self.repeats:,} logged rows came before and were used once")

    def _read(self, source: dict[str, Any]) -> Iterator[pa.Table]:
        for part in read_source(source, self.store, self.schema):
            if part.unused:
                names = ", ".join(part.unused[:12]) + (", …" if len(part.unused) > 12 else "")
                # The name alone: what is said here goes into the bundle, which is the same wherever the file lies.
                where = Path(part.origin.name).name if Path(part.origin.name).is_absolute() else part.origin.name
                self.warnings.append(f"{where}: columns that no field names were left out: {names}")
            table = convert(part.table, self.schema, part.origin, part.first, part.nulls, carried="dataset" in source)
            fresh = self._unused_before(table)
            # Rows can be pointed at in their file as long as none of a part was taken out.
            self.starts.append(self.profile.rows)
            self.origins.append((part.origin, part.first if fresh.num_rows == table.num_rows else -1))
            yield fresh

    def _log(self, source: dict[str, Any]) -> Iterator[pa.Table]:
        from trimtab.core.logsource import read_log

        log = read_log(source["log"], self.store, self.schema)
        self.warnings += log.warnings
        self.against = log.against or self.against
        judge = [self._unused_before(t) for t in log.judge]
        for table in log.train:
            fresh = self._unused_before(table)
            self.starts.append(self.profile.rows)
            self.origins.append((Origin("prediction log"), -1))
            yield fresh
        self.judge += judge

    def _unused_before(self, table: pa.Table) -> pa.Table:
        """The rows whose prediction id did not come before; rows without one all stay."""
        ids = table["_id"]
        if ids.null_count == len(ids):
            return table
        keep = []
        for value in ids.to_pylist():
            keep.append(value is None or value not in self.used)
            if value is not None:
                self.used.add(value)
        self.repeats += len(keep) - sum(keep)
        return table.filter(keep)

    def where(self, rows: Sequence[int], count: int) -> str:
        """Where rows of the whole stream are: the file of the first, and its lines."""
        if not rows:
            return ""
        at = bisect.bisect_right(self.starts, rows[0]) - 1
        origin, first = self.origins[at]
        if first < 0:
            return f" in the {origin.name}" if origin.path is None else f" in {origin.name}"
        # Parts of one file follow each other without a gap, so one offset serves all of them.
        offset = first - self.starts[at]
        same = [r for r in rows if self.origins[bisect.bisect_right(self.starts, r) - 1][0] == origin]
        text = origin.where([r + offset for r in same], count)
        return text if len({o.name for o, _ in self.origins}) == 1 else f"{text} (of {origin.name})"

    @property
    def name(self) -> str:
        """The origins' names, for sentences."""
        names = list(dict.fromkeys(o.name for o, _ in self.origins))
        return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def ingest(config: IngestConfig, store: Store, data_out: Path, judge_out: Path) -> IngestResult:
    """Read a source.

    Args:
        config: what to read.
        store: where datasets and logs are, and where the training rows go.
        data_out: folder for the training rows: fields, target, `_id` and `_time` (null where unknown); its note has
            `warnings`.
        judge_out: folder for the judge rows (a log source's rows at or after `judge_from`); its note has `against`.

    Raises:
        ProjectError: the source is none.
        DataError: the rows are not what was declared, or cannot be learned from; the store is left as it was.
        StoreError: the store did not do what was asked.
    """
    import pyarrow as pa

    schema = config.schema_
    resolved = resolve(config.source, store, Path.cwd())
    reading = _Reading(schema, store, Profile(schema))
    # The list is filled while the rows stream by; the note is written behind the last of them.
    note: dict[str, Any] = {"source_digest": resolved.digest, "warnings": reading.warnings}
    manifest = write_dataset(data_out, reading.rows(resolved.source["sources"]), schema, note)
    refuse(reading.profile, reading.name, reading.where)
    empty = convert(_nothing(schema), schema, Origin("nothing"), 0)
    judge_rows = pa.concat_tables([empty, *reading.judge])
    judge = write_dataset(judge_out, [judge_rows], schema, {"against": reading.against})
    put_dataset(store, config.name, data_out)
    return IngestResult(
        rows=manifest.rows,
        digest=manifest.digest,
        judge_rows=judge.rows,
        judge_digest=judge.digest,
        source_digest=resolved.digest,
        warnings=tuple(reading.warnings),
    )


def try_source(source: Any, schema: Schema, base: Path) -> tuple[str, ...]:
    """Read a source to its end as `ingest` would, and keep nothing.

    Returns:
        warnings.

    Raises:
        DataError: as `ingest`.
    """
    import tempfile

    from trimtab.core.store import open_store

    with tempfile.TemporaryDirectory(prefix="trimtab-") as folder:
        store = open_store(Path(folder).as_uri())
        resolved = resolve(source, store, base)
        reading = _Reading(schema, store, Profile(schema))
        for _ in reading.rows(resolved.source["sources"]):
            pass
    refuse(reading.profile, reading.name, reading.where)
    return tuple(reading.warnings)


def _nothing(schema: Schema) -> pa.Table:
    """No rows, with every column of the source."""
    import pyarrow as pa

    columns = {f.source_column: pa.array([], t.type) for f, t in zip(schema.fields, schema.arrow_fields(), strict=True)}
    kind = pa.string() if schema.target.kind == "category" else pa.float64()
    return pa.table({**columns, schema.target.source_column: pa.array([], kind)})
