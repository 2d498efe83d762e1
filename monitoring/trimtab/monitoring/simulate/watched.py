"""A version's windows in a simulation: the figures and the verdict that the watch would come to."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from trimtab.core.policies import Windows
from trimtab.core.predictions import TIME
from trimtab.monitoring import columns
from trimtab.monitoring.losses import of
from trimtab.monitoring.performance import realised
from trimtab.monitoring.simulate.stream import Stream
from trimtab.monitoring.simulate.version import Version
from trimtab.monitoring.verdict import Decision, Figures, decide


@dataclass
class Watched:
    """A version's windows so far.

    Attributes:
        version: whose.
        policy: the windows block.
        delay: rows until a label lands.
        history: figures of its windows.
        spans: their first row and the row behind the last.
    """

    version: Version
    policy: Windows
    delay: int
    history: list[Figures] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    _labelled: list[int] = field(default_factory=list)

    def window(self, start: int, stop: int) -> Decision:
        """Cut a window and judge it with the labels that are there when its last row has come."""
        version, stream = self.version, self.version.stream
        table = version.answered(np.arange(start, stop))
        compared = columns.compared(stream.schema)
        self.history.append(
            Figures(
                window=len(self.history) + 1,
                rows=stop - start,
                first=int(stream.times[start]),
                last=int(stream.times[stop - 1]),
                inputs=version.profile.compare(version.profile.count(columns.arrays(table, compared, stream.classes))),
                expected=of(version.yardstick.guesses(table)),
                realised=None,
            )
        )
        self.spans.append((start, stop))
        self._labelled.append(0)
        self._land(stop - self.delay)
        return decide(self.history, version.yardstick, self.policy)

    def _land(self, known: int) -> None:
        """Labels of rows before `known` have landed."""
        for i, (start, stop) in enumerate(self.spans):
            rows = max(0, min(stop, known) - start)
            if rows > self._labelled[i]:
                self._labelled[i] = rows
                figures = self.history[i]
                self.history[i] = Figures(
                    **{**vars(figures), "realised": realised(self.version.yardstick, self._joined(start, stop, known))}
                )

    def _joined(self, start: int, stop: int, known: int) -> pa.Table:
        stream: Stream = self.version.stream
        rows = np.arange(start, stop)
        table = self.version.yardstick.kept(self.version.answered(rows))
        truth = stream.table[stream.schema.target.name].slice(start, stop - start).cast(pa.string())
        seen = pa.array(rows < known)
        landed = stream.times[np.minimum(rows + self.delay, len(stream) - 1)]
        joined = {
            "_truth": pa.compute.if_else(seen, truth.combine_chunks(), pa.scalar(None, pa.string())),
            "_labelled_at": pa.array(landed).cast(TIME),
            "_contradicted": pa.array(np.zeros(len(rows), bool)),
        }
        for name, column in joined.items():
            table = table.append_column(name, column)
        return table
