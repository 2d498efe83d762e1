"""Windows of the mixed world through the very code that watches: profile, yardstick, figures, verdict."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
from benchmarks.mixed import SCHEMA, World

from trimtab.core.policies import Windows
from trimtab.monitoring.columns import arrays, compared
from trimtab.monitoring.losses import of
from trimtab.monitoring.performance import realised
from trimtab.monitoring.reference import Reference
from trimtab.monitoring.verdict import Decision, Figures, decide

COLUMNS = compared(SCHEMA)
STILL = World()


@dataclass(frozen=True)
class Task:
    """Windows to judge.

    Attributes:
        seed: of the chance.
        reference_rows, rows: of the reference and of a window.
        references: versions, each with a reference of its own.
        windows: consecutive windows of each version.
        world: what the windows are drawn from.
        stop: whether a version ends with its first window that is watched (for the time until then).
        only_labels: whether the rows have one field, and the inputs are left out.
    """

    seed: tuple[int, ...]
    reference_rows: int
    rows: int
    references: int
    windows: int
    world: World = STILL
    stop: bool = False
    only_labels: bool = False


@dataclass
class Tally:
    """What was said.

    Attributes:
        windows: windows judged.
        watched, drifted: windows with verdict `watch` or higher, and `drift`.
        layers: windows in which a layer said `watch` or higher.
        versions, answered: versions, and those with at least one such window.
        moved: windows in which the inputs' p-value was at most so many thousandths, by thousandths.
        cpu: seconds.
    """

    windows: int = 0
    watched: int = 0
    drifted: int = 0
    layers: Counter[str] = field(default_factory=Counter)
    versions: int = 0
    answered: int = 0
    p: list[float] = field(default_factory=list)
    cpu: float = 0.0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.windows + other.windows, self.watched + other.watched, self.drifted + other.drifted,
            self.layers + other.layers, self.versions + other.versions, self.answered + other.answered,
            self.p + other.p, self.cpu + other.cpu,
        )  # fmt: skip


def reference(rng: np.random.Generator, rows: int, only_labels: bool = False) -> Reference:
    """A version's reference as `reference.load` gives it: rows with predictions that no row had a part in."""
    schema = replace(SCHEMA, fields=SCHEMA.fields[:1]) if only_labels else SCHEMA
    table = STILL.rows(rng, rows, fields=not only_labels)
    return Reference("v1", Windows(), schema, compared(schema), table, "0" * 16)


def figures(about: Reference, table: pa.Table, window: int, only_labels: bool = False) -> Figures:
    """What is known about a window all of whose labels have come."""
    inputs = None
    if not only_labels:
        profile = about.profile
        inputs = profile.compare(profile.count(arrays(table, COLUMNS, about.classes), table.num_rows))
    first, last = (t.value for t in (table["_time"][0], table["_time"][-1]))
    guessed = of(about.yardstick.guesses(table))
    joined = about.yardstick.kept(table)
    for name in ("_truth", "_labelled_at", "_contradicted"):
        joined = joined.append_column(name, table[name])
    return Figures(window, table.num_rows, first, last, inputs, guessed, realised(about.yardstick, joined))


def versions(task: Task) -> Iterator[list[tuple[Figures, Decision]]]:
    """Each version's windows as they are judged one after another."""
    rng = np.random.default_rng(task.seed)
    for _ in range(task.references):
        about = reference(rng, task.reference_rows, task.only_labels)
        history: list[Figures] = []
        said: list[tuple[Figures, Decision]] = []
        for window in range(1, task.windows + 1):
            table = task.world.rows(rng, task.rows, start=window * task.rows, fields=not task.only_labels)
            history.append(figures(about, table, window, task.only_labels))
            said.append((history[-1], decide(history, about.yardstick, about.policy)))
            if task.stop and said[-1][1].verdict != "none":
                break
        yield said


def tally(task: Task) -> Tally:
    """Judge a task's windows and count."""
    began = time.process_time()
    found = Tally()
    for said in versions(task):
        found.versions += 1
        found.answered += any(d.verdict != "none" for _, d in said)
        for known, decision in said:
            found.windows += 1
            found.watched += decision.verdict != "none"
            found.drifted += decision.verdict == "drift"
            found.layers.update(layer for layer in decision.layers if decision.layers[layer] != "none")
            found.layers["slices"] += decision.slice is not None
            found.layers["expected drift"] += decision.layers["expected"] == "drift"
            found.p.append(known.inputs.p if known.inputs else math.nan)
    found.cpu = time.process_time() - began
    return found


def total(tallies: Iterable[Tally]) -> Tally:
    """All of them together."""
    found = Tally()
    for one in tallies:
        found = found + one
    return found
