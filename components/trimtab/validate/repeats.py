"""Rows that come twice under one id: the same row counts once, different rows under one id are kept and reported."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from trimtab.core.schema import Schema

if TYPE_CHECKING:
    import pyarrow as pa

MOST_REMEMBERED = 1_000_000


class Repeats:
    """Remembers rows whose id comes more than once.

    Args:
        schema: the declared schema, whose id field counts.
        repeated: hashes of the ids that come more than once (`Profile.repeated_ids`).
    """

    def __init__(self, schema: Schema, repeated: frozenset[int]) -> None:
        self.field = schema.id_field.name if schema.id_field else ""
        self.private = bool(schema.id_field and schema.id_field.private)
        self.repeated = repeated
        self.seen: dict[str, set[bytes]] = {}
        self.same = 0
        self.differing: dict[str, int] = {}

    def first(self, table: pa.Table) -> pa.Table:
        """The table without rows that came before in every value."""
        if not self.repeated or self.field not in table.column_names:
            return table
        ids = table[self.field].to_pylist()
        suspects = [i for i, value in enumerate(ids) if value is not None and hash(value) in self.repeated]
        if not suspects:
            return table
        # The log's own columns differ between two predictions of one row.
        own = table.select([n for n in table.column_names if n not in ("_id", "_time")]).take(suspects)
        keep = [True] * table.num_rows
        for index, row in zip(suspects, own.to_pylist(), strict=True):
            keep[index] = self._new(ids[index], row)
        return table.filter(keep)

    def _new(self, key: str, row: dict[str, object]) -> bool:
        if key not in self.seen and len(self.seen) >= MOST_REMEMBERED:
            return True
        rows = self.seen.setdefault(key, set())
        digest = hashlib.blake2b(repr(row).encode(), digest_size=12).digest()
        if digest in rows:
            self.same += 1
            return False
        if rows:
            self.differing[key] = self.differing.get(key, 1) + 1
        rows.add(digest)
        return True

    def warnings(self) -> list[str]:
        """What was found, in sentences."""
        found = []
        if self.same:
            found.append(f"{self.same:,} rows repeat another in every value under the same {self.field!r}: left out")
        if self.differing:
            shown = "private" if self.private else ", ".join(repr(k) for k in list(self.differing)[:5])
            found.append(
                f"{len(self.differing):,} values of {self.field!r} name several different rows, all kept: {shown}"
                f"{', …' if len(self.differing) > 5 else ''} (a label by that key counts for its latest prediction)"
            )
        return found
