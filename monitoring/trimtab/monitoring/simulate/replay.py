"""Policies replayed over a stream: who serves which rows, and what each retrain is trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.core.policies import Campaign, Rollout, Windows
from trimtab.monitoring import detectors, gain
from trimtab.monitoring.learners import Learnt
from trimtab.monitoring.simulate.stream import Rows, Stream
from trimtab.monitoring.simulate.version import Train, Version, answers

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """What all policies have in common.

    Attributes:
        stream: the rows.
        train: trains a version.
        probe: kind of the quick model by which data are chosen.
        train_rows: rows that the first version is trained on.
        window: rows between two retrains of a timer, and that an alarm's retrain is trained on.
        delay: rows until a label lands.
        windows, campaign, rollout: the project's blocks.
    """

    stream: Stream
    train: Train
    probe: Any
    train_rows: int
    window: int
    delay: int = 0
    windows: Windows = field(default_factory=Windows)
    campaign: Campaign = field(default_factory=Campaign)
    rollout: Rollout = field(default_factory=Rollout)

    def version(self, rows: Rows, number: int) -> Version:
        """Train a version."""
        return Version(self.stream, rows, self.train, number, self.windows.reference_rows)

    def cuts(self, rows: int = 0) -> Iterator[tuple[int, int]]:
        """First row of each window (of so many rows) and the row behind its last."""
        step = rows or self.window
        for start in range(self.train_rows, len(self.stream), step):
            yield start, min(start + step, len(self.stream))


@dataclass
class Course:
    """What happened under a policy.

    Attributes:
        losses: of each row behind the first training rows.
        alarms: rows at which it alarmed.
        retrains: rows at which a training run was started.
        promoted: of these, those whose version came to serve.
        campaigns: of the retrains, those that are no follow-ups within a campaign.
        notes: in words, for people.
        unheeded: keys of a policy file that a replay has no use for.
    """

    losses: Floats
    alarms: list[int] = field(default_factory=list)
    retrains: list[int] = field(default_factory=list)
    promoted: list[int] = field(default_factory=list)
    campaigns: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unheeded: list[str] = field(default_factory=list)


def every(setting: Setting, *, last: bool = False) -> Course:
    """Retrain at the end of each window on all rows labelled so far, or on the newest `train_rows` alone."""
    course = Course(np.zeros(0))
    version, parts = setting.version(np.arange(setting.train_rows), 1), []
    for start, stop in setting.cuts():
        parts.append(version.losses(np.arange(start, stop)))
        known = stop - setting.delay
        if stop < len(setting.stream) and known > setting.train_rows:
            first = max(0, known - max(setting.train_rows, setting.window)) if last else 0
            version = setting.version(np.arange(first, known), version.number + 1)
            course.retrains.append(stop)
            course.promoted.append(stop)
            course.campaigns.append(stop)
    course.losses = np.concatenate(parts)
    return course


def static(setting: Setting) -> Course:
    """Never retrain."""
    version = setting.version(np.arange(setting.train_rows), 1)
    return Course(np.concatenate([version.losses(np.arange(a, b)) for a, b in setting.cuts()]))


def alarmed(setting: Setting, name: str) -> Course:
    """Alarm by one of river's detectors, then retrain on the last window's labelled rows."""
    n = len(setting.stream)
    course = Course(np.zeros(n - setting.train_rows))
    version = setting.version(np.arange(setting.train_rows), 1)
    found, cap = detectors.detector(name), _cap(version)
    serving = setting.train_rows
    losses = version.losses(np.arange(serving, n))
    row = serving
    while row < n:
        course.losses[row - setting.train_rows] = losses[row - serving]
        seen = row - setting.delay
        if seen >= serving and found.update(float(min(1.0, losses[seen - serving] / cap))):
            course.alarms.append(row)
            first = max(0, seen + 1 - setting.window)
            if row + 1 < n:
                version = setting.version(np.arange(first, seen + 1), version.number + 1)
                course.retrains.append(row + 1)
                course.promoted.append(row + 1)
                course.campaigns.append(row + 1)
                found, serving, cap = detectors.detector(name), row + 1, _cap(version)
                losses = version.losses(np.arange(serving, n))
        row += 1
    return course


def _cap(version: Version) -> float:
    """The loss that counts as wholly wrong: 1 for classes; for numbers twice the third quartile of honest errors."""
    if version.stream.classes:
        return 1.0
    reference = version.reference
    truth = np.asarray(reference[version.stream.schema.target.name].to_numpy(), np.float64)
    errors = np.abs(np.asarray(reference["_value"].to_numpy(), np.float64) - truth)
    return max(2 * float(np.quantile(errors, 0.75)), 1e-12)


def unchanged(setting: Setting) -> float:
    """Mean loss of the predictor that answers each row with the newest known truth."""
    rows = np.arange(setting.train_rows, len(setting.stream))
    before = setting.stream.truth[np.maximum(rows - 1 - setting.delay, 0)]
    truth = setting.stream.truth[rows]
    return float(np.mean(before != truth) if setting.stream.classes else np.mean(np.abs(before - truth)))


def probe(setting: Setting) -> gain.Probe:
    """The quick model that data are chosen with."""
    stream, memory = setting.stream, {}

    def fit(rows: Rows) -> Learnt:
        key = (int(rows[0]), int(rows[-1]), len(rows), int(rows.sum()))
        if key not in memory:
            memory[key] = answers(stream, rows, setting.probe)
        return memory[key]  # type: ignore[return-value]

    def score(model: Any, rows: Rows) -> Floats:
        from trimtab.monitoring import learners

        return learners.loss(model(stream, rows), stream.truth[rows])

    return gain.Probe(fit, score, setting.windows.rows)
