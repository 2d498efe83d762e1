"""What error to expect of a prediction of a number while its truth is missing, learned from the reference's errors.

Direct loss estimation (NannyML's DLE) with an additive model: the loss is the sum of a step function of the
prediction and one of each field, fitted by ridge regression. It takes a matrix product a window, and no library that
the watch would have to load; where the fields add nothing over the prediction alone, they are left out.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.monitoring.columns import VALUE, numbers
from trimtab.monitoring.counts import text

if TYPE_CHECKING:
    from trimtab.core.schema import Schema

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

# Steps of the prediction and of a number, names of a category, fields at most.
PREDICTION_STEPS, STEPS, NAMES, FIELDS = 10, 5, 8, 20
# Strength of the ridge, in rows; rows from which anything but the mean is fitted.
RIDGE, ROWS = 5.0, 40
FOLDS = 5


@dataclass(frozen=True)
class Steps:
    """Where a column's values fall: between cuts, or at a name; one more place for the rest, one for missing.

    Attributes:
        column: of the table.
        cuts: of a number.
        names: of a category; None for a number.
    """

    column: str
    cuts: tuple[float, ...] = ()
    names: tuple[str, ...] | None = None

    @property
    def places(self) -> int:
        """Number of places."""
        return (len(self.cuts) if self.names is None else len(self.names)) + 2

    def place(self, table: pa.Table) -> Places:
        """Each row's place; rows of a table without the column are missing."""
        if self.column not in table.column_names:
            return np.full(table.num_rows, self.places - 1, np.int64)
        column = table[self.column]
        if self.names is None:
            values = numbers(column)
            at = np.searchsorted(np.array(self.cuts), values, side="right")
            return np.where(np.isnan(values), self.places - 1, at).astype(np.int64)
        words = text(column)
        at = np.asarray(pc.fill_null(pc.index_in(words, value_set=pa.array(self.names, pa.string())), -1), np.int64)
        missing = np.asarray(pc.is_null(words), bool)
        return np.where(missing, self.places - 1, np.where(at < 0, self.places - 2, at))


def steps_of(table: pa.Table, column: str, kind: str, steps: int) -> Steps | None:
    """Equally filled steps of a number, or the most frequent names of a category; None where all values are alike."""
    if column not in table.column_names:
        return None
    if kind == "number":
        values = numbers(table[column])
        values = values[np.isfinite(values)]
        if len(values) < steps or values.min() == values.max():
            return None
        cuts = np.unique(np.quantile(values, np.linspace(0, 1, steps + 1)[1:-1]))
        return Steps(column, tuple(float(c) for c in cuts if c > values.min()))
    counts = pc.value_counts(pc.drop_null(_plain(text(table[column])))).to_pylist()
    names = [c["values"] for c in sorted(counts, key=lambda c: (-c["counts"], c["values"]))[:NAMES]]
    return Steps(column, names=tuple(names)) if names else None


@dataclass(frozen=True)
class LossModel:
    """The expected loss of a row.

    Attributes:
        steps: columns that it looks at.
        effects: by column, of each place.
        mean: without any.
        floor, top: estimates stay between them.
    """

    steps: tuple[Steps, ...]
    effects: tuple[Floats, ...]
    mean: float
    floor: float
    top: float

    def __call__(self, table: pa.Table) -> Floats:
        """Estimated loss of each row [n]; NaN where it has no prediction."""
        if VALUE not in table.column_names:
            return np.full(table.num_rows, np.nan)
        found = np.full(table.num_rows, self.mean)
        for step, effect in zip(self.steps, self.effects, strict=True):
            found += effect[step.place(table)]
        found = np.clip(found, self.floor, self.top)
        return np.asarray(np.where(np.isfinite(numbers(table[VALUE])), found, np.nan))


def fit(schema: Schema, reference: pa.Table, loss: Floats) -> tuple[LossModel, Floats]:
    """Learn the loss of the reference rows.

    Args:
        schema: the model's schema.
        reference: its rows with `_value`.
        loss: their losses [n]; NaN where unknown.

    Returns:
        The model, and the reference rows' estimates [n] by models that did not see them.
    """
    seen = np.isfinite(loss)
    known = loss[seen]
    mean = float(known.mean()) if len(known) else 0.0
    top = float(known.max()) if len(known) else 1.0
    flat = LossModel((), (), mean, 0.0, top)
    prediction = steps_of(reference, VALUE, "number", PREDICTION_STEPS)
    if seen.sum() < ROWS or prediction is None:
        return flat, flat(reference)
    features = [f for f in schema.features if f.kind in ("number", "category") and not f.private][:FIELDS]
    more = [s for f in features if (s := steps_of(reference, f.name, f.kind, STEPS)) is not None]
    best, best_guess, best_error = flat, flat(reference), np.inf
    for steps in ([prediction], [prediction, *more]):
        places = [s.place(reference) for s in steps]
        guess = np.full(len(loss), mean)
        fold = np.arange(len(loss)) % FOLDS
        for i in range(FOLDS):
            train = seen & (fold != i)
            base, effects = _ridge(steps, [p[train] for p in places], loss[train])
            at = fold == i
            guess[at] = base + sum(e[p[at]] for e, p in zip(effects, places, strict=True))
        guess = np.clip(guess, 0.0, top)
        error = float(((guess - loss)[seen] ** 2).mean())
        # Fields must earn their place: a hundredth less squared error than the prediction alone.
        if error < (1.0 if best is flat else 0.99) * best_error:
            base, effects = _ridge(steps, [p[seen] for p in places], known)
            best = LossModel(tuple(steps), tuple(effects), base, 0.0, top)
            best_guess, best_error = guess, error
    return best, np.where(np.isfinite(numbers(reference[VALUE])), best_guess, np.nan)


def _ridge(steps: list[Steps], places: list[Places], loss: Floats) -> tuple[float, list[Floats]]:
    """Mean and effects by column; places that no row fell in have none."""
    starts = np.cumsum([0, *(s.places for s in steps)])
    matrix = np.zeros((len(loss), int(starts[-1])))
    rows = np.arange(len(loss))
    for start, place in zip(starts, places, strict=False):
        matrix[rows, start + place] = 1.0
    mean = float(loss.mean())
    gram = matrix.T @ matrix + RIDGE * np.eye(matrix.shape[1])
    effects: Any = np.linalg.solve(gram, matrix.T @ (loss - mean))
    return mean, [np.asarray(effects[a:b]) for a, b in itertools.pairwise(starts)]


def _plain(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
