"""The blocks of the project file that say how a deployed model is watched, retrained and released.

`windows`, `campaign` and `rollout`; the defaults are the same for every project.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Block(BaseModel):
    """A strict, frozen block of the project file."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Windows(Block):
    """How predictions are cut into windows, and how strict the verdicts are."""

    rows: int = Field(default=300, ge=30, le=10_000_000, description="predictions of one version in a window")
    minutes: float | None = Field(
        default=None, gt=0, description="cut a window after so many minutes too, however few rows it has"
    )
    label_horizon_hours: float = Field(
        default=168.0, gt=0, description="how long after a prediction its label still counts, hours"
    )
    reference_rows: int = Field(default=5000, ge=30, le=100_000, description="rows of the reference sample, at most")
    watch_level: float = Field(
        default=0.01, gt=0, lt=0.5, description="share of windows without drift that may say `watch`"
    )
    drift_level: float = Field(
        default=1 / 2160, gt=0, lt=0.5, description="share of windows without drift that may say `drift`"
    )
    harm: float = Field(
        default=0.01,
        ge=0,
        description="loss of the metric below which drift informs and does not page, as a ratio",
    )


class Campaign(Block):
    """How retraining answers a drift, or data that have become better."""

    opens: Literal["drift", "gain"] = Field(
        default="drift",
        description="what opens a campaign: a drift alone, or also a shown gain of other training data without a drift",
    )
    candidates: Literal["champion", "all"] = Field(
        default="champion", description="retrain what serves, or every candidate of the file"
    )
    debounce_windows: int = Field(default=0, ge=0, le=100, description="further windows to wait after the alarm")
    judge_fraction: float = Field(
        default=0.25, gt=0, le=0.5, description="share of the new regime's labelled rows kept for judging"
    )
    judge_rows: int = Field(default=300, ge=20, description="most rows kept for judging")
    min_labelled: int = Field(default=30, ge=10, description="labelled rows of the new regime needed to start")
    follow_ups: int = Field(default=1, ge=0, le=10, description="retrains after a promotion while labels accumulate")
    follow_up_windows: float = Field(default=3, gt=0, description="windows between a promotion and its follow-up")
    least_gain: float = Field(
        default=0.005,
        ge=0,
        description="gain of the metric below which data alone are no reason to retrain (`opens: gain`), as a ratio",
    )
    windows_per_retrain: float = Field(
        default=5.0, gt=0, description="windows of labelled rows that earn one retrain (`opens: gain`)"
    )
    cooldown_windows: float = Field(default=2, ge=0, description="pause after a lost campaign, doubled each time")
    retrains_per_week: int = Field(default=20, ge=1, description="budget of pipeline runs that campaigns may start")
    gpu_hours_per_week: float | None = Field(
        default=None, gt=0, description="budget of GPU hours that campaigns' runs may take; none when left out"
    )
    run_hours: float = Field(
        default=24.0, gt=0, description="a campaign's pipeline run that takes longer is ended and has failed, hours"
    )
    approval: bool = Field(default=False, description="wait for `trimtab approve` before training")
    paused: bool = Field(default=False, description="never open a campaign")


@dataclass(frozen=True)
class Plan:
    """A rollout's settings with every number filled in, by `Rollout.sized`.

    Attributes:
        shares: percent of requests at each canary step; empty promotes without a canary.
        step_rows: answered canary rows needed at the last step; see `rows_at`.
        step_labelled: labelled rows needed before a promotion; 0 asks for no proof by labels.
        margin: how much worse than the champion is no worse.
        max_labelled: labelled rows after which an undecided version gives way.
        max_minutes: minutes after which it does.
    """

    shares: tuple[int, ...]
    step_rows: int
    step_labelled: int
    margin: float
    max_labelled: int
    max_minutes: float

    def rows_at(self, step: int) -> int:
        """Answered canary rows needed at a step: each takes as many requests in all as the last one.

        >>> plan = Rollout().sized(300)
        >>> plan.rows_at(0), plan.rows_at(1)
        (20, 100)
        """
        return math.ceil(self.step_rows * self.shares[step] / self.shares[-1]) if self.shares else 0


class Rollout(Block):
    """How a new version takes over."""

    strategy: Literal["canary", "replace"] = Field(default="canary", description="canary first, or replace at once")
    shares: tuple[int, ...] | None = Field(
        default=None,
        description="percent of requests at each canary step; by default 10 and 50, and 50 alone where windows have "
        "less than 100 rows",
    )
    step_rows: int | None = Field(
        default=None,
        ge=10,
        description="answered canary rows needed at the last step, at earlier ones as many fewer as their share is "
        "smaller; by default a third of a window, from 25 to 100, or a tenth of it, up to 1000",
    )
    step_labelled: int = Field(
        default=30,
        ge=0,
        description="labelled rows needed before a promotion; 0 promotes without proof by labels, "
        "for models that never get any",
    )
    margin: float = Field(default=0.01, ge=0, le=0.5, description="how much worse than the champion is no worse")
    max_labelled: int | None = Field(
        default=None,
        ge=10,
        description="labelled rows after which an undecided version gives way; by default five windows of them",
    )
    max_minutes: float = Field(default=10080.0, gt=0, description="minutes after which an undecided version gives way")

    def sized(self, window_rows: int) -> Plan:
        """The settings with what is not set chosen from the size of a window.

        >>> Rollout().sized(300).shares, Rollout().sized(69).shares, Rollout(shares=(5,)).sized(69).shares
        ((10, 50), (50,), (5,))
        """
        step_rows = self.step_rows or min(max(window_rows // 10, min(window_rows // 3, 100), 25), 1000)
        return Plan(
            shares=self.shares if self.shares is not None else ((10, 50) if window_rows >= 100 else (50,)),
            step_rows=step_rows,
            step_labelled=self.step_labelled,
            margin=self.margin,
            max_labelled=self.max_labelled or 5 * window_rows,
            max_minutes=self.max_minutes,
        )
