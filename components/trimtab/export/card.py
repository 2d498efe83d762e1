"""What a version's page says about it: words, and counts for a slider, of rows that the predicting fit did not see.

The counts hold for any threshold, so a page can say how many mistakes a day another one would make without seeing a
row. They are counts and nothing else: no value of any field, private or not, is in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.core.schema import Schema, Target
from trimtab.export import words

if TYPE_CHECKING:
    from trimtab.export.stage import ExportConfig

Array = np.ndarray[Any, Any]
FILE = "card.json"
STEPS = 101


def card(
    config: ExportConfig,
    schema: Schema,
    chosen: Mapping[str, Any],
    truth: Array,
    prediction: Array,
    limits: Sequence[str],
) -> dict[str, Any]:
    """The card, the same for the same model.

    Args:
        config: names and words.
        schema: fields and target.
        chosen: select's JSON.
        truth: class indices or values [n] of rows that the predicting fit did not see.
        prediction: probabilities [n, k] or values [n] of the same rows.
        limits: what to keep in mind, a sentence each.
    """
    metrics, unit = chosen["metrics"], schema.target.unit
    return {
        "schema": "trimtab/card/1",
        "headline": words.headline(config.task, metrics, unit, config.rows_per_day),
        "measured": f"Measured on {chosen['rows']:,} {words.TESTED[chosen['tested_on']]}.",
        "against": words.against_champion(chosen.get("judge")),
        "limits": list(limits),
        "curve": curve(schema.target, truth, prediction),
    }


def curve(target: Target, truth: Array, prediction: Array) -> dict[str, Any]:
    """Mistakes by threshold, as counts of n rows.

    Two classes: `at` is the probability from which the second is called; `missed` of the second are not called,
    `alarms` of the first are. More classes: `at` is the confidence below which nothing is answered; `wrong` answers
    remain, `left` rows are left to a person. Numbers: `at` is the error that is still accepted; `over` and `under`
    count the answers that are further off, too high and too low.

    Args:
        target: what is predicted.
        truth: class indices or values [n].
        prediction: probabilities [n, k] or values [n].

    >>> p = np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]], np.float32)
    >>> target = Target(name="y", kind="category", classes=("no", "yes"))
    >>> found = curve(target, np.array([0, 1, 1]), p)
    >>> found["rows"], found["positives"], found["missed"][50], found["missed"][20], found["alarms"][5]
    (3, 2, 1, 0, 1)
    """
    if target.kind == "number":
        return _tolerance(np.asarray(truth, np.float64), np.asarray(prediction, np.float64))
    at = [i / (STEPS - 1) for i in range(STEPS)]
    # As the server compares: what it computed in 32 bits, with the threshold as it is written.
    p = np.asarray(prediction, np.float32).astype(np.float64)
    if len(target.classes) == 2:
        second = truth == 1
        return {
            "kind": "threshold",
            "rows": len(truth),
            "positives": int(second.sum()),
            "at": at,
            "missed": _below(p[second, 1], at),
            "alarms": [int((~second).sum()) - n for n in _below(p[~second, 1], at)],
        }
    confidence, wrong = p.max(axis=1), p.argmax(axis=1) != truth
    return {
        "kind": "confidence",
        "rows": len(truth),
        "at": at,
        "left": _below(confidence, at),
        "wrong": [int(wrong.sum()) - n for n in _below(confidence[wrong], at)],
    }


def _tolerance(truth: Array, value: Array) -> dict[str, Any]:
    off = value - truth
    size = np.abs(off)
    most = _round_up(float(np.quantile(size, 0.99))) if len(size) else 1.0
    at = [most * i / (STEPS - 1) for i in range(STEPS)]
    return {
        "kind": "tolerance",
        "rows": len(truth),
        "at": [float(f"{one:.6g}") for one in at],
        "over": [int((off > one).sum()) for one in at],
        "under": [int((off < -one).sum()) for one in at],
    }


def _below(values: Array, at: Sequence[float]) -> list[int]:
    """How many values lie below each of the rising thresholds."""
    below: list[int] = np.searchsorted(np.sort(values), at, side="left").tolist()
    return below


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, … times a power of ten.

    >>> _round_up(137.0), _round_up(0.031), _round_up(0.0)
    (200.0, 0.05, 1.0)
    """
    if not value > 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(f"{next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-12)):.6g}")
