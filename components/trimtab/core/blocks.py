"""The blocks of the project file that say what is learned, from what, by whom, and when it is good enough.

`task`, `data`, `candidates`, `gates`, `serving`; the others are in `core.resources` and `core.policies`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from trimtab.core.policies import Block
from trimtab.core.resources import STAGES, Limits, Resources, StageName
from trimtab.core.schema import Texts
from trimtab.core.sources import normalise

__all__ = [
    "BUILT_IN",
    "DEFAULT_METRIC",
    "METRICS",
    "STAGES",
    "Block",
    "Candidate",
    "Data",
    "Gates",
    "Limits",
    "Resources",
    "Serving",
    "StageName",
    "Task",
    "metrics_for",
]

PROJECT_NAME = re.compile(r"[a-z]([a-z0-9-]{0,26}[a-z0-9])?")
BUILT_IN = ("linear", "mlp", "cnn")

# Metrics a project may name: for which task, and whether more is better.
METRICS: dict[str, tuple[str, bool]] = {
    "accuracy": ("classification", True),
    "balanced_accuracy": ("classification", True),
    "macro_f1": ("classification", True),
    "auroc": ("classification", True),
    "log_loss": ("classification", False),
    "mae": ("regression", False),
    "rmse": ("regression", False),
    "r2": ("regression", True),
}
DEFAULT_METRIC = {"classification": "accuracy", "regression": "mae"}


def metrics_for(task: str) -> list[str]:
    """The metrics' names of a task.

    >>> metrics_for("regression")
    ['mae', 'rmse', 'r2']
    """
    return [name for name, (kind, _) in METRICS.items() if kind == task]


class Task(Block):
    """What is predicted, and what for."""

    kind: Literal["classification", "regression"] = Field(description="predict a class, or a number")
    target: str = Field(description="name of what is predicted; it is not listed under `fields`")
    column: str = Field(default="", description="the target's column in the source, where that has another name")
    classes: Texts = Field(default=(), description="the classes; empty: learned from the data")
    unit: str = Field(default="", description="unit of a number that is predicted")
    statement: str = Field(default="", description="the problem in words, for the reports")
    rows_per_day: float = Field(default=0, ge=0, description="predictions a day, for figures people can picture")


class Data(Block):
    """Where the rows come from, and how they are split. A bare source may stand for the whole block."""

    source: Annotated[Any, AfterValidator(normalise)] = Field(
        description="a file, `sklearn:<name>`, `dataset:<name>/<digest>`, a stretch of the log, or a list of them"
    )
    test_fraction: float = Field(default=0.15, gt=0, le=0.5, description="share of the rows in the one sealed test")
    folds: int = Field(default=5, ge=2, le=20, description="parts of the rest for cross-validated figures")
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="seed of splits and training")
    key: str = Field(default="", description="the id field labels come back by; empty: the first field of kind id")


class Candidate(Block):
    """One model to try."""

    name: str = Field(default="", description="its name in reports; the entry's own key")
    kind: str = Field(default="", description="a built-in kind; empty: the same as its name")
    uses: str = Field(
        default="",
        pattern=r"^$|^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="`package.module:build`, a function of your own that returns a LightningModule",
    )
    wheel: str = Field(default="", description="the wheel that holds `uses`, which the stage image installs")
    params: dict[str, Any] = Field(default_factory=dict, description="settings handed to the model")

    @model_validator(mode="after")
    def _one_way(self) -> Candidate:
        if self.kind and self.uses:
            raise ValueError("`kind` names a built-in and `uses` your own: give one of them")
        if self.wheel and not self.uses:
            raise ValueError("`wheel` is the home of `uses`: name that too")
        return self


class Gates(Block):
    """What the winner must reach before it is published."""

    beats_baseline: bool = Field(default=True, description="better than the naive baseline on the sealed test")
    at_least: dict[str, float] = Field(default_factory=dict, description="metric → smallest value that passes")
    at_most: dict[str, float] = Field(default_factory=dict, description="metric → largest value that passes")


class Serving(Block):
    """The model server."""

    max_rows: int = Field(default=1000, ge=1, le=100_000, description="most rows in one request")
    max_body_mb: float = Field(default=8, gt=0, le=1024, description="largest request body, MB")
    page: bool = Field(default=True, description="serve the page to try the model on")
    auth: Literal["default", "key", "open"] = Field(
        default="default",
        description="who may ask for predictions: `key` asks for an API key, `open` does not; by default one is asked "
        "for unless the server answers on loopback alone",
    )
    latency_ms: float = Field(
        default=1000,
        ge=1,
        le=600_000,
        description="longest time to an answer at overload; what would wait longer is refused with 429",
    )
    deadline_ms: float = Field(
        default=30_000, ge=1, le=3_600_000, description="when a request is given up that names no deadline of its own"
    )
    batch_rows: int = Field(
        default=32, ge=1, le=4096, description="most rows of a slow model run together; 1: each request alone"
    )
    batch_delay_ms: float = Field(
        default=5, ge=0, le=10_000, description="longest time that a row waits for others to be run with"
    )
    replicas: int = Field(default=1, ge=1, le=1000, description="servers on a cluster, at least")
    max_replicas: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="servers on a cluster, at most: above `replicas` their number follows the requests in flight",
    )
    cpu: float | None = Field(default=None, gt=0, description="CPU cores of a server")
    memory: str = Field(default="", pattern=r"^$|^\d+(\.\d+)?([kKMGT]i?)?$", description="memory of a server")
