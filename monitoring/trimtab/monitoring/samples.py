"""A bounded sample of a window's rows, evenly spread, read file by file: for pictures and reports, never to decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from trimtab.core import predictions
from trimtab.core.errors import DataError, NotFound

if TYPE_CHECKING:
    from trimtab.core.store import Store
    from trimtab.monitoring.windows import Cut

# Rows that a picture is drawn from.
ROWS = 5000


def sample(store: Store, cut: Cut, columns: Sequence[str], rows: int = ROWS) -> pa.Table:
    """At most so many rows of a window, in order; one file is in memory at a time.

    Files that are gone or cannot be read are left out: the verdict was reached when they were there.

    Args:
        store: where the log lies.
        cut: who is in the window.
        columns: those that are read.
        rows: how many at most.
    """
    step = max(1.0, cut.rows / max(1, rows))
    wanted = np.unique((np.arange(min(rows, cut.rows)) * step).astype(np.int64))
    found, start = [], 0
    for piece in cut.pieces:
        size = piece.stop - piece.start
        mine = wanted[(wanted >= start) & (wanted < start + size)] - start + piece.start
        start += size
        if not len(mine):
            continue
        try:
            table = predictions.read_files(store, [piece.key], columns)
        except (DataError, NotFound):
            continue
        found.append(table.take(pa.array(mine[mine < table.num_rows])))
    return predictions.concat(found, "a window")
