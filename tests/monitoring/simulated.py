"""Windows with and without drift, straight into the deciding functions: the code that the watch runs, no store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from tests.monitoring.stream import SCHEMA, answered, draw

from trimtab.core.policies import Windows
from trimtab.core.predictions import TIME
from trimtab.monitoring.columns import arrays, compared
from trimtab.monitoring.drift import Profile
from trimtab.monitoring.losses import of
from trimtab.monitoring.performance import Yardstick, realised
from trimtab.monitoring.verdict import Decision, Figures, decide

COLUMNS = compared(SCHEMA)
CLASSES = SCHEMA.target.classes
Drift = Callable[[int], dict[str, Any]]


class Version:
    """A version with a reference: windows come in, decisions go out."""

    def __init__(self, rng: np.random.Generator, reference_rows: int, policy: Windows | None = None) -> None:
        self.rng = rng
        rows = draw(rng, reference_rows)
        table = pa.table({**answered(rows), "churn": pa.array(rows["truth"].tolist(), pa.string())})
        self.profile = Profile.of(COLUMNS, arrays(table, COLUMNS, CLASSES))
        self.yardstick = Yardstick.of(SCHEMA, table)
        self.policy = policy or Windows()
        self.history: list[Figures] = []
        self.clock = 0

    def window(self, n: int, labelled: float = 1.0, **drift: Any) -> Decision:
        """The decision about a further window of n rows, of which a share got labels at its end."""
        rows = draw(self.rng, n, **drift)
        times = (self.clock + np.arange(n)) * 1_000_000
        self.clock += n
        truth = np.where(self.rng.random(n) < labelled, rows["truth"], "")
        table = pa.table({"_time": pa.array(times).cast(TIME), **answered(rows)})
        landed = {
            "_truth": pa.array([t or None for t in truth], pa.string()),
            "_labelled_at": pa.array(np.full(n, times[-1])).cast(TIME),
            "_contradicted": pa.array(np.zeros(n, bool)),
        }
        known = self.yardstick.kept(table)
        for name, column in landed.items():
            known = known.append_column(name, column)
        self.history.append(
            Figures(
                window=len(self.history) + 1,
                rows=n,
                first=int(times[0]),
                last=int(times[-1]),
                inputs=self.profile.compare(self.profile.count(arrays(table, COLUMNS, CLASSES))),
                expected=of(self.yardstick.guesses(table)),
                realised=realised(self.yardstick, known) if labelled else None,
            )
        )
        return decide(self.history, self.yardstick, self.policy)


def decisions(
    seed: int,
    versions: int,
    windows: int,
    n: int,
    reference_rows: int,
    labelled: float = 1.0,
    drift: Drift = lambda _: {},
) -> Iterator[list[Decision]]:
    """The decisions of several versions, each with its own reference, through so many windows."""
    rng = np.random.default_rng(seed)
    for _ in range(versions):
        version = Version(rng, reference_rows)
        yield [version.window(n, labelled, **drift(i)) for i in range(windows)]
