"""The Overview dashboard: one row a model, and what changed today."""

from __future__ import annotations

from typing import Any

from dashboards.opening import CAMPAIGNS, WINDOWS, assemble
from dashboards.parts import VERDICTS, Column, Placed, Query, Section, graph, listed, of, states

# The champion is the version that the watch looks at; before its first window, the one with the largest share.
CHAMPION = (
    "sum by (model, version) (topk by (model) (1,"
    f" {of('trimtab_rollout_share_ratio')}"
    f" + on (model, version) (0 * {of('trimtab_watch_verdict', layer='joined')} + 1)"
    f" or {of('trimtab_rollout_share_ratio')}))"
)
TRAFFIC = f"sum by (model) (rate({of('trimtab_server_requests_total')}[$__rate_interval]))"
SINCE = f"max by (model) ({of('trimtab_watch_change_point_timestamp_seconds')}) * 1000"


SERVED = f"max by (model) ({of('trimtab_rollout_share_ratio')})"


def counted(metric: str) -> str:
    """How many processes show a metric of a model."""
    return f"count by (model) ({of(metric)})"


def performance(kind: str) -> str:
    """A model's metric: `expected`, `realised` or `reference`."""
    return f"max by (model, metric) ({of('trimtab_watch_performance', kind=kind)})"


def build() -> dict[str, Any]:
    """The dashboard as Grafana's JSON."""
    models = listed(
        "Models",
        "One row a model: the version that serves, its traffic, how good it is now against how good it was when it "
        "was released, whether it drifts, since when and at what cost, and what its campaign does about it.",
        [
            CHAMPION,
            TRAFFIC,
            performance("reference"),
            performance("expected"),
            performance("realised"),
            f"max by (model) ({of('trimtab_watch_verdict', layer='joined')})",
            SINCE,
            f"max by (model) ({of('trimtab_watch_expected_errors_per_day')})",
            f"max by (model, state) ({of('trimtab_campaign_state')} == 1)",
            f"time() - max by (model) ({of('trimtab_watch_last_window_timestamp_seconds')})",
        ],
        [
            Column("model", "model", links=(WINDOWS, CAMPAIGNS)),
            Column("version", "version", width=130),
            Column("Value #B", "requests", unit="reqps", decimals=1, width=100),
            Column("metric", "metric", width=100),
            Column("Value #C", "when released", unit="short", decimals=3, width=110),
            Column("Value #D", "expected", unit="short", decimals=3, width=90),
            Column("Value #E", "realised", unit="short", decimals=3, width=90),
            Column("Value #F", "drift", mappings=VERDICTS, width=80),
            Column("Value #G", "since", unit="dateTimeFromNow"),
            Column("Value #H", "extra errors a day", unit="short", decimals=1, width=130),
            Column("state", "campaign", links=(CAMPAIGNS,), width=100),
            Column("Value #J", "newest row", unit="s", decimals=0, width=100),
        ],
        hidden=["Value #A", "Value #I"],
        empty="no model answers or is watched",
    )
    return assemble(
        "trimtab-overview",
        "One row a model: version, traffic, expected and realised performance, drift, campaign.",
        [
            Section("Models", [Placed(models, 24, 8)]),
            Section(
                "Over time",
                [
                    Placed(
                        graph(
                            "Performance: realised and expected",
                            "What labels show (realised), what is estimated while labels are missing (expected), and "
                            "the level at release (reference). A realised line below the reference costs errors.",
                            "short",
                            [Query(of("trimtab_watch_performance"), "{{model}} {{metric}} {{kind}}")],
                            lowest=None,
                        )
                    ),
                    Placed(
                        graph(
                            "Requests by model",
                            "Requests answered a second, all protocols and versions together.",
                            "reqps",
                            [Query(TRAFFIC, "{{model}}")],
                        )
                    ),
                    Placed(
                        states(
                            "Drift verdict",
                            "The joined verdict: none, watch (worth a look), drift (harm that pages or retrains).",
                            [Query(of("trimtab_watch_verdict", layer="joined"), "{{model}} {{version}}")],
                            VERDICTS,
                        )
                    ),
                    Placed(
                        graph(
                            "Expected extra errors a day",
                            "What the drift costs: errors a day beyond the level at release, at today's traffic.",
                            "short",
                            [Query(of("trimtab_watch_expected_errors_per_day"), "{{model}} {{version}}")],
                        )
                    ),
                ],
            ),
            Section(
                "Is anybody looking?",
                [
                    Placed(
                        graph(
                            "Processes that show themselves",
                            "Servers and watches by model, and the hook. 0 is a process that another one misses: what "
                            "it last said stands still, and a good colour means nothing.",
                            "short",
                            [
                                Query(f"{counted('trimtab_server_in_flight')} or 0 * {SERVED}", "server {{model}}"),
                                Query(
                                    f"{counted('trimtab_watch_last_look_timestamp_seconds')} or 0 * {SERVED}",
                                    "watch {{model}}",
                                ),
                                # `up` is there while Prometheus scrapes anything at all.
                                Query('count(trimtab_runs_total{outcome="succeeded"}) or 0 * count(up)', "hook"),
                            ],
                        ),
                        12,
                        6,
                    ),
                    Placed(
                        graph(
                            "Age of the watch's newest look",
                            "Seconds since the watch last read the log without trouble. A line that climbs is a "
                            "watch that is stuck: verdicts are old, whatever colour they have.",
                            "s",
                            [Query(f"time() - {of('trimtab_watch_last_look_timestamp_seconds')}", "{{model}}")],
                        ),
                        12,
                        6,
                    ),
                ],
            ),
        ],
    )
