"""Which candidate is best, where the simplest of those that are as good wins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trimtab.core.blocks import METRICS
from trimtab.core.metrics import Z95, improvement
from trimtab.core.trained import Predictions, TrainedModel

Array = np.ndarray[Any, Any]
TIE = 0.5  # standard errors of the paired difference below which two candidates count as equally good


@dataclass(frozen=True)
class Entrant:
    """One candidate: its description, and its honest predictions."""

    model: TrainedModel
    honest: Predictions

    def value(self, metric: str) -> float:
        """Its figure of a metric."""
        return self.model.figures[metric]["value"]


def rank(entrants: Sequence[Entrant], metric: str) -> tuple[Entrant, str]:
    """The winner, and why in words.

    Best by the metric; but of those that are worse by no more than half a standard error of the paired difference, by
    the metric and by the finer `log_loss` or `rmse`, the one with the fewest weights (after Breiman's
    one-standard-error rule, 1984, with less room).

    Args:
        entrants: at least one, each with predictions of the same rows.
        metric: a key of `METRICS`.
    """
    sign = 1.0 if METRICS[metric][1] else -1.0
    best = max(entrants, key=lambda e: (sign * e.value(metric), -e.model.parameters))
    if len(entrants) == 1:
        return best, f"{best.model.name} is the only candidate"
    tied = [e for e in entrants if e is best or _ties(best, e, metric)]
    winner = min(tied, key=lambda e: (e.model.parameters, e.model.name))
    if winner is best:
        return best, f"{best.model.name} has the best {metric}, {best.value(metric):.4g}"
    return winner, (
        f"{winner.model.name} is as good as {best.model.name} ({metric} {winner.value(metric):.4g} and "
        f"{best.value(metric):.4g}) with {winner.model.parameters} weights in place of {best.model.parameters}"
    )


def _ties(best: Entrant, other: Entrant, metric: str) -> bool:
    if not np.array_equal(best.honest.rows, other.honest.rows):
        return False
    finer = "log_loss" if METRICS[metric][0] == "classification" else "rmse"
    gains = (
        improvement(name, best.honest.truth, best.honest.prediction, other.honest.prediction)
        for name in (metric, finer)
    )
    return all(gain.value <= TIE * (gain.high - gain.low) / (2 * Z95) for gain in gains)
