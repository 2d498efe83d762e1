"""Every threshold of the alert rules, with its unit: the one place to change one.

Burn rates, windows and their pairs are those of the SRE workbook, chapter 5 ("Alerting on SLOs", 2018, table 5-8).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any


def _threshold(value: Any, unit: str, text: str) -> Any:
    return field(default=value, metadata={"unit": unit, "text": text})


@dataclass(frozen=True)
class Thresholds:
    """The thresholds; `table` lists them with units and words."""

    unanswered_seconds: float = _threshold(900, "s", "harm that no campaign has answered for so long pages")
    dropped_window_seconds: float = _threshold(900, "s", "stretch over which lost log rows are counted")
    dropped_page_ratio: float = _threshold(0.01, "ratio", "share of the log's rows lost from which it pages")
    dropped_page_seconds: float = _threshold(900, "s", "how long that share must be lost")
    files_seconds: float = _threshold(
        900, "s", "how long log files must be missing or unreadable: a late one turns up by itself"
    )
    files_shown_seconds: float = _threshold(21_600, "s", "how long such files are shown: what is lost stays lost")
    spool_bytes: float = _threshold(
        512 * 1024**2, "B", "what may wait on a server's disk for the store (a quarter of its spool)"
    )
    spool_seconds: float = _threshold(900, "s", "how long so much must wait")
    labels_ratio: float = _threshold(
        0.5, "ratio", "share of labelled rows, against the model's own mean over a week, below which labels are late"
    )
    labels_seconds: float = _threshold(21_600, "s", "how long they must be late")
    contradicted_rows: float = _threshold(10, "rows", "rows of the newest windows with labels of different values")
    skew_seconds: float = _threshold(60, "s", "how far a server's clock may be ahead of the watch's")
    stale_seconds: float = _threshold(300, "s", "age of the watch's last look from which its figures are stale")
    down_seconds: float = _threshold(300, "s", "how long a process must be away, or stale")
    debounce_seconds: float = _threshold(86_400, "s", "a campaign may wait so long for labels before it trains")
    training_seconds: float = _threshold(
        90_000, "s", "a campaign's pipeline run may take so long (`campaign.run_hours` and an hour)"
    )
    judging_seconds: float = _threshold(3600, "s", "a campaign may judge so long")
    releasing_seconds: float = _threshold(
        93_600, "s", "a canary may take so long (`rollout.max_minutes` and two hours)"
    )
    following_seconds: float = _threshold(
        691_200, "s", "a campaign may wait so long for its follow-up (`windows.label_horizon_hours` and a day)"
    )
    lost_in_a_row: float = _threshold(2, "campaigns", "campaigns lost one after the other from which it pages")
    event_seconds: float = _threshold(3600, "s", "how long a lost campaign or a rollback is shown")
    rollback_seconds: float = _threshold(300, "s", "how long a rollback may take")
    availability: float = _threshold(0.999, "ratio", "objective: share of requests not answered with 5xx, 30 days")
    latency: float = _threshold(0.99, "ratio", "objective: share of requests answered in time, 30 days")
    latency_seconds: float = _threshold(0.1, "s", "answered in time; an upper bound of a bucket of the histogram")
    least_bad: float = _threshold(5, "requests", "bad requests in the long window, so that one alone burns nothing")
    store_errors: float = _threshold(3, "requests", "failed requests to the store in ten minutes")
    store_page_seconds: float = _threshold(900, "s", "how long the store must fail without a pause of five minutes")


@dataclass(frozen=True)
class Burn:
    """One pair of windows: how fast the error budget of 30 days burns.

    Attributes:
        factor: times the rate that would use it up in exactly 30 days.
        long, short: windows over which it must burn so fast, in Prometheus's writing.
        severity: of the alert.
    """

    factor: float
    long: str
    short: str
    severity: str


BURNS = (
    Burn(14.4, "1h", "5m", "page"),
    Burn(6, "6h", "30m", "page"),
    Burn(3, "1d", "2h", "warning"),
    Burn(1, "3d", "6h", "warning"),
)


def table(chosen: Thresholds | None = None) -> list[tuple[str, str, str, str]]:
    """Name, value, unit and words of each threshold.

    >>> table()[0][:3]
    ('unanswered_seconds', '900', 's')
    """
    at = chosen or Thresholds()
    return [(f.name, f"{getattr(at, f.name):g}", f.metadata["unit"], f.metadata["text"]) for f in fields(at)]
