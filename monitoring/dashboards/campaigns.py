"""The Campaigns and ledger dashboard: what answers a drift, how far it has come, and who serves."""

from __future__ import annotations

from typing import Any

from dashboards.opening import CAMPAIGNS, assemble
from dashboards.parts import Column, Placed, Query, Section, graph, listed, of

EVENTS = of("trimtab_rollout_events_total")
NEW = f"sum by (model, event) (increase({EVENTS}[$__rate_interval]))"
OUTCOMES = of("trimtab_campaigns_total")


def build() -> dict[str, Any]:
    """The dashboard as Grafana's JSON."""
    now = listed(
        "Campaigns now",
        "One row a model: the state of its newest campaign and since when; the model leads to the campaign's story, "
        "with the data it chose, its runs, and how they were judged.",
        [
            f"max by (model, state) ({of('trimtab_campaign_state')} == 1)",
            f"max by (model) ({of('trimtab_campaign_phase_started_timestamp_seconds')}) * 1000",
            f"sum by (model) ({OUTCOMES})",
            f"sum by (model) ({of('trimtab_campaigns_total', outcome='promoted')})",
            f"sum by (model) ({of('trimtab_campaigns_total', outcome='~rejected|failed')})",
        ],
        [
            Column("model", "model", links=(CAMPAIGNS,)),
            Column("state", "state"),
            Column("Value #B", "since", unit="dateTimeFromNow"),
            Column("Value #C", "closed", unit="short"),
            Column("Value #D", "promoted", unit="short"),
            Column("Value #E", "lost or failed", unit="short"),
        ],
        hidden=["Value #A"],
        empty="no model is looked after by a hook",
    )
    return assemble(
        "trimtab-campaigns",
        "What answers a drift and how far it has come; which version serves, and every entry of the ledger.",
        [
            Section(
                "Campaigns",
                [
                    Placed(now, 12, 8),
                    Placed(
                        graph(
                            "State of the campaigns",
                            "debounce, training, judging, releasing, following, cooling; paused: a person says so.",
                            "none",
                            [Query(f"{of('trimtab_campaign_state')} == 1", "{{model}} {{state}}")],
                            highest=1,
                            bars=True,
                            stacked=True,
                        )
                    ),
                    Placed(
                        graph(
                            "Time in the present phase",
                            "Seconds since the newest campaign's phase began. One that climbs for hours is stuck.",
                            "s",
                            [
                                Query(
                                    f"time() - {of('trimtab_campaign_phase_started_timestamp_seconds')}",
                                    "{{model}} {{phase}}",
                                )
                            ],
                        )
                    ),
                    Placed(
                        graph(
                            "Campaigns closed",
                            "By outcome. Two lost in a row page a human with what was tried.",
                            "short",
                            [Query(f"sum by (model, outcome) ({OUTCOMES})", "{{model}} {{outcome}}")],
                        )
                    ),
                    Placed(
                        graph(
                            "Budget used",
                            "Of runs and GPU hours of the last seven days: at 1 it is spent, and drift is no longer "
                            "answered until it frees up.",
                            "percentunit",
                            [Query(of("trimtab_campaign_budget_used_ratio"), "{{model}} {{budget}}")],
                        )
                    ),
                    Placed(
                        graph(
                            "Campaigns lost in a row",
                            "Rejected or failed since the last one that was promoted; at 2 a human is paged.",
                            "short",
                            [Query(of("trimtab_campaigns_lost_in_a_row"), "{{model}}")],
                        )
                    ),
                ],
            ),
            Section(
                "Releases",
                [
                    Placed(
                        graph(
                            "Who answers",
                            "Share of requests by version, as the ledger has it.",
                            "percentunit",
                            [Query(of("trimtab_rollout_share_ratio"), "{{model}} {{version}}")],
                            stacked=True,
                            highest=1,
                        )
                    ),
                    Placed(
                        graph(
                            "Entries of the ledger",
                            "Since the model's first version: published, shadowed, canaried, promoted, rolled_back, "
                            "rejected, refused. The story in words: `trimtab history`.",
                            "short",
                            [Query(f"sum by (model, event) ({EVENTS})", "{{model}} {{event}}")],
                        )
                    ),
                    Placed(
                        graph(
                            "What happened when",
                            "New entries of the ledger, by event.",
                            "short",
                            [Query(NEW, "{{model}} {{event}}")],
                            bars=True,
                            stacked=True,
                        ),
                        24,
                    ),
                ],
            ),
        ],
    )
