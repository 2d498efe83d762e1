"""A window's rows read once, a file at a time: its counts, and what its labels will be joined to.

Memory is that of one file of the log and of the rows that are kept, whatever the window's length.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from trimtab.core.predictions import concat
from trimtab.monitoring.shards import Counts, add

if TYPE_CHECKING:
    from trimtab.monitoring.log_health import LogHealth
    from trimtab.monitoring.reference import Reference
    from trimtab.monitoring.windows import Piece

# Rows of a window that labels are joined to, at most: an accuracy known from so many is known to a tenth of a point.
KEPT_ROWS = 250_000
_log = logging.getLogger(__name__)


def read(
    about: Reference, pieces: Iterable[tuple[Piece, pa.Table]], rows: int, health: LogHealth, *, compare: bool
) -> tuple[Counts | None, pa.Table]:
    """Read a window.

    Args:
        about: what it is compared with.
        pieces: its rows, in order.
        rows: how many they are; fixes which are kept.
        health: is told of what makes no sense.
        compare: whether its rows are counted.

    Returns:
        Its counts (None where not asked for, or no row makes sense) and its rows as `Yardstick.kept`, evenly spread
        ones where there are more than `KEPT_ROWS`.
    """
    counted, kept = None, []
    step, start = -(-rows // KEPT_ROWS), 0
    for piece, table in pieces:
        try:
            slim = about.yardstick.kept(table, about.key_field)
            part = None
            if compare:
                part = about.profile.count(about.arrays(table), table.num_rows)
        except (pa.ArrowException, ValueError, TypeError, ArithmeticError) as error:
            # Whatever a file holds, the window gets its verdict, and the ones behind it theirs.
            _log.error("rows of a window make no sense and are left out: %s", error, extra={"key": piece.key})
            health.senseless(piece.key)
            continue
        kept.append(slim if step <= 1 else slim.take(np.arange(-start % step, slim.num_rows, step)))
        start += slim.num_rows
        if part is not None:
            counted = part if counted is None else add(counted, part)
    return counted, concat(kept, "a window")
