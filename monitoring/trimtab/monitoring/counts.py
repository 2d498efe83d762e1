"""Values of a field counted over fixed cells: what a window keeps of a million rows, and what shards add up.

A number's cells are the reference's own values, or its quantiles where it has many, each value a cell of its own and
each gap between two of them another: for a reference of few distinct values nothing is lost, and a value that turns
up often, such as 0, stays apart from its neighbours.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.monitoring.losses import Floats

# Cut points of a number with many distinct values.
CUTS = 1024
# Categories that are told apart by name; beyond, all are counted by a hash of their name into so many cells.
NAMES = 512
# Names never seen are told apart by a hash into so many cells: rare ones that the reference happens not to hold must
# be poolable with rare ones that it does hold, or every small reference would make them look like news.
UNSEEN = 256


@dataclass(frozen=True)
class Counted:
    """Counts of one field.

    Attributes:
        cells: rows by cell.
        nulls: rows without a value.
    """

    cells: npt.NDArray[np.int64]
    nulls: int

    def __add__(self, other: Counted) -> Counted:
        return Counted(self.cells + other.cells, self.nulls + other.nulls)

    @property
    def rows(self) -> int:
        """Rows counted, with and without a value."""
        return int(self.cells.sum()) + self.nulls


class Counter(Protocol):
    """Counts a field's values over fixed cells."""

    def count(self, values: Any) -> Counted:
        """Count an array of values."""
        ...


@dataclass(frozen=True)
class NumberCells:
    """Cells of a number: below, at and between sorted cut points.

    Attributes:
        cuts: sorted, distinct values.
    """

    cuts: Floats

    @classmethod
    def of(cls, values: npt.ArrayLike) -> NumberCells:
        """Cells from a reference's values; NaN are left out."""
        v = np.asarray(values, np.float64)
        v = v[~np.isnan(v)]
        distinct = np.unique(v)
        if len(distinct) > CUTS:
            distinct = np.unique(np.quantile(v, np.linspace(0, 1, CUTS), method="inverted_cdf"))
        return cls(distinct)

    def identity(self) -> bytes:
        """What tells these cells from others."""
        return self.cuts.tobytes()

    def place(self, values: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The cell of each value, -1 for NaN."""
        v = np.asarray(values, np.float64)
        at = np.searchsorted(self.cuts, v, side="left")
        if not len(self.cuts):
            return np.where(np.isnan(v), -1, 0)
        equal = self.cuts[np.minimum(at, len(self.cuts) - 1)] == v
        return np.where(np.isnan(v), -1, 2 * at + equal)

    def count(self, values: npt.ArrayLike) -> Counted:
        """Count values [n] of any number type; NaN counts as null, infinite values lie in the outermost cells.

        The values are sorted and the cuts looked up in them, which gives the counts of `place` exactly at a sixth of
        its cost, whatever the distribution: numpy sorts a double in about 15 ns and looks one up in about 80 ns.
        """
        given = np.asarray(values)
        v = np.sort(given if given.dtype.kind in "fiu" else np.asarray(given, np.float64))
        whole = int(np.searchsorted(v, np.nan)) if v.dtype.kind == "f" else len(v)
        nulls, v = len(v) - whole, v[:whole]
        if not len(self.cuts):
            return Counted(np.array([whole], np.int64), nulls)
        edges = np.empty(2 * len(self.cuts) + 2, np.int64)
        edges[0], edges[-1] = 0, whole
        edges[1:-1:2] = np.searchsorted(v, self.cuts, side="left")
        edges[2:-1:2] = np.searchsorted(v, self.cuts, side="right")
        return Counted(np.diff(edges), nulls)


@dataclass(frozen=True)
class CategoryCells:
    """Cells of a category: known names, then cells for names never seen; or hashed names where they are many.

    Attributes:
        names: known names in order; empty where names are hashed.
    """

    names: tuple[str, ...]

    @classmethod
    def of(cls, values: Any, known: Sequence[str] = ()) -> CategoryCells:
        """Cells from a reference's values and the names its schema knows."""
        column = text(values)
        seen = {name for name in pc.unique(column).to_pylist() if name}
        names = tuple(sorted(seen | set(known)))
        return cls(names if len(names) <= NAMES else ())

    @property
    def hashed(self) -> bool:
        """Whether names are too many to be told apart."""
        return not self.names

    def identity(self) -> bytes:
        """What tells these cells from others."""
        return repr(self.names).encode()

    @property
    def size(self) -> int:
        """Number of cells."""
        return NAMES if self.hashed else len(self.names) + UNSEEN

    def place(self, values: Any) -> npt.NDArray[np.int64]:
        """The cell of each value: its name's, one of the last `UNSEEN` for others, -1 for null or the empty text."""
        places = [
            self._cells(c.dictionary)[np.asarray(pc.fill_null(c.indices, -1), np.int64)] for c in _encoded(values)
        ]
        return np.concatenate(places) if places else np.zeros(0, np.int64)

    def count(self, values: Any) -> Counted:
        """Count values [n] (an array of text, an Arrow column, dictionary-encoded or not)."""
        cells, nulls = np.zeros(self.size, np.int64), 0
        for chunk in _encoded(values):
            at = self._cells(chunk.dictionary)
            known = chunk.indices.drop_null() if chunk.null_count else chunk.indices
            found = np.bincount(np.asarray(known), minlength=len(at) - 1)
            nulls += chunk.null_count + int(found[at[:-1] < 0].sum())
            kept = at[:-1] >= 0
            cells += np.bincount(at[:-1][kept], weights=found[kept], minlength=self.size).astype(np.int64)
        return Counted(cells, nulls)

    def _cells(self, names: pa.Array) -> npt.NDArray[np.int64]:
        """The cell of each name, -1 for the empty one; and -1 once more at the end, for null."""
        known = {name: i for i, name in enumerate(self.names)}
        size = NAMES if self.hashed else UNSEEN
        found = [-1 if not n else known[n] if n in known else len(known) + _hash(n, size) for n in names.to_pylist()]
        return np.array([*found, -1], np.int64)


def _encoded(values: Any) -> list[pa.DictionaryArray]:
    """A column as dictionary-encoded chunks of text."""
    chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
    found = []
    for chunk in chunks:
        if isinstance(chunk, pa.DictionaryArray):
            found.append(pa.DictionaryArray.from_arrays(chunk.indices, text(chunk.dictionary)))
        else:
            found.append(text(chunk).dictionary_encode())
    return found


def text(values: Any) -> pa.Array:
    """A column as one Arrow array of text; whatever is not text is written as text."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if not isinstance(values, pa.Array):
        array = np.asarray(values)
        values = pa.array(array.tolist() if array.dtype == object else array, from_pandas=True)
    if pa.types.is_nested(values.type):
        return pa.array([None if v is None else str(v) for v in values.to_pylist()], pa.string())
    return values if values.type == pa.string() else pc.cast(values, pa.string())


def _hash(name: str, cells: int) -> int:
    """A cell for a name, the same in every process."""
    return zlib.crc32(name.encode()) % cells
