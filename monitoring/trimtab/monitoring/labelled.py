"""Truths of the rows of open windows, as labels land: late, out of order, for a part of the rows, by id or by key.

Labels that name no row of an open window wait until one does or until the label horizon is over. Windows are open
while their rows fit a bound, the newest first, so that memory does not grow with traffic.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from trimtab.core import labels
from trimtab.core.predictions import TIME, concat

# Rows of all open windows together, and labels that wait, at most.
OPEN_ROWS = 500_000
WAITING_ROWS = 1_000_000


class Labelled:
    """Open windows with the truths known so far.

    Args:
        key_field: the field by which labels may come; None without one.
        horizon: how long a label may wait for its prediction.
    """

    def __init__(self, key_field: str | None, horizon: timedelta) -> None:
        self.key_field = key_field
        self.horizon = horizon
        self.open: dict[int, pa.Table] = {}
        self.waiting = labels.SCHEMA.empty_table()
        self.dropped = 0

    def window(self, window: int, rows: pa.Table) -> bool:
        """A window opens; whether labels that waited are its rows'."""
        empty = pa.nulls(rows.num_rows, pa.string())
        self.open[window] = (
            rows.append_column("_truth", empty)
            .append_column("_labelled_at", pa.nulls(rows.num_rows, TIME))
            .append_column("_contradicted", pa.array([False] * rows.num_rows))
        )
        while len(self.open) > 1 and sum(t.num_rows for t in self.open.values()) > OPEN_ROWS:
            del self.open[min(self.open)]
        touched, self.waiting = self._join([window], self.waiting)
        return bool(touched)

    def land(self, new: pa.Table, now: datetime) -> set[int]:
        """New labels; the windows in which something changed."""
        touched, left = self._join(list(self.open), new)
        alive = pa.scalar(now - self.horizon, TIME)
        waiting = concat([self.waiting, left], "labels that wait")
        waiting = waiting.filter(pc.greater_equal(waiting["arrived_at"], alive))
        self.dropped += max(0, waiting.num_rows - WAITING_ROWS)
        self.waiting = waiting.slice(max(0, waiting.num_rows - WAITING_ROWS))
        return touched

    def _join(self, windows: Iterable[int], new: pa.Table) -> tuple[set[int], pa.Table]:
        """Join labels to the rows of some windows: windows that changed, and labels without a row there."""
        numbers = [w for w in sorted(windows) if self.open[w].num_rows]
        if not numbers or not new.num_rows:
            return set(), new
        names = [n for n in ("_id", "_time", self.key_field) if n and n in self.open[numbers[0]].column_names]
        rows = pa.concat_tables([self.open[n].select(names) for n in numbers])
        joined = labels.join_counted(rows, new, self.key_field)
        touched, start = set(), 0
        for n in numbers:
            part = joined.table.slice(start, self.open[n].num_rows)
            start += part.num_rows
            if part["_truth"].null_count < part.num_rows:
                self.open[n] = merge(self.open[n], part)
                touched.add(n)
        return touched, new.filter(pa.array(joined.rows < 0))


def merge(known: pa.Table, found: pa.Table) -> pa.Table:
    """Truths known before and truths just found, of the same rows: the newer one counts, a difference is marked."""
    both = pc.and_(pc.is_valid(known["_truth"]), pc.is_valid(found["_truth"]))
    differs = pc.fill_null(pc.and_(both, pc.not_equal(known["_truth"], found["_truth"])), False)
    newer = pc.fill_null(pc.greater_equal(found["_labelled_at"], known["_labelled_at"]), True)
    take = pc.and_(pc.is_valid(found["_truth"]), newer)
    contradicted = pc.or_(pc.or_(known["_contradicted"], found["_contradicted"]), differs)
    values = {
        "_truth": pc.if_else(take, found["_truth"], known["_truth"]),
        "_labelled_at": pc.if_else(take, found["_labelled_at"], known["_labelled_at"]),
        "_contradicted": contradicted,
    }
    for name, column in values.items():
        known = known.set_column(known.column_names.index(name), name, column)
    return known
