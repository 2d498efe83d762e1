"""What figures mean, in words that need no statistics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trimtab.core.trained import Predictions

Array = np.ndarray[Any, Any]
TESTED = {
    "test": "rows that were locked away before training and opened once",
    "judge": "fresh labelled rows that training never saw",
    "folds": "rows that the predicting fit did not see",
}


def of_thousand(share: float) -> str:
    """A share as people count.

    >>> of_thousand(0.0214), of_thousand(0.0002)
    ('21 of 1,000', 'fewer than 1 of 1,000')
    """
    n = round(share * 1000)
    return f"{n:,} of 1,000" if n >= 1 else "fewer than 1 of 1,000" if share > 0 else "none of 1,000"


def headline(task: str, metrics: Mapping[str, Mapping[str, float]], unit: str, rows_per_day: float) -> str:
    """The one sentence for whoever reads no further."""
    if task == "classification":
        a = metrics["accuracy"]
        text = (
            f"Expect about {of_thousand(1 - a['value'])} answers to be wrong "
            f"(between {round((1 - a['high']) * 1000):,} and {round((1 - a['low']) * 1000):,})."
        )
        if rows_per_day:
            text += f" At {rows_per_day:,.0f} a day that is about {(1 - a['value']) * rows_per_day:,.0f} a day."
        return text
    m = metrics["mae"]
    of = f" {unit}" if unit else ""
    return f"Answers are off by {m['value']:.3g}{of} on average (between {m['low']:.3g} and {m['high']:.3g})."


def by_class(classes: tuple[str, ...], honest: Predictions) -> list[tuple[str, str, str, str]]:
    """For each class: its name, rows, how many are found, and what it is taken for most."""
    guess = honest.prediction.argmax(axis=1)
    lines = []
    for i, name in enumerate(classes):
        mine = honest.truth == i
        if not mine.any():
            lines.append((name, "0", "no row to tell from", ""))
            continue
        wrong = np.bincount(guess[mine & (guess != i)], minlength=len(classes))
        rows, found = int(mine.sum()), int(np.sum(guess[mine] == i))
        taken = f"{classes[int(wrong.argmax())]} ({int(wrong.max()):,} times)" if wrong.any() else "–"
        lines.append((name, f"{rows:,}", f"{found:,} ({100 * found / rows:.0f} %)", taken))
    return lines


def by_error(honest: Predictions, unit: str) -> list[tuple[str, str]]:
    """How far off answers are: shares of rows and the error they stay within."""
    errors = np.abs(honest.prediction - honest.truth)
    of = f" {unit}" if unit else ""
    shares = ((50, "half of the answers"), (80, "8 of 10"), (90, "9 of 10"), (95, "19 of 20"))
    return [(words, f"within {float(np.quantile(errors, q / 100)):.3g}{of}") for q, words in shares]


def against_champion(judge: Mapping[str, Any] | None) -> str:
    """Champion and challenger on the same rows."""
    if not judge:
        return ""
    n = judge["n"]
    if "challenger_loss" in judge:
        return (
            f"On the same {n:,} fresh rows it is off by {judge['challenger_loss']:.3g} on average, "
            f"the version {judge['against']} by {judge['champion_loss']:.3g}."
        )
    ours, theirs = judge["both_right"] + judge["challenger_only"], judge["both_right"] + judge["champion_only"]
    return (
        f"On the same {n:,} fresh rows it is right {ours:,} times, the version {judge['against']} {theirs:,} times; "
        f"{judge['challenger_only']:,} rows only the new one gets right, {judge['champion_only']:,} only the old one."
    )
