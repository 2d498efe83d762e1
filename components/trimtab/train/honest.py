"""What the fits of a candidate give: the served network, honest predictions, and where to stop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.train.calibrate import temperature

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Fitted:
    """The outcome of all fits of a candidate.

    Attributes:
        module: the served one, in eval mode, on the CPU.
        rows: positions of the rows with an honest prediction, int64 [m], rising.
        raw: their logits [m, k] or scaled values [m, 1], float32.
        steps: optimizer steps of the served fit.
    """

    module: torch.nn.Module
    rows: Array
    raw: Array
    steps: int


def row_loss(raw: Array, y: Array) -> Array:
    """Loss of each row: cross-entropy of logits [n, k], or absolute error of values [n, 1]."""
    if y.ndim == 2:
        error: Array = np.abs(raw - y)[:, 0].astype(np.float64)
        return error
    z = raw.astype(np.float64)
    z = z - z.max(axis=1, keepdims=True)
    entropy: Array = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]
    return entropy


def best_check(raw: Mapping[int, Array], y: Array) -> int:
    """Where to stop: at the last look, unless an earlier one is better by more than a standard error (paired).

    A cycle ends with its smallest steps, so what is there in between looks worse than it will be; and what a
    temperature repairs is no reason to stop.

    Args:
        raw: honest logits or scaled values of the same rows, by number of the look.
        y: their targets.
    """
    losses = {n: row_loss(one / temperature(one, y) if y.ndim == 1 else one, y) for n, one in raw.items()}
    last = max(losses)
    best = min(losses, key=lambda n: (float(losses[n].mean()), -n))
    gain = losses[last] - losses[best]
    return best if float(gain.mean()) > float(gain.std()) / np.sqrt(len(gain)) else last
