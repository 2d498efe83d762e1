"""The performance row by row as labels land: each answer is scored before anything could learn from it (Dawid 1984).

Old rows fade (Gama, Sebastião and Rodrigues 2013, "On evaluating stream learning algorithms"), so the figure follows
the model as it is now, whatever the windows' size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trimtab.monitoring.losses import Floats, Losses

if TYPE_CHECKING:
    from trimtab.monitoring.performance import Realised

# Weight of a row against the next newer one: the newest 300 or so count.
FADING = 0.9967
# Rows beyond weigh less than a hundredth each.
ROWS = 1500


def newest(parts: Sequence[Realised], most: int = ROWS) -> tuple[npt.NDArray[np.int64], Floats, npt.NDArray[np.int64]]:
    """The newest labelled rows in order of their predictions, whatever the order of their labels.

    Args:
        parts: windows' labels, oldest first.
        most: rows; the oldest window taken is taken whole.

    Returns:
        By bucket of rows: number of rows, sum of losses, time of the first (microseconds since 1970).
    """
    kept: list[Realised] = []
    rows = 0
    for part in reversed(parts):
        if rows >= most:
            break
        kept.append(part)
        rows += part.labelled
    if not kept:
        return np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64)
    n, total, first = (np.concatenate([getattr(p, name) for p in kept]) for name in ("n", "total", "first"))
    order = np.argsort(first, kind="stable")
    return n[order], total[order], first[order]


def faded(parts: Sequence[Realised]) -> Losses:
    """The faded mean loss at the newest labelled row, as losses of as many rows as the weights stand for.

    >>> from types import SimpleNamespace
    >>> row = lambda loss, at: SimpleNamespace(
    ...     labelled=1, n=np.array([1]), total=np.array([loss]), first=np.array([at]))
    >>> round(faded([row(0.0, i) for i in range(300)] + [row(1.0, 300 + i) for i in range(300)]).mean, 2)
    0.73
    """
    n, total, _ = newest(parts)
    if not n.sum():
        return Losses()
    after = n.sum() - np.cumsum(n)
    weight = FADING**after
    rows = float((weight * n).sum())
    mean = float((weight * total).sum()) / rows
    # Rows of equal weight that would know the mean as well (Kish 1965).
    worth = max(1, round(rows**2 / float((weight**2 * n).sum())))
    return Losses(worth, mean * worth, mean * worth, mean * worth)
