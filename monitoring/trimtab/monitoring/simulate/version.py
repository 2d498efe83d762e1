"""A model as it would serve: fitted on rows of the stream, with the reference that the watch compares with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trimtab.core.predictions import TIME
from trimtab.monitoring import columns, learners
from trimtab.monitoring.drift import Profile
from trimtab.monitoring.performance import Yardstick
from trimtab.monitoring.simulate.stream import Rows, Stream

Floats = npt.NDArray[np.float64]
# Up to so many rows every row has an honest prediction, by folds; above, a part of them, as the stage prepare has it.
FOLDED_ROWS, FOLDS, HELD_OUT = 4000, 3, 5


class Served(Protocol):
    """A fitted model: rows of the stream to probabilities [n, k] or values [n]."""

    def __call__(self, stream: Stream, rows: Rows) -> Floats:
        """Answer rows of the stream."""
        ...


@dataclass(frozen=True)
class Fit:
    """What training gives.

    Attributes:
        served: the model.
        rows, honest: training rows, and their predictions by models that had no part in them.
    """

    served: Served
    rows: Rows
    honest: Floats


Train = Callable[[Stream, Rows, int], Fit]


def quick(kind: str) -> Train:
    """Trains one of the quick learners, with honest predictions by folds."""

    def train(stream: Stream, rows: Rows, seed: int) -> Fit:
        served = answers(stream, rows, kind)
        order = np.random.default_rng(seed).permutation(len(rows))
        many = len(rows) > FOLDED_ROWS
        folds = [order[i :: HELD_OUT if many else FOLDS] for i in range(1 if many else FOLDS)]
        held = np.concatenate(folds)
        parts = []
        for fold in folds:
            kept = np.setdiff1d(np.arange(len(rows)), fold)
            parts.append(answers(stream, rows[kept], kind)(stream, rows[fold]))
        return Fit(served, rows[held], np.concatenate(parts))

    return train


def answers(stream: Stream, rows: Rows, kind: Any) -> Served:
    """A quick learner fitted on rows, with the preprocessing that these rows ask for."""
    prepared = stream.prepared(rows)
    k = len(stream.classes)
    x = prepared.apply(stream.take(rows)).reshape(len(rows), -1)
    model = learners.learn(kind, x, stream.truth[rows], k)

    def served(stream: Stream, rows: Rows) -> Floats:
        return model.predict(prepared.apply(stream.take(rows)).reshape(len(rows), -1))

    return served


class Version:
    """One version: model, reference, and its place in the stream.

    Args:
        stream: what it lives in.
        rows: its training rows.
        train: trains it.
        number: of the version, from 1.
        reference_rows: rows of its reference, at most.
    """

    def __init__(self, stream: Stream, rows: Rows, train: Train, number: int, reference_rows: int) -> None:
        self.stream, self.rows, self.number = stream, rows, number
        self._fit = train(stream, rows, number)
        self._reference_rows = reference_rows
        self._known: dict[tuple[int, int], Floats] = {}

    def predict(self, rows: Rows) -> Floats:
        """Probabilities or values of rows of the stream; stretches that were asked before are remembered."""
        key = (int(rows[0]), len(rows))
        if key not in self._known:
            self._known[key] = self._fit.served(self.stream, rows)
        return self._known[key]

    def losses(self, rows: Rows) -> Floats:
        """1 for a wrong class, or the absolute error."""
        return learners.loss(self.predict(rows), self.stream.truth[rows])

    def answered(self, rows: Rows, predicted: Floats | None = None) -> pa.Table:
        """Rows as the prediction log has them."""
        found = self.predict(rows) if predicted is None else predicted
        table = self.stream.table.take(pa.array(rows))
        table = table.append_column("_time", pa.array(self.stream.times[rows]).cast(TIME))
        if self.stream.classes:
            names = pa.array(self.stream.classes, pa.string())
            table = table.append_column("_label", names.take(pa.array(found.argmax(axis=1))))
            flat = pa.array(found.astype(np.float32).ravel())
            offsets = pa.array(np.arange(0, found.size + 1, found.shape[1]), pa.int32())
            return table.append_column("_probabilities", pa.ListArray.from_arrays(offsets, flat))
        return table.append_column("_value", pa.array(found))

    @cached_property
    def reference(self) -> pa.Table:
        """Honest predictions of training rows, as a bundle's reference sample has them."""
        rows, honest = self._fit.rows, self._fit.honest
        if len(rows) > self._reference_rows:
            kept = np.sort(np.random.default_rng(self.number).permutation(len(rows))[: self._reference_rows])
            rows, honest = rows[kept], honest[kept]
        return self.answered(rows, honest)

    @cached_property
    def yardstick(self) -> Yardstick:
        """What its performance is measured by."""
        return Yardstick.of(self.stream.schema, self.reference)

    @cached_property
    def profile(self) -> Profile:
        """What its windows' inputs are compared with."""
        compared = columns.compared(self.stream.schema)
        return Profile.of(compared, columns.arrays(self.reference, compared, self.stream.classes))
