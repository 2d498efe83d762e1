"""The streams of the loop benchmark: generated ones with known drifts, and scikit-learn's digits in file order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from trimtab.core.schema import Field, Schema, Target
from trimtab.monitoring.simulate.stream import Stream

SECOND = 1_000_000
ROWS = 40_000
Arrays = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def sea(seed: int) -> Stream:
    """SEA with abrupt drifts: river's generator, variants 0, 1, 2, 3 (thresholds 8, 9, 7, 9.5), 10 % of the labels
    turned round, 10,000 rows each (Street and Kim 2001)."""
    return _stream(f"sea-{seed}", _joined(_sea(v, ROWS // 4, 10 * seed + v) for v in range(4)))


def recurring() -> Stream:
    """Two concepts of SEA (thresholds 8 and 7, 10 % noise) in turn, 5,000 rows each."""
    return _stream("recurring", _joined(_sea(v, ROWS // 8, i) for i, v in enumerate((0, 2) * 4)))


def gradual() -> Stream:
    """Agrawal's function 1 gives way to function 5 (river's 0 and 4) around row 20,000, over 10,000 rows."""
    from river.datasets import synth

    old, new = (_take(synth.Agrawal(classification_function=f, seed=f), ROWS) for f in (0, 4))
    chance = 1 / (1 + np.exp(-4 * (np.arange(ROWS) - ROWS / 2) / (ROWS / 4)))
    pick = np.random.default_rng(0).random(ROWS) < chance
    return _stream("gradual", (np.where(pick[:, None], new[0], old[0]), np.where(pick, new[1], old[1])))


def incremental() -> Stream:
    """A hyperplane in ten dimensions, five of whose weights move a little with each row; 5 % noise (Hulten 2001)."""
    from river.datasets import synth

    made = synth.Hyperplane(
        seed=1, n_features=10, n_drift_features=5, mag_change=0.001, noise_percentage=0.05, sigma=0.1
    )
    return _stream("incremental", _take(made, ROWS))


def steady() -> Stream:
    """No drift: SEA's first concept throughout, 10 % noise."""
    return _stream("no_drift", _sea(0, ROWS, 3))


def digits() -> Stream:
    """scikit-learn's 1,797 digits in file order: 13 writers in turn, whom the data do not name."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return _stream("digits", (found.data, found.target))


def _sea(variant: int, rows: int, seed: int) -> Arrays:
    from river.datasets import synth

    return _take(synth.SEA(variant=variant, noise=0.1, seed=seed), rows)


def _take(made: Any, rows: int) -> Arrays:
    x, y = zip(*islice(made, rows), strict=True)
    return np.array([list(row.values()) for row in x], np.float64), np.array([int(label) for label in y])


def _joined(parts: Iterator[Arrays]) -> Arrays:
    x, y = zip(*parts, strict=True)
    return np.concatenate(x), np.concatenate(y)


def _stream(name: str, rows: Arrays) -> Stream:
    x, y = rows
    columns: dict[str, Any] = {f"x{i}": pa.array(x[:, i]) for i in range(x.shape[1])}
    texts = pa.array([str(label) for label in y])
    schema = Schema(
        fields=tuple(Field(name=n, kind="number") for n in columns),
        target=Target(name="target", kind="category", classes=tuple(sorted({str(label) for label in y}))),
    )
    return Stream(name, schema, pa.table({**columns, "target": texts}), np.arange(len(y), dtype=np.int64) * SECOND)


STREAMS: dict[str, list[Callable[[], Stream]]] = {
    "sea": [partial(sea, seed) for seed in range(5)],
    "digits": [digits],
    "recurring": [recurring],
    "gradual": [gradual],
    "incremental": [incremental],
    "no_drift": [steady],
}
