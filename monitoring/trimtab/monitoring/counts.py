"""Values of a field counted over fixed cells: what a window keeps of a million rows, and what shards add up.

A number's cells are the reference's own values, or its quantiles where it has many, each value a cell of its own and
each gap between two of them another: for a reference of few distinct values nothing is lost, and a value that turns
up often, such as 0, stays apart from its neighbours.
"""

from __future__ import annotations

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

    def place(self, values: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The cell of each value, -1 for NaN."""
        v = np.asarray(values, np.float64)
        at = np.searchsorted(self.cuts, v, side="left")
        if not len(self.cuts):
            return np.where(np.isnan(v), -1, 0)
        equal = self.cuts[np.minimum(at, len(self.cuts) - 1)] == v
        return np.where(np.isnan(v), -1, 2 * at + equal)

    def count(self, values: npt.ArrayLike) -> Counted:
        """Count values [n]; NaN counts as null, infinite values lie in the outermost cells."""
        cells = self.place(values)
        found = np.bincount(cells + 1, minlength=2 * len(self.cuts) + 2)
        return Counted(found[1:].astype(np.int64), int(found[0]))


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

    def place(self, values: Any) -> npt.NDArray[np.int64]:
        """The cell of each value: its name's, one of the last `UNSEEN` for others, -1 for null or the empty text."""
        column = text(values)
        nulls = np.asarray(pc.fill_null(pc.equal(column, ""), True))
        known = {name: i for i, name in enumerate(self.names)}
        encoded = column.dictionary_encode()
        size = NAMES if self.hashed else UNSEEN
        cells = [known[n] if n in known else len(known) + _hash(n, size) for n in encoded.dictionary.to_pylist()]
        at = np.array(cells or [0], np.int64)[np.asarray(pc.fill_null(encoded.indices, 0), np.int64)]
        return np.where(nulls, -1, at)

    def count(self, values: Any) -> Counted:
        """Count values [n] (an array of text, an Arrow column)."""
        size = NAMES if self.hashed else len(self.names) + UNSEEN
        found = np.bincount(self.place(values) + 1, minlength=size + 1)
        return Counted(found[1:].astype(np.int64), int(found[0]))


def text(values: Any) -> pa.Array:
    """A column as one Arrow array of text; whatever is not text is written as text."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if not isinstance(values, pa.Array):
        array = np.asarray(values)
        values = pa.array(array.tolist() if array.dtype == object else array, from_pandas=True)
    return values if values.type == pa.string() else pc.cast(values, pa.string())


def _hash(name: str, cells: int) -> int:
    """A cell for a name, the same in every process (FNV-1a)."""
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value % cells
