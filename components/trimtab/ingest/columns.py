"""What a column of an unknown table looks like, counted over all of its rows in bounded memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trimtab.core.values import category_text
from trimtab.ingest.convert import INFINITE, NULLS, NUMBER

MOST_KEPT = 5000


@dataclass
class Seen:
    """Counts of one column.

    Attributes:
        name: the column's name.
        rows, empty: values, and how many are null or the empty text.
        nulls: how many more are a word for "missing" (`NA`, …).
        numbers, whole, infinite, times: how many read as such (of text, as one would write them).
        counts: value as text → how often, at most `MOST_KEPT` different ones; `overflow`: there were more.
        hashes: of all values, to see whether they are unique.
        low, high: of the numbers.
        length: sum of the texts' lengths; `spaces`, `lines`: texts with a space, with a line break.
        typed: the values are typed by the file (Parquet): number, text, time, truth, list or other.
        shapes: shapes of lists, up to three different ones.
        maybe_time: no text so far was neither a number nor a time.
    """

    name: str
    rows: int = 0
    empty: int = 0
    nulls: int = 0
    numbers: int = 0
    whole: int = 0
    infinite: int = 0
    infinite_words: set[str] = field(default_factory=set)
    times: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    overflow: bool = False
    hashes: list[np.ndarray] = field(default_factory=list)
    low: float = np.inf
    high: float = -np.inf
    length: int = 0
    spaces: int = 0
    lines: int = 0
    typed: str = "text"
    narrow: bool = True  # float32 all along
    shapes: set[tuple[int, ...]] = field(default_factory=set)
    maybe_time: bool = True

    @property
    def present(self) -> int:
        """Values that are neither empty nor a word for missing."""
        return self.rows - self.empty - self.nulls

    @property
    def unique(self) -> bool:
        """No value comes twice."""
        if not self.hashes:
            return False
        values = np.concatenate(self.hashes)
        return bool(len(values) and len(np.unique(values)) == len(values))

    def add(self, array: Any) -> None:
        """Count a stretch of the column."""
        import pyarrow as pa

        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
        self.rows += len(array)
        kind = array.type
        self.narrow = self.narrow and pa.types.is_float32(kind)
        if pa.types.is_dictionary(kind):
            array, kind = array.dictionary_decode(), kind.value_type
        if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
            self._lists(array)
        elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            self.typed, self.empty = "time", self.empty + array.null_count
            self.times += len(array) - array.null_count
        elif pa.types.is_boolean(kind):
            self.typed = "truth"
            self._text(array.cast(pa.string()))
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            self._typed_numbers(array.cast(pa.float64(), safe=False))
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            self._text(array.cast(pa.string()))
        elif pa.types.is_null(kind):
            self.empty += len(array)
        else:
            self.typed = "other"

    def _lists(self, array: Any) -> None:
        self.typed = "list"
        self.empty += array.null_count
        for value in array.to_pylist():
            if value is not None and len(self.shapes) < 3:
                try:
                    self.shapes.add(np.asarray(value, dtype=np.float32).shape)
                except (ValueError, TypeError):
                    self.shapes.add((-1,))

    def _typed_numbers(self, array: Any) -> None:
        import pyarrow.compute as pc

        self.typed = "number"
        values = np.asarray(pc.fill_null(array, float("nan")))
        present = values[~np.isnan(values)]
        self.empty += len(values) - len(present)
        self._numbers(present)
        self._count([category_text(float(v)) for v in present.tolist()])

    def _numbers(self, values: np.ndarray) -> None:
        finite = values[np.abs(values) <= np.finfo(np.float32).max]
        self.infinite += len(values) - len(finite)
        self.numbers += len(values)
        self.whole += int((finite == np.round(finite)).sum())
        if finite.size:
            self.low, self.high = min(self.low, float(finite.min())), max(self.high, float(finite.max()))

    def _text(self, array: Any) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        blank = pc.fill_null(pc.equal(array, ""), True)
        self.empty += int(pc.sum(blank).as_py() or 0)
        array = array.filter(pc.invert(blank))
        if not len(array):
            return
        trimmed = pc.utf8_trim_whitespace(array)
        word = pc.is_in(trimmed, value_set=pa.array(NULLS, pa.string()))
        self.nulls += int(pc.sum(word).as_py() or 0)
        rest = trimmed.filter(pc.invert(word))
        infinite = pc.match_substring_regex(rest, INFINITE)
        if pc.any(infinite).as_py():
            self.infinite_words.update(pc.unique(rest.filter(infinite)).to_pylist())
        number = pc.or_(pc.match_substring_regex(rest, NUMBER), infinite)
        self._numbers(np.asarray(rest.filter(number).cast(pa.float64())))
        other = rest.filter(pc.invert(number))
        if self.maybe_time and len(other):
            found = _times(other)
            self.times += found
            self.maybe_time = found == len(other)
        self.length += int(pc.sum(pc.utf8_length(array)).as_py() or 0)
        self.spaces += int(pc.sum(pc.match_substring(array, " ")).as_py() or 0)
        self.lines += int(pc.sum(pc.match_substring(array, "\n")).as_py() or 0)
        self._count(array.to_pylist())

    def _count(self, values: list[str]) -> None:
        self.hashes.append(np.fromiter((hash(v) for v in values), dtype=np.int64, count=len(values)))
        if not self.overflow:
            self.counts.update(values)
            if len(self.counts) > MOST_KEPT:
                self.overflow = True


def _times(array: Any) -> int:
    """How many texts read as ISO 8601 times."""
    import pyarrow as pa

    from trimtab.core.tables import TIME
    from trimtab.core.values import parse_moment

    for kind in (pa.timestamp("us"), TIME):
        try:
            array.cast(kind)
        except pa.ArrowInvalid:
            continue
        return len(array)
    count = 0
    for value in array.to_pylist():
        try:
            parse_moment(value)
        except ValueError:
            return count
        count += 1
    return count
