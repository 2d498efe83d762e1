"""What a version is watched by: its schema, its profile and its yardstick, from its bundle."""

from __future__ import annotations

import functools
import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from trimtab.core.bundle import read_manifest
from trimtab.core.errors import SignatureError
from trimtab.core.policies import Windows
from trimtab.core.schema import Schema
from trimtab.monitoring.champion import published
from trimtab.monitoring.columns import arrays, compared
from trimtab.monitoring.drift import Column, Profile
from trimtab.monitoring.embedding import EMBEDDING, UNSEEN, Embedder, of_version
from trimtab.monitoring.performance import Yardstick

if TYPE_CHECKING:
    from trimtab.core.store import Store


@dataclass(frozen=True)
class Reference:
    """A version's reference.

    Attributes:
        version: the version.
        policy: its project's `windows`.
        schema: its fields and target.
        columns: what is compared.
        table: the reference rows.
        digest: sha256 of the reference file.
        rows_per_day: traffic that the project states; None where it states none.
        embedder: gives the embeddings of images; None where there are none to compare.
    """

    version: str
    policy: Windows
    schema: Schema
    columns: list[Column]
    table: pa.Table
    digest: str
    rows_per_day: float | None = None
    embedder: Embedder | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The target's classes."""
        return tuple(self.schema.target.classes)

    @property
    def key_field(self) -> str | None:
        """The field by which labels may come."""
        return self.schema.id_field.name if self.schema.id_field else None

    @functools.cached_property
    def profile(self) -> Profile:
        """The reference rows in cells."""
        values = arrays(self.table, self.columns, self.classes)
        if self.embedder is not None:
            unseen = self.table.filter(self.table[UNSEEN])
            values |= self._embedded(unseen)
        return Profile.of(self.columns, values)

    def arrays(self, table: pa.Table) -> dict[str, Any]:
        """Rows of the log as they are compared, with embeddings."""
        return arrays(table, self.columns, self.classes) | self._embedded(table)

    def _embedded(self, table: pa.Table) -> dict[str, Any]:
        found = self.embedder(table) if self.embedder is not None else None
        return {} if found is None else {EMBEDDING: found}

    @functools.cached_property
    def yardstick(self) -> Yardstick:
        """What performance is measured by."""
        return Yardstick.of(self.schema, self.table)


def load(store: Store, model: str, version: str) -> Reference:
    """Read a version's reference.

    Raises:
        NotFound: no such version, or its bundle has no reference.
        SignatureError: a file is not what the manifest names.
        RecordError: the project in its manifest cannot be read.
    """
    manifest = read_manifest(store, model, version)

    def read(name: str) -> bytes:
        key = f"models/{model}/versions/{version}/{name}"
        body = store.get(key)
        digest = hashlib.sha256(body).hexdigest()
        if digest != manifest.files.get(name):
            raise SignatureError(
                f"{name} is not the file that was published",
                object=key,
                expected=str(manifest.files.get(name)),
                got=digest,
            )
        return body

    schema = Schema.from_json(read("schema.json"))
    body = read("reference.parquet")
    table = pq.read_table(io.BytesIO(body))
    columns, embedder = compared(schema), None
    if UNSEEN in table.column_names:
        embedder = of_version(read("model.onnx"), schema, table)
    if embedder is not None:
        columns.append(Column(EMBEDDING, "vector"))
    return Reference(
        version=version,
        policy=published(store, model, version).windows,
        schema=schema,
        columns=columns,
        table=table,
        digest=hashlib.sha256(body).hexdigest(),
        rows_per_day=(manifest.project.get("task") or {}).get("rows_per_day"),
        embedder=embedder,
    )
