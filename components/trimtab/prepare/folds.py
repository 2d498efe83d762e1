"""Which rows are the sealed test, and which are held out from which fit."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
HELD_OUT = 0.2  # share of the rows that one held-out fold takes


def split(strata: Array | None, n: int, test_fraction: float, seed: int) -> Array:
    """Draw the test rows.

    Args:
        strata: class index of each row, whose shares are kept, or None.
        n: number of rows.
        test_fraction: share that is drawn; 0 draws none. A class of one row stays in training.
        seed: of the draw.

    Returns:
        bool [n], True for the test.
    """
    test = np.zeros(n, bool)
    if test_fraction <= 0:
        return test
    order = _by_class(strata, n, seed)
    wanted = np.floor(np.arange(1, n + 1) * test_fraction).astype(int) > np.floor(np.arange(n) * test_fraction).astype(
        int
    )
    test[order[wanted]] = True
    if strata is not None:
        for c in np.unique(strata):
            if test[strata == c].all():
                test[np.flatnonzero(strata == c)[0]] = False
    return test


def folds(strata: Array | None, n: int, k: int, seed: int) -> Array:
    """Deal rows into k folds of nearly equal size, classes spread evenly; k = 1 holds out one fold, the rest is -1.

    Returns:
        int32 [n].
    """
    order = _by_class(strata, n, seed + 1)
    out = np.full(n, -1, np.int32)
    if k > 1:
        out[order] = np.arange(n) % k
    else:
        step = round(1 / HELD_OUT)
        out[order[::step]] = 0
    return out


def _by_class(strata: Array | None, n: int, seed: int) -> Array:
    """A random order, class after class, so that every k-th row of it has the classes in their shares."""
    shuffled = np.random.default_rng(seed).permutation(n)
    return shuffled if strata is None else shuffled[np.argsort(strata[shuffled], kind="stable")]
