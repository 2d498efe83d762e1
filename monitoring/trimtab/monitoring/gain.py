"""What other training data would gain: candidate stretches of the rows compete on newer rows, with a quick model.

The champion's own data are one of the candidates, learnt by the same quick model, so that the difference is the
data's alone. Each block of the newest rows is answered by models learnt from rows before it (prequential, Dawid
1984), so nothing is judged on what it has seen.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.monitoring import learners
from trimtab.monitoring.learners import Kind, Learnt

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
# Rows that a quick model learns from, at most: an even sample of them is taken.
MOST_ROWS = 5000
# Candidate stretches are so many windows long …
LENGTHS = (1, 3, 9, 27)
# … and compete on the newest blocks, each half a window, of which older ones count less and less.
BLOCKS, FADE = 3, 0.6
# Fewer rows are chosen over more where they are better by so many standard errors.
FEWER = 2.0
# Fewest rows that are learnt from, and that make a block.
LEAST = 20


@dataclass(frozen=True)
class Stretch:
    """Rows to learn from.

    Attributes:
        start: first row of the log.
        base: whether the champion's training rows are added.
        name: in words.
        length: windows, where it is the newest ones.
    """

    start: int
    base: bool
    name: str
    length: int = 0


CHAMPION = Stretch(-1, True, "the champion's own")


@dataclass(frozen=True)
class Gain:
    """What the best stretch gains over the champion's training rows.

    Attributes:
        stretch: the best one.
        mean: loss that it saves a row, on the newest blocks.
        z: the same in standard errors, on the stretch of blocks where it shows most.
        rows: rows that it was seen on.
        own: mean loss of the champion's rows there.
        losses: by stretch's name, what it saves a row, newer blocks counting more.
    """

    stretch: Stretch
    mean: float
    z: float
    rows: int
    own: float
    losses: dict[str, float] = field(default_factory=dict)


def stretches(stop: int, first: int, fresh: int, change: int | None, window: int) -> list[Stretch]:
    """The candidates for training on rows before `stop`.

    Args:
        stop: rows from here on are not learnt from.
        first: first row of the log that there is.
        fresh: first row that the champion was not trained on.
        change: first row of the new regime, where one is known.
        window: rows of a window.
    """
    found = [Stretch(fresh, True, "everything")]
    alone = [Stretch(stop - n * window, False, f"the newest {n} window{'s' * (n > 1)}", n) for n in LENGTHS]
    if change is not None and stop - change >= LEAST:
        alone.append(Stretch(max(change, first), False, "all since the change"))
    # The longest first: fewer rows must show that they are better.
    return found + sorted((s for s in alone if s.start > first or not s.length), key=lambda s: s.start)


class Probe:
    """Scores candidate stretches over a log.

    Args:
        learn_rows: fits the quick model on rows (numbers of the log's, the champion's are among them).
        score: loss of each of these rows under a model.
        window: rows of a window.
    """

    def __init__(
        self, learn_rows: Callable[[Rows], Learnt], score: Callable[[Learnt, Rows], Floats], window: int
    ) -> None:
        self._learn, self._score, self.window = learn_rows, score, window
        self._models: dict[Any, Learnt] = {}
        self._scores: dict[Any, Floats] = {}

    def gain(self, champion: Rows, stop: int, first: int, fresh: int, change: int | None) -> Gain | None:
        """What the best stretch would gain on the newest rows before `stop`; None where there are too few.

        Args:
            champion: its training rows.
            stop: rows from here on are not looked at.
            first: first row of the log.
            fresh: first row that the champion was not trained on.
            change: first row of the new regime, where one is known.
        """
        # Soon after a change half a window must do; later whole ones cost half the fits.
        soon = stop - fresh < 2 * self.window or (change is not None and stop - change < 2 * self.window)
        size = max(LEAST, self.window // 2 if soon else self.window)
        edges = [stop - i * size for i in range(BLOCKS + 1)]
        blocks = [(a, b) for b, a in itertools.pairwise(edges) if a >= fresh]
        if not blocks:
            if stop - fresh < 2 * LEAST:
                return None
            blocks = [((fresh + stop) // 2, stop)]
        newest = stretches(blocks[0][0], first, fresh, change, self.window)
        saved: dict[str, list[Floats]] = {}
        own = [self._loss(CHAMPION, champion, a, b) for a, b in blocks]
        for (a, b), theirs in zip(blocks, own, strict=True):
            options = {s.name: s for s in stretches(a, first, fresh, change, self.window)}
            for one in newest:
                use = options.get(one.name, options["everything"])
                saved.setdefault(one.name, []).append(theirs - self._loss(use, champion, a, b))
        weights = FADE ** np.arange(len(blocks))
        mean = {n: float(np.average([p.mean() for p in parts], weights=weights)) for n, parts in saved.items()}
        best = newest[0]
        for one in newest[1:]:
            gap = [a - b for a, b in zip(saved[one.name], saved[best.name], strict=True)]
            if (
                mean[one.name] > mean[best.name]
                and max(_z(np.concatenate(gap[: i + 1])) for i in range(len(gap))) >= FEWER
            ):
                best = one
        spans = [np.concatenate(saved[best.name][: i + 1]) for i in range(len(blocks))]
        seen = max(spans, key=_z)
        return Gain(best, float(seen.mean()), _z(seen), len(seen), float(np.concatenate(own).mean()), mean)

    def _loss(self, stretch: Stretch, champion: Rows, a: int, b: int) -> Floats:
        rows = rows_of(stretch, champion, a)
        key = (stretch.start, stretch.base, len(rows), int(rows[-1]), int(rows.sum()))
        if (key, a, b) not in self._scores:
            if key not in self._models:
                self._models[key] = self._learn(sample(rows))
            self._scores[key, a, b] = self._score(self._models[key], np.arange(a, b))
        return self._scores[key, a, b]


def rows_of(stretch: Stretch, champion: Rows, stop: int) -> Rows:
    """The rows of a stretch before `stop`."""
    if stretch == CHAMPION:
        return champion
    own = np.arange(max(stretch.start, 0), stop)
    return np.union1d(champion, own) if stretch.base else own


def sample(rows: Rows, most: int = MOST_ROWS) -> Rows:
    """Evenly spread rows, at most so many."""
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def _z(values: Floats) -> float:
    """Mean in standard errors, a little shrunk where nearly all are equal."""
    n = len(values)
    return float(values.sum() / math.sqrt(float((values**2).sum()) + 1e-12)) if n else 0.0


__all__ = ["CHAMPION", "Gain", "Kind", "Probe", "Stretch", "learners", "rows_of", "stretches"]
