"""The Drift dashboard: which fields moved, since when, what it costs, and whether labels confirm it."""

from __future__ import annotations

from typing import Any

from dashboards.opening import WINDOWS, assemble
from dashboards.parts import VERDICTS, Column, Placed, Query, Section, bars, graph, listed, of, states

EFFECT = of("trimtab_watch_field_effect_ratio")


def build() -> dict[str, Any]:
    """The dashboard as Grafana's JSON."""
    fields = listed(
        "Fields by how far they moved",
        "0 is no difference from the reference, 1 no overlap with it. `Largest` is the most in the shown time: a field "
        "that was far off and came back. The model leads to its windows, where each field is drawn then and now.",
        [
            f"topk by (model) (50, {EFFECT})",
            f"max by (model, version, field) (max_over_time({EFFECT}[$__range]))",
            f"min by (model, version, field) (min_over_time({EFFECT}[$__range]))",
        ],
        [
            Column("field", "field"),
            Column("Value #A", "now", unit="percentunit", decimals=1),
            Column("Value #B", "largest", unit="percentunit", decimals=1),
            Column("Value #C", "smallest", unit="percentunit", decimals=1),
            Column("model", "model", links=(WINDOWS,)),
            Column("version", "version"),
        ],
        hidden=["__name__", "instance", "job"],
        order=("now", True),
    )
    since = listed(
        "Since when",
        "The estimated change point of models whose verdict is watch or drift; windows before it looked as they "
        "should. The model leads to its windows, where the interval stands.",
        [
            f"max by (model, version) ({of('trimtab_watch_change_point_timestamp_seconds')}) * 1000",
            f"max by (model, version) ({of('trimtab_watch_verdict', layer='joined')})",
            f"max by (model, version) ({of('trimtab_watch_expected_errors_per_day')})",
        ],
        [
            Column("model", "model", links=(WINDOWS,)),
            Column("version", "version"),
            Column("Value #B", "verdict", mappings=VERDICTS, width=80),
            Column("Value #A", "since", unit="dateTimeFromNow"),
            Column("Value #C", "extra errors a day", unit="short", decimals=1),
        ],
    )
    return assemble(
        "trimtab-drift",
        "Fields ranked by how far they moved, since when, what it costs, and what labels say about it.",
        [
            Section(
                "What moved, and since when",
                [
                    Placed(since, 12, 7),
                    Placed(
                        states(
                            "Verdict by layer",
                            "inputs: fields moved. expected: the estimate without labels fell. realised: labels show "
                            "a loss. calibration: probabilities no longer mean what they say. joined: what counts.",
                            [Query(of("trimtab_watch_verdict"), "{{model}} {{layer}}")],
                            VERDICTS,
                        ),
                        12,
                        7,
                    ),
                    Placed(fields, 12, 11),
                    Placed(
                        graph(
                            "The ten fields that moved most, over time",
                            "Then and now: where a line leaves its old level is where the field changed.",
                            "percentunit",
                            [Query(f"topk by (model) (10, {EFFECT})", "{{model}} {{field}}")],
                            highest=1,
                        ),
                        12,
                        11,
                    ),
                ],
            ),
            Section(
                "Does it hurt?",
                [
                    Placed(
                        graph(
                            "Performance then and now",
                            "reference: at release. expected: estimated from probabilities. realised: from labels. "
                            "Inputs that drift while these hold inform, they do not page.",
                            "short",
                            [Query(of("trimtab_watch_performance"), "{{model}} {{metric}} {{kind}}")],
                            lowest=None,
                        )
                    ),
                    Placed(
                        graph(
                            "Expected extra errors a day",
                            "Errors a day beyond the level at release, at today's traffic.",
                            "short",
                            [Query(of("trimtab_watch_expected_errors_per_day"), "{{model}} {{version}}")],
                        )
                    ),
                    Placed(
                        graph(
                            "Calibration error",
                            "Mean gap between stated probability and share right, beyond what chance makes. Above "
                            "a few percent the expected performance cannot be trusted: wait for labels.",
                            "percentunit",
                            [Query(of("trimtab_watch_calibration_error_ratio"), "{{model}} {{version}}")],
                        )
                    ),
                ],
            ),
            Section(
                "Can it be seen?",
                [
                    Placed(
                        graph(
                            "Rows with a label",
                            "Share of the newest windows' rows whose label has come.",
                            "percentunit",
                            [Query(of("trimtab_labels_coverage_ratio"), "{{model}}")],
                            highest=1,
                        ),
                        8,
                    ),
                    Placed(
                        graph(
                            "Delay of labels",
                            "Median time from a prediction to its label.",
                            "s",
                            [Query(of("trimtab_labels_delay_seconds"), "{{model}}")],
                        ),
                        8,
                    ),
                    Placed(
                        graph(
                            "Labels that contradict each other",
                            "Rows of the newest windows with labels of different values; the newest counts.",
                            "short",
                            [Query(of("trimtab_labels_contradicted"), "{{model}}")],
                        ),
                        8,
                    ),
                    Placed(
                        graph(
                            "Log files read by the watch",
                            "read, late (came after their window was cut: they go into the next one), unreadable, "
                            "gone. Anything but `read` needs a look.",
                            "short",
                            [
                                Query(
                                    f"increase({of('trimtab_watch_log_files_total')}[$__rate_interval])",
                                    "{{model}} {{outcome}}",
                                )
                            ],
                            bars=True,
                            stacked=True,
                        ),
                        8,
                    ),
                    Placed(
                        graph(
                            "Log files missing",
                            "Gaps in the servers' counting: predictions were answered that no window will see.",
                            "short",
                            [Query(of("trimtab_watch_log_files_missing"), "{{model}}")],
                        ),
                        8,
                    ),
                    Placed(
                        graph(
                            "Age of the newest window and the newest look",
                            "Seconds since the newest row that is in a window, and since the watch last read the log.",
                            "s",
                            [
                                Query(
                                    f"time() - {of('trimtab_watch_last_window_timestamp_seconds')}",
                                    "{{model}} newest row",
                                ),
                                Query(
                                    f"time() - {of('trimtab_watch_last_look_timestamp_seconds')}", "{{model}} last look"
                                ),
                            ],
                        ),
                        8,
                    ),
                    Placed(
                        bars(
                            "Clock of the newest row ahead of the watch's",
                            "Above a second or so, a server's clock is wrong and windows are cut at the wrong time.",
                            "s",
                            Query(of("trimtab_watch_clock_skew_seconds"), "{{model}}"),
                        ),
                        24,
                        4,
                    ),
                ],
            ),
        ],
    )
