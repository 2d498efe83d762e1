"""The blocks of the project file that say how a deployed model is watched, retrained and released.

`windows`, `campaign` and `rollout`; the defaults are the same for every project.
"""

from __future__ import annotations

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
    """How retraining answers a drift."""

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
    cooldown_windows: float = Field(default=2, ge=0, description="pause after a lost campaign, doubled each time")
    retrains_per_week: int = Field(default=20, ge=1, description="budget of pipeline runs that campaigns may start")
    approval: bool = Field(default=False, description="wait for `trimtab approve` before training")
    paused: bool = Field(default=False, description="never open a campaign")


class Rollout(Block):
    """How a new version takes over."""

    strategy: Literal["canary", "replace"] = Field(default="canary", description="canary first, or replace at once")
    shares: tuple[int, ...] = Field(default=(10, 50), description="percent of requests at each canary step")
    step_rows: int = Field(default=100, ge=10, description="answered canary rows needed at each step")
    step_labelled: int = Field(default=30, ge=0, description="labelled canary rows needed before the last step")
    margin: float = Field(default=0.01, ge=0, le=0.5, description="how much worse than the champion is no worse")
    max_minutes: float = Field(default=1440.0, gt=0, description="a canary undecided for so long is decided as it is")
