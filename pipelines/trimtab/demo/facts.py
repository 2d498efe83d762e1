"""What a demo saw: windows, totals, and the same as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Window:
    """One window of the replay.

    Attributes:
        window: its number, from 1.
        rows: requests in it.
        static_right, served_right: right answers, of the first version alone and of what was served.
        version: the version that answered most of its rows.
        versions: rows by version.
        verdict: the newest verdict when the window was over (`none`, `watch`, `drift`; empty where none came yet).
        words: that verdict's reason.
        campaign: number of the campaign that an alarm of this window opened, else None.
        trigger: the alert that opened it and who raised it, e.g. `TrimtabDrift (Prometheus)`.
    """

    window: int
    rows: int
    static_right: int
    served_right: int
    version: str
    versions: dict[str, int]
    verdict: str = ""
    words: str = ""
    campaign: int | None = None
    trigger: str = ""

    @property
    def static_accuracy(self) -> float:
        """Share of right answers of the first version alone."""
        return self.static_right / self.rows

    @property
    def served_accuracy(self) -> float:
        """Share of right answers of what was served; a failed request is a wrong answer."""
        return self.served_right / self.rows

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values, the accuracies with them."""
        return {**asdict(self), "static_accuracy": self.static_accuracy, "served_accuracy": self.served_accuracy}


@dataclass
class Facts:
    """All that a demo reports; `as_json` is what `--out` writes."""

    model: str
    store: str
    folder: str
    mode: str
    seed: int | None
    first_version: str = ""
    windows: list[Window] = field(default_factory=list)
    retrains: int = 0
    promotions: int = 0
    rejections: int = 0
    campaigns: list[dict[str, Any]] = field(default_factory=list)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0
    failed_requests: int = 0
    alarm_to_serving_seconds: list[float] = field(default_factory=list)
    pipeline_seconds: float = 0.0
    wall_seconds: float = 0.0
    reports: list[str] = field(default_factory=list)
    picture: str = ""

    @property
    def rows(self) -> int:
        """Replayed rows."""
        return sum(w.rows for w in self.windows)

    @property
    def static_accuracy(self) -> float:
        """Share of all rows that the first version alone gets right."""
        return sum(w.static_right for w in self.windows) / self.rows if self.rows else 0.0

    @property
    def served_accuracy(self) -> float:
        """Share of all rows that were answered right."""
        return sum(w.served_right for w in self.windows) / self.rows if self.rows else 0.0

    @property
    def fewer_errors(self) -> float:
        """Share of the first version's errors that what was served did not make; 0 where it made none."""
        errors = 1 - self.static_accuracy
        return (self.served_accuracy - self.static_accuracy) / errors if errors > 0 else 0.0

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            **asdict(self),
            "windows": [w.as_json() for w in self.windows],
            "static_accuracy": self.static_accuracy,
            "served_accuracy": self.served_accuracy,
            "fewer_errors": self.fewer_errors,
        }
