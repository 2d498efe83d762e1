"""Rules about what the loop lives on: the prediction log and the labels."""

from __future__ import annotations

from trimtab.monitoring.alerts.rule import Alert, Group, Record
from trimtab.monitoring.alerts.thresholds import Thresholds

DROPPED = 'trimtab_log_rows_total{outcome="dropped"}'
MISSING = "trimtab_watch_log_files_missing"
TAKEN = 'trimtab_log_rows_total{outcome=~"spooled|dropped"}'


def group(at: Thresholds) -> Group:
    """Gaps of the prediction log, a log that does not reach the store, late and contradicting labels, clocks."""
    # What is lost stays lost: it is shown for some hours, not until the version goes.
    shown = f"{at.files_shown_seconds:g}s"
    window = f"{at.dropped_window_seconds:g}s"
    return Group(
        "trimtab-log",
        [
            Record(
                "trimtab:log_dropped:ratio",
                f"sum by (model) (increase({DROPPED}[{window}])) / (sum by (model) (increase({TAKEN}[{window}])) > 0)",
            ),
            Alert(
                name="TrimtabPredictionLogGaps",
                severity="warning",
                owner="platform",
                expr="trimtab:log_dropped:ratio > 0",
                summary="Rows of {{ $labels.model }}'s prediction log are lost",
                description="{{ $value | humanizePercentage }} of the rows answered of late reached no disk: queue or "
                "spool full, or the disk refused. Windows lack them; they do not come back.",
                dashboard="trimtab-serving",
                labels={"cause": "dropped"},
            ),
            Alert(
                name="TrimtabPredictionLogGaps",
                severity="page",
                owner="platform",
                expr=f"trimtab:log_dropped:ratio > {at.dropped_page_ratio:g}",
                summary="Many rows of {{ $labels.model }}'s prediction log are lost",
                description="{{ $value | humanizePercentage }} of the rows answered of late reached no disk. Verdicts "
                "rest on what is left, which may not be like what is lost.",
                wait=at.dropped_page_seconds,
                dashboard="trimtab-serving",
                labels={"cause": "dropped"},
            ),
            Alert(
                name="TrimtabPredictionLogGaps",
                severity="warning",
                owner="platform",
                expr=f'sum by (model) (increase(trimtab_watch_log_files_total{{outcome=~"unreadable|gone"}}[{shown}])) '
                f"> 0 or sum by (model) ({MISSING} - min_over_time({MISSING}[{shown}])) > 0",
                summary="Files of {{ $labels.model }}'s prediction log are missing or cannot be read",
                description="{{ $value | humanize }} files. The watch goes on without them and names them in its log.",
                wait=at.files_seconds,
                dashboard="trimtab-drift",
                labels={"cause": "files"},
            ),
            Alert(
                name="TrimtabPredictionLogStuck",
                severity="warning",
                owner="platform",
                expr=f"sum by (model) (trimtab_log_spool_bytes) > {at.spool_bytes:.0f}",
                summary="{{ $labels.model }}'s prediction log does not reach the store",
                description="{{ $value | humanize1024 }}B wait on the servers' disks. Nothing is lost yet; verdicts "
                "are late, and rows are dropped once the spool is full.",
                wait=at.spool_seconds,
                dashboard="trimtab-serving",
            ),
            Alert(
                name="TrimtabLabelsLate",
                severity="warning",
                owner="model",
                expr="max by (model) (trimtab_labels_coverage_ratio) "
                f"< {at.labels_ratio:g} * max by (model) (avg_over_time(trimtab_labels_coverage_ratio[7d]))",
                summary="Labels of {{ $labels.model }} are late",
                description="{{ $value | humanizePercentage }} of the newest windows' rows have a label, less than "
                "half of what is usual for this model. Until they come, only the estimate watches it.",
                wait=at.labels_seconds,
                dashboard="trimtab-drift",
            ),
            Alert(
                name="TrimtabLabelsContradict",
                severity="warning",
                owner="model",
                expr=f"max by (model) (trimtab_labels_contradicted) >= {at.contradicted_rows:g}",
                summary="Labels of {{ $labels.model }} contradict each other",
                description="{{ $value | humanize }} rows of the newest windows got labels of different values. The "
                "newest counts; all are kept.",
                dashboard="trimtab-drift",
            ),
            Alert(
                name="TrimtabClockSkew",
                severity="warning",
                owner="platform",
                expr=f"max by (model) (trimtab_watch_clock_skew_seconds) > {at.skew_seconds:g}",
                summary="A clock of {{ $labels.model }}'s servers is ahead",
                description="Rows of the log are {{ $value | humanizeDuration }} newer than the watch's own clock. "
                "Windows, change points and labels' delays are off by as much.",
                wait=at.down_seconds,
                dashboard="trimtab-drift",
            ),
        ],
    )
