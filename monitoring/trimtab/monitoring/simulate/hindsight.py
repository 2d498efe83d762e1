"""What a policy gave, with the whole stream known: its accuracy, and which retrains answered a change."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from trimtab.monitoring.simulate.replay import Course, Setting

Losses = np.ndarray[Any, Any]


def facts(base: Setting, course: Course, still: Course, cost: float) -> dict[str, Any]:
    """What a policy gave, as a record.

    Args:
        base: the setting.
        course: the policy's.
        still: that of `static`: an alarm is false where the first version has not become worse.
        cost: what one retrain counts as, in rows wholly wrong.
    """
    mean = float(course.losses.mean())
    delays, false = _answers(base, course, still)
    found: dict[str, Any] = {"accuracy": round(100 * (1 - mean), 3)} if base.stream.classes else {
        "accuracy": round(100 * (1 - mean / max(naive(base), 1e-12)), 3), "mean_absolute_error": mean,
    }  # fmt: skip
    return {
        **found,
        "retrains": len(course.retrains),
        "promoted": len(course.promoted),
        "delay": delays,
        "campaigns": len(course.campaigns),
        "false_campaigns": false,
        "cost": round(
            float(course.losses.sum()) / (1.0 if base.stream.classes else max(naive(base), 1e-12))
            + cost * len(course.retrains),
            1,
        ),
        "at": course.retrains,
    }


def naive(base: Setting) -> float:
    """Mean absolute error of the training rows' median: what a regression's accuracy is a part of."""
    truth = base.stream.truth
    return float(np.mean(np.abs(truth[base.train_rows :] - np.median(truth[: base.train_rows]))))


def _answers(base: Setting, course: Course, still: Course) -> tuple[float | None, int]:
    """Mean rows from a change to the first retrain behind it, and campaigns without a change since the one before.

    A change is where the first version's losses leave the level they were at: found over the whole stream in
    hindsight, the same for all policies. Whatever a policy retrains for, each retrain that is no follow-up within a
    campaign is counted alike.
    """
    changes = change_points(still.losses, base.window)
    retrains = [r - base.train_rows for r in course.retrains]
    delays = []
    for i, change in enumerate(changes):
        end = changes[i + 1] if i + 1 < len(changes) else len(still.losses)
        after = [r for r in retrains if change <= r < end]
        if after:
            delays.append(after[0] - change)
    edges = [0, *(r - base.train_rows for r in course.campaigns)]
    false = sum(not any(a - base.window < c <= b for c in changes) for a, b in pairwise(edges))
    return (round(float(np.mean(delays)), 1) if delays else None), false


def change_points(losses: Losses, least: int, strength: float = 12.0) -> list[int]:
    """Rows at which the mean of a sequence changes, by seeded binary segmentation (Kovács et al. 2023).

    Binary segmentation (Scott and Knott 1974) over stretches of every size: cuts of the whole alone would miss a
    level that is left and comes back.

    Args:
        losses: of rows.
        least: rows between two changes, at least.
        strength: log-likelihood that a change must explain (normal, known variance).

    >>> change_points(np.repeat([0.0, 1.0, 0.0], [400, 300, 400]), 50)
    [400, 700]
    """
    sums = np.concatenate([[0.0], np.cumsum(losses - losses.mean())])
    variance = max(float(np.var(losses)), 1e-12)
    found: list[int] = []
    todo = [(0, len(losses))]
    while todo:
        a, b = todo.pop()
        score, cut = max((_cut(sums, *span, least) for span in _spans(a, b, least)), default=(0.0, a))
        if score >= strength * 2 * variance:
            found.append(cut)
            todo += [(a, cut), (cut, b)]
    return sorted(found)


def _spans(start: int, stop: int, least: int) -> list[tuple[int, int]]:
    """The stretch, and halves of it, quarters, …, each overlapping the next by half, of 2 x `least` rows or more."""
    found, length = [], stop - start
    while length >= 2 * least:
        places = np.linspace(start, stop - length, max(1, 2 * -(-(stop - start) // length) - 1)).astype(int)
        found += [(int(a), int(a) + length) for a in places]
        length //= 2
    return found


def _cut(sums: Losses, a: int, b: int, least: int) -> tuple[float, int]:
    """The row that parts a stretch best, and the squares that this explains."""
    at = np.arange(a + least, b - least + 1)
    left, right = (sums[at] - sums[a]) / (at - a), (sums[b] - sums[at]) / (b - at)
    score = (left - right) ** 2 * (at - a) * (b - at) / (b - a)
    best = int(np.argmax(score))
    return float(score[best]), int(at[best])
