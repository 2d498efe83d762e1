"""How good a model is: on its reference, as estimated without labels, and as labels show.

Estimated without labels: for classes from the calibrated probability of the answered class (CBPE, NannyML's name for
it; `calibration.py`), for numbers by a model of the loss learned from the reference's errors (DLE; `lossmodel.py`).
Both are corrected by what the reference shows the estimate to miss there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.monitoring import calibration, losses, lossmodel
from trimtab.monitoring.calibration import Cells, Curve
from trimtab.monitoring.columns import LABEL, PROBABILITIES, VALUE, confidence, indices, numbers
from trimtab.monitoring.counts import text
from trimtab.monitoring.losses import Floats, Losses
from trimtab.monitoring.lossmodel import LossModel
from trimtab.monitoring.slices import PREFIX, Slices

if TYPE_CHECKING:
    from trimtab.core.schema import Schema

# Share of the reference's errors (numbers) beyond which an error counts as this large and no larger.
CAP = 0.99
# Share of a loss's variance from which on its estimate is held against it.
EXPLAINED = 0.02
# Column of estimated losses that a window's labelled rows carry, so that they need no more of the log.
GUESS = "_guess"
# Buckets of a window's labelled rows that are kept for the search of the change point.
BUCKETS = 256


@dataclass(frozen=True)
class Yardstick:
    """What a version's performance is measured by, from its reference.

    Attributes:
        binary: losses are wrong/right (classification).
        unit: of the reported performance: `accuracy`, or `mean absolute error` in the target's unit.
        spread: a loss of 1 in the target's unit (1 for classification).
        cap: largest loss that one row counts.
        classes: of the target; empty for numbers.
        realised: losses of the reference rows.
        estimated: losses of the reference rows as estimated without labels.
        gap: variance of a row's realised less estimated loss.
        surprise: losses of the reference rows less their estimates.
        truths: reference rows by class.
        by_class: losses of the reference rows by true class.
        curve: from the probability of the answered class to the share right.
        model: for numbers: of a row's loss.
        cells: calibration of the reference rows.
        slices: parts of the traffic looked at by themselves.
        by_slice: losses of the reference rows by slice.
    """

    binary: bool
    unit: str
    spread: float
    cap: float
    classes: tuple[str, ...]
    realised: Losses
    estimated: Losses
    gap: float
    truths: dict[str, int] = field(default_factory=dict)
    by_class: dict[str, Losses] = field(default_factory=dict)
    curve: Curve = field(default=Curve())
    model: LossModel | None = None
    cells: Cells = field(default_factory=Cells)
    slices: Slices = field(default=Slices())
    by_slice: dict[str, Losses] = field(default_factory=dict)
    surprise: Losses = field(default_factory=Losses)

    @classmethod
    def of(cls, schema: Schema, reference: pa.Table) -> Yardstick:
        """From the bundle's reference rows: predictions that no row had a part in, and truths.

        Args:
            schema: the model's schema.
            reference: columns `_label` and `_probabilities`, or `_value`, and the target.
        """
        target = schema.target
        truth = reference[target.name] if target.name in reference.column_names else pa.nulls(len(reference))
        if target.kind == "category":
            classes = tuple(target.classes)
            wrong = wrong_answers(reference[LABEL], truth)
            sure = confidence(reference, classes)
            curve = calibration.fit(sure, 1 - wrong)
            guess = 1 - curve(sure)
            seen = ~np.isnan(wrong)
            at = indices(truth, classes)
            by_class = {c: losses.of(wrong[seen & (at == i)]) for i, c in enumerate(classes)}
            return cls(
                True, "accuracy", 1.0, 1.0, classes, losses.of(wrong), losses.of(guess), _gap(wrong, guess),
                {c: int((at == i).sum()) for i, c in enumerate(classes)}, by_class,
                curve, None, Cells.of(guess, wrong), *_sliced(schema, reference, wrong),
                surprise=losses.of(wrong - guess),
            )  # fmt: skip
        value, true = (
            numbers(reference[VALUE]),
            numbers(pa.chunked_array(truth) if isinstance(truth, pa.Array) else truth),
        )
        error = np.abs(value - true)
        known = error[np.isfinite(error)]
        usual = true[np.isfinite(true)]
        spread = float(usual.std()) if len(usual) > 1 and usual.std() > 0 else 1.0
        cap = max(float(np.quantile(known, CAP)) / spread, 1e-12) if len(known) else 1.0
        loss = np.minimum(error / spread, cap)
        model, guess = lossmodel.fit(schema, reference, loss)
        slices, by_slice = _sliced(schema, reference, loss)
        return cls(
            False, "mean absolute error", spread, cap, (), losses.of(loss), losses.of(guess), _gap(loss, guess),
            model=model, slices=slices, by_slice=by_slice, surprise=losses.of(loss - guess),
        )  # fmt: skip

    def guesses(self, table: pa.Table) -> Floats:
        """Estimated loss of each row of the log, without labels; NaN where the log says too little."""
        if GUESS in table.column_names:
            return numbers(table[GUESS])
        if self.model is not None:
            return self.model(table)
        if self.binary and {LABEL, PROBABILITIES} <= set(table.column_names):
            return 1 - self.curve(confidence(table, self.classes))
        return np.full(table.num_rows, np.nan)

    def kept(self, table: pa.Table, key_field: str | None = None) -> pa.Table:
        """What `realised` needs of rows of the log once their labels land: no field, estimates and slices instead.

        Args:
            table: rows of the log.
            key_field: the field by which labels may come.
        """
        # Files of one window may type a column differently where a client or a server went wrong: here they agree.
        found = table.select([n for n in ("_id", "_time") if n in table.column_names])
        if key_field is not None and key_field in table.column_names:
            found = found.append_column(key_field, text(table[key_field]))
        if self.binary:
            labels = text(table[LABEL]) if LABEL in table.column_names else pa.nulls(table.num_rows, pa.string())
            found = found.append_column(LABEL, labels)
        else:
            value = numbers(table[VALUE]) if VALUE in table.column_names else np.full(table.num_rows, np.nan)
            found = found.append_column(VALUE, pa.array(value, pa.float64(), from_pandas=True))
        found = found.append_column(GUESS, pa.array(self.guesses(table), pa.float64(), from_pandas=True))
        for name, mark in self.slices.mark(table).items():
            found = found.append_column(name, mark)
        return found

    def surprised(self, found: Realised) -> Losses:
        """Labelled rows' losses less their estimates; no rows where the estimate explains next to nothing.

        What the estimate foretells of a loss is no news, so the rest shows a change with fewer rows (control
        variate).
        """
        if self.surprise.n < 2 or self.surprise.variance > (1 - EXPLAINED) * self.realised.variance:
            return Losses()
        return found.surprise if found.surprise.n == found.losses.n else Losses()

    def losses(self, table: pa.Table, truth: str = "_truth") -> Floats:
        """Loss of each row; NaN where the truth is not known or is no number."""
        if self.binary:
            return wrong_answers(table[LABEL], table[truth])
        error = np.abs(numbers(table[VALUE]) - numbers(table[truth]))
        return np.asarray(np.minimum(error / self.spread, self.cap))

    def shown(self, loss: float) -> float:
        """A mean loss as the performance that people read: accuracy, or the error in the target's unit."""
        return 1 - loss if self.binary else loss * self.spread


@dataclass(frozen=True)
class Estimate:
    """A performance with its 95 % interval, as people read it."""

    value: float
    low: float
    high: float

    def facts(self) -> dict[str, float | None]:
        """As record fields; null where nothing is known."""
        return {k: (None if math.isnan(v) else round(v, 6)) for k, v in vars(self).items()}


@dataclass(frozen=True)
class Realised:
    """What labels show about a window; sums, so that it stays small.

    Attributes:
        labelled: rows with a label.
        losses: their losses.
        guessed: their losses as estimated without labels.
        truths: rows by true class.
        by_class: losses by true class.
        n, total, squares: rows, losses and their squares by bucket, in order of time.
        first: time of the first row of each bucket, microseconds since 1970.
        cells: calibration; empty for numbers.
        slices: losses by slice.
        surprise: losses less their estimates.
        contradicted: rows with labels of different values.
        delay: median seconds from prediction to label.
    """

    labelled: int
    losses: Losses
    guessed: Losses
    truths: dict[str, int]
    by_class: dict[str, Losses]
    n: npt.NDArray[np.int64]
    total: Floats
    squares: Floats
    first: npt.NDArray[np.int64]
    contradicted: int
    delay: float
    cells: Cells = field(default_factory=Cells)
    slices: dict[str, Losses] = field(default_factory=dict)
    surprise: Losses = field(default_factory=Losses)


def realised(yardstick: Yardstick, table: pa.Table) -> Realised:
    """What a window's joined table (with `_truth`, `_labelled_at`, `_contradicted`) shows; order does not matter."""
    times = np.asarray(pc.cast(table["_time"], pa.int64()), np.int64)
    loss, guess = yardstick.losses(table), yardstick.guesses(table)
    order = np.argsort(times, kind="stable")
    order = order[np.isfinite(loss[order])]
    loss, guess, times = loss[order], guess[order], times[order]
    starts = np.unique(np.linspace(0, len(loss), min(BUCKETS, len(loss)) + 1).astype(np.int64))[:-1]
    marks = {n: np.asarray(table[n])[order] for n in table.column_names if n.startswith(PREFIX)}
    truths: dict[str, int] = {}
    by_class: dict[str, Losses] = {}
    if yardstick.binary:
        at = indices(table["_truth"], yardstick.classes)[order]
        for i, name in enumerate(yardstick.classes):
            truths[name] = int((at == i).sum())
            by_class[name] = losses.of(loss[at == i])
    late = np.asarray(pc.cast(table["_labelled_at"].take(pa.array(order)), pa.int64()), np.float64)
    return Realised(
        labelled=len(loss),
        losses=losses.of(loss),
        guessed=losses.of(guess),
        truths=truths,
        by_class=by_class,
        n=np.diff(np.append(starts, len(loss))),
        total=_sums(loss, starts),
        squares=_sums(loss**2, starts),
        first=times[starts],
        contradicted=int(pc.sum(table["_contradicted"]).as_py() or 0),
        delay=float(np.median(np.maximum(0.0, late - times))) / 1e6 if len(loss) else math.nan,
        cells=Cells.of(guess, loss) if yardstick.binary else Cells(),
        slices=yardstick.slices.losses(marks, loss),
        surprise=losses.of(loss - guess),
    )


def expected(yardstick: Yardstick, window: Losses) -> Estimate:
    """Performance of a window as estimated without labels, with the interval for what its labels would show."""
    if not window.n or not yardstick.estimated.n:
        return Estimate(math.nan, math.nan, math.nan)
    miss = yardstick.realised.mean - yardstick.estimated.mean if yardstick.realised.n else 0.0
    loss = min(max(window.mean + miss, 0.0), 1.0 if yardstick.binary else yardstick.cap)
    row = max(loss * (1 - loss), 1e-9) if yardstick.binary else yardstick.gap
    half = 1.96 * math.sqrt(row / window.n + yardstick.gap / max(1, yardstick.realised.n))
    top = 1.0 if yardstick.binary else math.inf
    return _estimate(yardstick, loss, max(0.0, loss - half), min(top, loss + half))


def measured(yardstick: Yardstick, found: Losses) -> Estimate:
    """Performance that losses show."""
    low, high = losses.interval(found, binary=yardstick.binary)
    return _estimate(yardstick, found.mean, low, high)


def wrong_answers(answers: Any, truths: Any) -> Floats:
    """1 where the answer is not the truth, 0 where it is, NaN where the truth is missing."""
    answered, true = text(answers), text(truths)
    return np.asarray(pc.fill_null(pc.cast(pc.not_equal(answered, true), pa.float64()), np.nan))


def _estimate(yardstick: Yardstick, loss: float, low: float, high: float) -> Estimate:
    ends = sorted((yardstick.shown(low), yardstick.shown(high)))
    return Estimate(yardstick.shown(loss), ends[0], ends[1])


def _gap(loss: Floats, guess: Floats) -> float:
    gap = (loss - guess)[np.isfinite(loss - guess)]
    return float(gap.var()) if len(gap) > 1 else 0.25


def _sliced(schema: Schema, reference: pa.Table, loss: Floats) -> tuple[Slices, dict[str, Losses]]:
    """The slices, and the reference's losses in them."""
    slices = Slices.of(schema, reference)
    marks = {n: np.asarray(m) for n, m in slices.mark(reference).items()}
    return slices, slices.losses(marks, loss)


def _sums(values: Floats, starts: npt.NDArray[np.int64]) -> Floats:
    return np.asarray(np.add.reduceat(values, starts) if len(values) else np.zeros(0), np.float64)


__all__ = ["BUCKETS", "GUESS", "Estimate", "Realised", "Yardstick", "expected", "measured", "realised"]
