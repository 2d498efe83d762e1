"""Have inputs or predictions moved: a reference's profile, a window's counts, and calibrated tests between them.

Each field is tested by itself (shift, spread, shape; shares; missingness), and all fields together by one quadratic
form over their shifts, which sees many small ones and knows how the fields hang together in the reference. Half of
the level goes to the strongest field (Bonferroni), half to the sum, so that a family of fields that did not move says
so in all but the asked share of windows, whatever the sizes. Everything a window contributes is counts over cells
that the reference fixed: shards add up exactly, and memory does not grow with traffic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trimtab.monitoring import pictures
from trimtab.monitoring.counts import CategoryCells, Counted, NumberCells
from trimtab.monitoring.kernel import KernelCells
from trimtab.monitoring.losses import Floats
from trimtab.monitoring.twosample import fisher, ordered, quadratic_tail, unordered

# Rows of the reference from which the dependence between fields is estimated.
DEPENDENCE_ROWS = 2000
# Shifts of a category that enter the sum over fields, at most; the rest still counts in the field's own test.
SHIFTS = 8


@dataclass(frozen=True)
class Column:
    """What is compared of a field.

    Attributes:
        name: the field's name.
        kind: number, category, image, or vector: an embedding.
        shape: of an image.
        categories: names the schema knows.
        floor: shifts with a smaller effect say nothing: for the model's own scores, whose reference comes from
            models trained on a little less data.
    """

    name: str
    kind: Literal["number", "category", "image", "vector"]
    shape: tuple[int, ...] = ()
    categories: tuple[str, ...] = ()
    floor: float = 0.0


@dataclass(frozen=True)
class Moved:
    """How far one field has moved.

    Attributes:
        name: the field.
        effect: size, 0 to 1.
        unit: what the effect is: a distance of distributions, or a share of rows.
        p: p-value of the field by itself.
        words: then and now, in words.
    """

    name: str
    effect: float
    unit: str
    p: float
    words: str


@dataclass(frozen=True)
class Comparison:
    """A window against the reference.

    Attributes:
        p: p-value that anything moved at all; compare it with the level for a family.
        fields: by field, in the profile's order.
        together: p-value of the sum over fields.
    """

    p: float
    fields: list[Moved]
    together: float

    def named(self, level: float) -> list[Moved]:
        """The fields that moved at this level for all of them, the clearest first."""
        bound = level / max(1, len(self.fields))
        return sorted((f for f in self.fields if f.p <= bound), key=lambda f: (f.p, -f.effect))


Part = tuple[str, NumberCells | CategoryCells | KernelCells]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Profile:
    """A reference in cells: what windows are compared with.

    Attributes:
        columns: what is compared.
        parts: for each column its counted parts: itself, or the summaries of an image.
        counted: the reference's counts, by column and part.
        dependence: cells of reference rows [r], by column and part: how the fields hang together.
    """

    columns: tuple[Column, ...]
    parts: dict[str, list[Part]]
    counted: dict[str, list[Counted]]
    dependence: dict[str, list[Places]] = field(repr=False, default_factory=dict)

    @classmethod
    def of(cls, columns: Sequence[Column], reference: Mapping[str, Any]) -> Profile:
        """The profile of reference rows.

        Args:
            columns: what to compare; one that the reference lacks is left out.
            reference: by name numbers [n], text [n] (numpy or Arrow) or flat images [n, pixels].
        """
        kept = tuple(c for c in columns if c.name in reference)
        parts: dict[str, list[Part]] = {}
        counted: dict[str, list[Counted]] = {}
        dependence: dict[str, list[Places]] = {}
        for column in kept:
            values = _values(column, reference[column.name])
            if column.kind == "vector":
                kernel = KernelCells.of(values[0][1])
                parts[column.name], counted[column.name] = [("", kernel)], [kernel.count(values[0][1])]
                dependence[column.name] = [_first(kernel.features(values[0][1]))]
                continue
            cells: list[Any] = [
                (name, CategoryCells.of(v, column.categories) if column.kind == "category" else NumberCells.of(v))
                for name, v in values
            ]
            parts[column.name] = cells
            counted[column.name] = [c.count(v) for (_, c), (_, v) in zip(cells, values, strict=True)]
            dependence[column.name] = [_first(c.place(v)) for (_, c), (_, v) in zip(cells, values, strict=True)]
        return cls(kept, parts, counted, dependence)

    def count(self, window: Mapping[str, Any], rows: int | None = None) -> dict[str, list[Counted]]:
        """A window's, or a shard's, counts; a column it lacks counts as missing everywhere.

        Args:
            window: by name the values, as in `of`.
            rows: rows of the window; by default those of its longest column.
        """
        rows = max((len(v) for v in window.values()), default=0) if rows is None else rows
        found = self.missing(rows)
        for column in self.columns:
            if column.name in window:
                values = _values(column, window[column.name])
                cells = self.parts[column.name]
                found[column.name] = [c.count(v) for (_, c), (_, v) in zip(cells, values, strict=True)]
        return found

    def empty(self) -> dict[str, list[Counted]]:
        """The counts of no rows: what shards are added to."""
        return self.missing(0)

    def missing(self, rows: int) -> dict[str, list[Counted]]:
        """The counts of rows without any value."""
        return {name: [type(c)(np.zeros_like(c.cells), rows) for c in of] for name, of in self.counted.items()}

    def without_vectors(self) -> Profile:
        """The profile of all columns but embeddings, for rows that no model is run on."""
        kept = tuple(c for c in self.columns if c.kind != "vector")
        return Profile(
            kept,
            {c.name: self.parts[c.name] for c in kept},
            {c.name: self.counted[c.name] for c in kept},
            {c.name: self.dependence[c.name] for c in kept},
        )

    def only(self, column: Column) -> Profile:
        """The profile of one of its columns."""
        name = column.name
        return Profile((column,), {name: self.parts[name]}, {name: self.counted[name]})

    def compare(self, window: Mapping[str, Sequence[Counted]]) -> Comparison:
        """Test a window's counts (of `count`, shards added up) against the reference."""
        fields, shifts, scores = [], [], []
        for column in self.columns:
            if column.kind == "vector":
                fields.append(self._vector(column, window[column.name][0]))
                continue
            moved, z, rows = self._field(column, window[column.name])
            fields.append(moved)
            if column.floor == 0.0:
                # Each field weighs the same in the sum, however many shifts describe it.
                weight = 1 / np.sqrt(max(1, len(z)))
                shifts += [weight * one for one in z]
                scores += [weight * one for one in rows]
        together = _together(np.array(shifts), scores)
        strongest = min((f.p for f in fields), default=1.0) * max(1, len(fields))
        return Comparison(min(1.0, 2 * min(together, strongest)), fields, together)

    def _vector(self, column: Column, window: Counted) -> Moved:
        ((_, cells),), (reference,) = self.parts[column.name], self.counted[column.name]
        assert isinstance(cells, KernelCells)
        found = cells.compare(reference, window, np.asarray(self.dependence[column.name][0], np.float64))
        unit = "maximum mean discrepancy, as a share of the largest possible"
        moved = Moved(column.name, found.effect, unit, found.p, f"discrepancy {found.effect:.3f} of at most 1")
        gone = _missing(reference, window)
        if gone is None:
            return moved
        p = min(1.0, 2 * min(found.p, gone.p))
        return replace(gone, name=column.name, p=p) if gone.p < found.p else replace(moved, p=p)

    def _field(self, column: Column, window: Sequence[Counted]) -> tuple[Moved, list[float], list[Floats]]:
        reference = self.counted[column.name]
        tested = [
            _part(name, cells, r, w, place)
            for (name, cells), r, w, place in zip(
                self.parts[column.name], reference, window, self.dependence[column.name], strict=True
            )
        ]
        best = min(tested, key=lambda t: (t.p, -t.effect))
        z = [one for t in tested for one in t.shifts]
        rows = [one for t in tested for one in t.scores]
        p = min(1.0, best.p * len(tested))
        if len(tested) > 1:
            p = min(1.0, 2 * min(p, _together(np.array(z), rows)))
        effect, unit, words = best.effect, best.unit, f"{best.name}: {best.words}" if len(tested) > 1 else best.words
        gone = _missing(reference[0], window[0])
        if gone is not None:
            p = min(1.0, 2 * min(p, gone.p))
            if gone.p < best.p:
                effect, unit, words = gone.effect, gone.unit, gone.words
        if effect < column.floor:
            p = 1.0
        return Moved(column.name, effect, unit, p, words), z, rows


@dataclass(frozen=True)
class _Tested:
    name: str
    p: float
    effect: float
    unit: str
    words: str
    shifts: list[float]
    scores: list[Floats]


def _part(name: str, cells: Any, r: Counted, w: Counted, place: Places) -> _Tested:
    if isinstance(cells, NumberCells):
        test = ordered(r.cells, w.cells)
        words = f"median {_median(cells, r)} → {_median(cells, w)}" if w.cells.sum() else "no values"
        both = (r.cells + w.cells).astype(np.float64)
        ranks = (np.cumsum(both) - both / 2) / max(1.0, both.sum())
        return _Tested(name, test.p, test.ks, "Kolmogorov-Smirnov distance", words,
                       [test.location], [_standard(np.where(place >= 0, ranks[place], np.nan))])  # fmt: skip
    found = unordered(r.cells, w.cells)
    kept = found.groups[1 : 1 + SHIFTS]
    scores = [_standard(_within(group, len(r.cells))[place]) for group in kept]
    return _Tested(name, found.p, found.distance, "share of rows in other categories",
                   _shares(cells, r, w), [float(z) for z in found.cells[:SHIFTS]], scores)  # fmt: skip


def _within(group: Any, cells: int) -> Floats:
    """1 for a cell of the group, 0 for another; NaN at the end, for the place -1 of a missing value."""
    found = np.zeros(cells + 1)
    found[group], found[-1] = 1.0, np.nan
    return found


def _missing(r: Counted, w: Counted) -> Moved | None:
    if not r.nulls and not w.nulls:
        return None
    then, now = r.nulls / max(1, r.rows), w.nulls / max(1, w.rows)
    p = fisher(r.nulls, r.rows, w.nulls, w.rows)
    return Moved("", abs(now - then), "share of rows missing", p, f"missing {then:.1%} → {now:.1%}")


def _together(z: Floats, scores: Sequence[Floats]) -> float:
    """P-value of the sum of squared shifts, whose dependence is the reference rows' own."""
    if not len(z):
        return 1.0
    matrix = np.stack(scores, axis=1)
    used = matrix.any(axis=0)
    if not used.any():
        return 1.0
    matrix, z = matrix[:, used], z[used]
    return quadratic_tail(float((z**2).sum()), matrix.T @ matrix / len(matrix))


def _standard(values: Floats) -> Floats:
    """Mean 0, variance 1, missing values at the mean; zeros where all are alike."""
    seen = values[~np.isnan(values)]
    if len(seen) < 2 or seen.std() < 1e-12:
        return np.zeros(len(values))
    return np.asarray(np.nan_to_num((values - seen.mean()) / seen.std(), nan=0.0))


def _first(places: Places) -> Places:
    """Places of evenly spread rows, at most `DEPENDENCE_ROWS`."""
    step = -(-len(places) // DEPENDENCE_ROWS) if len(places) else 1
    return places[::step]


def _values(column: Column, values: Any) -> list[tuple[str, Any]]:
    if column.kind == "image":
        summary = pictures.summaries(values, column.shape)
        return [(name, summary[:, i]) for i, name in enumerate(pictures.names())]
    return [("", values)]


def _median(cells: NumberCells, counted: Counted) -> str:
    total = counted.cells.sum()
    if not total or not len(cells.cuts):
        return "none"
    at = int(np.searchsorted(np.cumsum(counted.cells), total / 2))
    low, high = max(0, min((at - 1) // 2, len(cells.cuts) - 1)), min(at // 2, len(cells.cuts) - 1)
    value = cells.cuts[low] if at % 2 else (cells.cuts[low] + cells.cuts[high]) / 2
    return f"{value:.4g}"


def _shares(cells: CategoryCells, r: Counted, w: Counted) -> str:
    """The category whose share moved most, then and now."""
    m, n = max(1, int(r.cells.sum())), max(1, int(w.cells.sum()))
    if cells.hashed:
        return f"{cells_moved(r, w):.1%} of the rows in other (hashed) categories"
    known = len(cells.names)
    then = np.append(r.cells[:known], r.cells[known:].sum()) / m
    now = np.append(w.cells[:known], w.cells[known:].sum()) / n
    at = int(np.argmax(np.abs(now - then)))
    name = repr(cells.names[at]) if at < known else "categories never seen"
    return f"{name} {then[at]:.1%} → {now[at]:.1%}"


def cells_moved(r: Counted, w: Counted) -> float:
    """Total variation distance between two counts over the same cells, 0 to 1."""
    m, n = max(1, int(r.cells.sum())), max(1, int(w.cells.sum()))
    return float(np.abs(r.cells / m - w.cells / n).sum() / 2)
