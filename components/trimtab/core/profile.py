"""What a stream of rows holds, counted once in bounded memory, and whether a model can be learned from it.

Ingest refuses by it before anything reaches the store; validate decides by it; `init --from` guesses by it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from dataclasses import field as made
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.core.schema import Field, Schema

if TYPE_CHECKING:
    import pyarrow as pa

MIN_ROWS = 30
MIN_CLASS_ROWS = 3
MOST_CLASSES = 1000
MOST_CATEGORIES = 1000
MOST_DISTINCT = 100_000
SHOWN_ROWS = 20


@dataclass
class Column:
    """One column's counts.

    Attributes:
        rows: values seen, missing ones included.
        missing: how many are null.
        missing_rows: the first of them (0-based, over the whole stream).
        low, high, total: smallest, largest and sum of a number (an image's pixels).
        outside: values outside the field's range; `infinite`: infinite or NaN ones.
        counts: text → how often, at most `MOST_DISTINCT` different ones; `overflow`: there were more.
    """

    field: Field
    rows: int = 0
    missing: int = 0
    missing_rows: list[int] = made(default_factory=list)
    low: float = np.inf
    high: float = -np.inf
    total: float = 0.0
    outside: int = 0
    infinite_rows: list[int] = made(default_factory=list)
    counts: Counter[str] = made(default_factory=Counter)
    overflow: bool = False

    @property
    def present(self) -> int:
        """Values that are not missing."""
        return self.rows - self.missing

    @property
    def constant(self) -> bool:
        """All present values are the same."""
        if self.field.kind == "category":
            return len(self.counts) == 1 and not self.overflow
        return bool(self.present) and self.low == self.high

    def add(self, array: Any, first: int) -> None:
        """Count a stretch of the column that starts at row `first`."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
        self.rows += len(array)
        if array.null_count:
            self.missing += array.null_count
            room = SHOWN_ROWS - len(self.missing_rows)
            if room > 0:
                where = np.flatnonzero(np.asarray(array.is_null()))[:room]
                self.missing_rows += [int(r) + first for r in where]
        kind = self.field.kind
        if kind in ("number", "image"):
            self._numbers(array, first)
        elif kind == "category" and not self.overflow:
            counted = pc.value_counts(array.drop_null())
            self.counts.update(dict(zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True)))
            if len(self.counts) > MOST_DISTINCT:
                self.overflow = True
                self.counts = Counter(dict(self.counts.most_common(MOST_CATEGORIES)))

    def _numbers(self, array: Any, first: int) -> None:
        values = np.asarray(array.flatten() if self.field.kind == "image" else array.drop_null(), dtype=np.float64)
        if not values.size:
            return
        finite = np.isfinite(values)
        if not finite.all():
            wrong = np.flatnonzero(~finite)
            if self.field.kind == "number":
                rows = np.flatnonzero(np.asarray(array.is_valid()))[wrong]
            else:
                rows = wrong // self.field.size
            self.infinite_rows += [int(r) + first for r in rows[: SHOWN_ROWS - len(self.infinite_rows)]]
            values = values[finite]
        if values.size:
            self.low = min(self.low, float(values.min()))
            self.high = max(self.high, float(values.max()))
            self.total += float(values.sum())
        if self.field.range is not None:
            low, high = self.field.range
            with np.errstate(over="ignore"):  # an end that 32 bits cannot hold is none
                ends = np.array([-np.inf if low is None else low, np.inf if high is None else high], self.field.dtype)
            self.outside += int(((values < float(ends[0])) | (values > float(ends[1]))).sum())


class Profile:
    """Counts over tables with a schema's columns.

    Attributes:
        rows: rows seen.
        columns: name → counts, the fields'.
        target: the target's counts (labelled rows are its present ones).
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.rows = 0
        self.columns = {f.name: Column(f) for f in schema.fields}
        target = schema.target
        self.target = Column(Field(name=target.name, kind=target.kind, nullable=True))
        self._ids: list[np.ndarray] = []

    def add(self, table: pa.Table) -> None:
        """Count a table's rows."""
        for name, column in self.columns.items():
            column.add(table[name], self.rows)
        self.target.add(table[self.schema.target.name], self.rows)
        if self.schema.id_field is not None:
            ids = table[self.schema.id_field.name].to_pylist()
            # 64-bit hashes: 8 bytes a row, whatever the ids look like; equal ones are compared again by validate.
            self._ids.append(np.fromiter((hash(i) for i in ids if i is not None), dtype=np.int64))
        self.rows += table.num_rows

    def repeated_ids(self) -> frozenset[int]:
        """Hashes of ids that came more than once (this process's `hash`)."""
        if not self._ids:
            return frozenset()
        self._ids = [np.concatenate(self._ids)]
        values = self._ids[0]
        values.sort()  # in place: np.unique would hold several copies
        return frozenset(values[1:][values[1:] == values[:-1]].tolist())

    @property
    def labelled(self) -> int:
        """Rows with a target."""
        return self.target.present

    def classes(self) -> list[str]:
        """The classes with enough rows to learn and test, sorted (numbers by value); declared ones in their order."""
        enough = {c for c, n in self.target.counts.items() if n >= MIN_CLASS_ROWS}
        if self.schema.target.classes:
            return [c for c in self.schema.target.classes if c in enough]
        return sorted(enough, key=natural)


def natural(text: str) -> tuple[int, float, str]:
    """A sort key that puts numbers in order of value, then words.

    >>> sorted(["10", "9", "b", "a"], key=natural)
    ['9', '10', 'a', 'b']
    """
    try:
        return (0, float(text), text)
    except ValueError:
        return (1, 0.0, text)
