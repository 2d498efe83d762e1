"""The Pipelines and cost dashboard: what campaigns' pipeline runs cost, by stage and resource."""

from __future__ import annotations

from typing import Any

from dashboards.opening import assemble
from dashboards.parts import Placed, Query, Section, bars, graph, number

RUNS = "trimtab_runs_total"
COST = "trimtab_run_cost_seconds_total"


def build() -> dict[str, Any]:
    """The dashboard as Grafana's JSON."""
    ended = f"sum({RUNS})"
    return assemble(
        "trimtab-pipelines",
        "Pipeline runs that campaigns started, how they ended, and what they cost by stage and resource.",
        [
            Section(
                "Runs",
                [
                    Placed(
                        number(
                            "Runs that ended",
                            "Campaigns' pipeline runs since the store began, by outcome.",
                            "short",
                            Query(f"sum by (outcome) ({RUNS})", "{{outcome}}"),
                        ),
                        8,
                        6,
                    ),
                    Placed(
                        number(
                            "CPU of one run",
                            "Mean CPU time of a run that ended, all stages together.",
                            "s",
                            Query(f'sum by (resource) ({COST}{{resource="cpu"}}) / on () group_left () {ended}', "cpu"),
                        ),
                        8,
                        6,
                    ),
                    Placed(
                        number(
                            "Duration of one run",
                            "Mean time that a run's stages took one after another.",
                            "s",
                            Query(
                                f'sum by (resource) ({COST}{{resource="wall"}}) / on () group_left () {ended}', "wall"
                            ),
                        ),
                        8,
                        6,
                    ),
                    Placed(
                        graph(
                            "Runs that ended, over time",
                            "Steps up are runs that ended. Many steps in a day mean that campaigns find no model "
                            "that wins, or that drift comes back: read the campaigns' stories.",
                            "short",
                            [Query(f"sum by (outcome) ({RUNS})", "{{outcome}}")],
                        )
                    ),
                    Placed(
                        graph(
                            "Runs in the last seven days",
                            "What counts against the budget `campaign.retrains_per_week` of the project file.",
                            "short",
                            [Query(f"sum by (outcome) (increase({RUNS}[7d]))", "{{outcome}}")],
                        )
                    ),
                ],
            ),
            Section(
                "Cost",
                [
                    Placed(
                        bars(
                            "Where CPU time goes",
                            "CPU seconds by stage, all runs together: the longest bar is where speed would pay.",
                            "s",
                            Query(f'sort_desc(sum by (stage) ({COST}{{resource="cpu"}}))', "{{stage}}"),
                        ),
                        8,
                        10,
                    ),
                    Placed(
                        bars(
                            "Where time goes",
                            "Seconds on the clock by stage, all runs together.",
                            "s",
                            Query(f'sort_desc(sum by (stage) ({COST}{{resource="wall"}}))', "{{stage}}"),
                        ),
                        8,
                        10,
                    ),
                    Placed(
                        bars(
                            "Where GPU time goes",
                            "GPU seconds by stage, all runs together; 0 where no GPU was used.",
                            "s",
                            Query(f'sort_desc(sum by (stage) ({COST}{{resource="gpu"}}))', "{{stage}}"),
                        ),
                        8,
                        10,
                    ),
                    Placed(
                        graph(
                            "Cost over time",
                            "Seconds spent so far, by resource. Steps are runs.",
                            "s",
                            [Query(f"sum by (resource) ({COST})", "{{resource}}")],
                        ),
                        24,
                    ),
                ],
            ),
        ],
    )
