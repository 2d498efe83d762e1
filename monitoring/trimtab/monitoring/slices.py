"""Parts of the traffic whose performance is watched by itself: names of a category, low, middle and high numbers.

The reference fixes the slices; a row's slice of each field is one small number, kept beside its answer until its
label lands. A slice may say `watch` (it pays for all slices together), and is named with its figures.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trimtab.monitoring import losses
from trimtab.monitoring.losses import Floats, Losses
from trimtab.monitoring.lossmodel import Steps, steps_of
from trimtab.monitoring.sequential import scan

if TYPE_CHECKING:
    from trimtab.core.schema import Schema

# Fields that are sliced, categories first, and names of a category.
FIELDS, NAMES = 12, 6
# Thirds of a number.
PARTS = 3
# A slice speaks from so many labelled rows on, and is looked for in so many of the newest windows.
ROWS, WINDOWS = 20, 16
PREFIX = "_slice "


@dataclass(frozen=True)
class Slices:
    """The slices that a reference fixes.

    Attributes:
        steps: by field.
        names: of the slices of each field, by place.
    """

    steps: tuple[Steps, ...] = ()
    names: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def of(cls, schema: Schema, reference: pa.Table) -> Slices:
        """From the fields that the log holds."""
        fields = [f for f in schema.features if f.kind in ("category", "number") and not f.private]
        fields.sort(key=lambda f: f.kind != "category")
        steps = [s for f in fields if (s := steps_of(reference, f.name, f.kind, PARTS)) is not None][:FIELDS]
        steps = [Steps(s.column, s.cuts, None if s.names is None else s.names[:NAMES]) for s in steps]
        return cls(tuple(steps), tuple(_names(s) for s in steps))

    def mark(self, table: pa.Table) -> dict[str, pa.Array]:
        """Each row's slice by field, as columns of small numbers."""
        return {PREFIX + s.column: pa.array(s.place(table).astype(np.int8)) for s in self.steps}

    def losses(self, marks: Mapping[str, npt.NDArray[np.int8]], loss: Floats) -> dict[str, Losses]:
        """Sums of losses by slice.

        Args:
            marks: of `mark`, for the same rows.
            loss: by row [n].
        """
        found: dict[str, Losses] = {}
        for step, names in zip(self.steps, self.names, strict=True):
            place = marks.get(PREFIX + step.column)
            if place is None:
                continue
            for i, name in enumerate(names):
                rows = loss[place == i]
                if len(rows):
                    found[name] = losses.of(rows)
        return found


@dataclass(frozen=True)
class Slice:
    """A slice that does worse than in the reference.

    Attributes:
        name: as people read it.
        p: chance of any slice this bad, all of them and all looks counted.
        losses: over the newest windows that show it.
        span: number of those windows.
        harm: mean loss less the reference's in the same slice.
        share: of the labelled rows of the newest windows.
    """

    name: str
    p: float
    losses: Losses
    span: int
    harm: float
    share: float


def worst(
    reference: Mapping[str, Losses],
    windows: Sequence[Mapping[str, Losses]],
    labelled: Sequence[int],
    harm: float,
    *,
    binary: bool,
) -> Slice | None:
    """The slice that most clearly got worse; None where none has.

    Args:
        reference: losses by slice.
        windows: losses by slice and window, oldest first.
        labelled: labelled rows by window.
        harm: slices that are worse by no more than this are not of interest.
        binary: whether losses are 0 or 1.
    """
    recent, rows = list(windows)[-WINDOWS:], sum(list(labelled)[-WINDOWS:])
    names = [n for n, known in reference.items() if known.n >= ROWS]
    found: Slice | None = None
    for name in names:
        parts = [w.get(name, Losses()) for w in recent]
        look = scan(reference[name], parts, harm, binary=binary)
        if look.losses.n < ROWS or look.harm <= harm:
            continue
        p = min(1.0, look.p * len(names))
        if p < 1.0 and (found is None or p < found.p):
            found = Slice(name, p, look.losses, look.span, look.harm, sum(w.n for w in parts) / max(1, rows))
    return found


def _names(steps: Steps) -> tuple[str, ...]:
    missing = f"{steps.column} missing"
    if steps.names is not None:
        return (*(f"{steps.column} = {n}" for n in steps.names), f"{steps.column} = another", missing)
    cuts = [f"{c:.4g}" for c in steps.cuts]
    if not cuts:
        return (f"{steps.column} of one value", missing)
    middle = [f"{steps.column} {a} to {b}" for a, b in itertools.pairwise(cuts)]
    return (f"{steps.column} below {cuts[0]}", *middle, f"{steps.column} from {cuts[-1]}", missing)
