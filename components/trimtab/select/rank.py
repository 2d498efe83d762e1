"""Which candidate is best, where a finer score and then simplicity decide between those that are as good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trimtab.core.blocks import METRICS
from trimtab.core.metrics import Z95, improvement
from trimtab.core.trained import Predictions, TrainedModel

FINER = {"classification": "log_loss", "regression": "rmse"}


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

    Best by the metric; of those within one standard error of it (of the paired difference), best by log loss or root
    mean squared error, which tell more on few rows; and of those within one standard error of that, the one with the
    fewest weights (Breiman's one-standard-error rule, 1984).

    Args:
        entrants: at least one, each with predictions of the same rows.
        metric: a key of `METRICS`.
    """
    if len(entrants) == 1:
        return entrants[0], f"{entrants[0].model.name} is the only candidate"
    finer = FINER[METRICS[metric][0]]
    near = _near(entrants, metric)
    level = _near(near, finer)
    winner = min(level, key=lambda e: (e.model.parameters, e.model.name))
    name, score = winner.model.name, f"{metric} {winner.value(metric):.4g}"
    if len(near) == 1:
        return winner, f"{name} has the best {metric}, {winner.value(metric):.4g}"
    others = ", ".join(e.model.name for e in near if e is not winner)
    if len(level) == 1:
        return winner, f"{name} ({score}) is as good as {others}, and the best of them by {finer}"
    return winner, f"{name} ({score}) is as good as {others}, and has the fewest weights of the best"


def _near(entrants: Sequence[Entrant], metric: str) -> list[Entrant]:
    """The best by a metric, and those worse by at most a standard error of the paired difference."""
    sign = 1.0 if METRICS[metric][1] else -1.0
    best = max(entrants, key=lambda e: (sign * e.value(metric), -e.model.parameters))
    return [e for e in entrants if e is best or _ties(best, e, metric)]


def _ties(best: Entrant, other: Entrant, metric: str) -> bool:
    if not np.array_equal(best.honest.rows, other.honest.rows):
        return False
    gain = improvement(metric, best.honest.truth, best.honest.prediction, other.honest.prediction)
    return gain.value <= (gain.high - gain.low) / (2 * Z95)
