"""Calibration of logits by one temperature, on rows that the fit did not see (Guo et al. 2017)."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
RANGE = (0.2, 20.0)


def temperature(logits: Array, truth: Array) -> float:
    """The temperature under which held-out logits [n, k] are most likely.

    The true class counts for (n + 1) / (n + 2), as in Platt's scaling (1999): where every row is right, the most
    likely temperature would be 0 and every probability 1.
    """
    n, k = logits.shape
    wanted = np.full((n, k), 1 / (n + 2) / max(1, k - 1))
    wanted[np.arange(n), truth] = (n + 1) / (n + 2)
    raw = logits.astype(np.float64)
    raw = raw - raw.max(axis=1, keepdims=True)

    def loss(log_t: float) -> float:
        z = raw / np.exp(log_t)
        return float(np.mean(np.log(np.exp(z).sum(axis=1)) - (wanted * z).sum(axis=1)))

    low, high = np.log(RANGE[0]), np.log(RANGE[1])
    golden = (np.sqrt(5) - 1) / 2
    for _ in range(40):
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return round(float(np.exp((low + high) / 2)), 6)
