"""The pieces that every dashboard is made of: data sources, variables, annotations, panels, and where they stand.

Grafana draws nothing of what it does not find and says nothing about it, so the pieces take a description and a unit
for every panel and place them in a grid by themselves; `tests/monitoring/test_dashboards.py` checks the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

# A silent exporter must not look healthy: gaps stay gaps, and nothing is filled in by `or vector(0)`.
SOURCE = common_models.DataSourceRef(type_val="prometheus", uid="${prometheus}")
MODEL = 'model=~"$model"'
WIDTH = 24
GREEN, YELLOW, ORANGE, RED, BLUE, GREY = "green", "yellow", "orange", "red", "blue", "text"

# What a number of `trimtab_watch_verdict` says.
VERDICTS = (("0", "none", GREEN), ("1", "watch", YELLOW), ("2", "drift", RED))


@dataclass(frozen=True)
class Query:
    """A PromQL expression and how its series are called.

    Attributes:
        expr: the expression, with Grafana's variables.
        legend: of the series; `{{label}}` stands for a label's value.
    """

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: as the data has it: a label, `Value`, or `Value #<query>` where there are several.
        title: as people read it.
        unit: of its numbers, one of Grafana's unit ids; empty for text.
        mappings: value, text and colour of numbers that stand for words.
        links: title and address; `${__data.fields.<name>}` stands for another column of the row.
        decimals: of its numbers.
        width: in pixels; by itself where None.
    """

    name: str
    title: str
    unit: str = ""
    mappings: tuple[tuple[str, str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    decimals: int | None = None
    width: int | None = None


@dataclass(frozen=True)
class Placed:
    """A panel and its size in the grid of 24 columns."""

    panel: Builder[models.Panel]
    width: int = 12
    height: int = 8


@dataclass(frozen=True)
class Section:
    """A titled row of panels; they stand from left to right and wrap at the edge."""

    title: str
    panels: Sequence[Placed] = field(default_factory=tuple)


def of(metric: str, **labels: str) -> str:
    """A metric of the chosen models; a value that begins with `~` is a regular expression.

    >>> of("trimtab_watch_verdict", layer="joined")
    'trimtab_watch_verdict{model=~"$model",layer="joined"}'
    """
    more = (f'{n}=~"{v[1:]}"' if v.startswith("~") else f'{n}="{v}"' for n, v in labels.items())
    return f"{metric}{{{','.join([MODEL, *more])}}}"


def mapped(values: Sequence[tuple[str, str, str]]) -> list[models.ValueMapping]:
    """Numbers shown as words."""
    results = {v: models.ValueMappingResult(text=t, color=c, index=i) for i, (v, t, c) in enumerate(values)}
    return [models.ValueMap(options=results)]


def target(query: Query, ref: str) -> prometheus.Dataquery:
    """A query over the shown time."""
    built = prometheus.Dataquery().expr(query.expr).ref_id(ref).datasource(SOURCE).range()
    return built.legend_format(query.legend) if query.legend else built


def instant(expr: str, ref: str) -> prometheus.Dataquery:
    """A query of the newest samples, as a table."""
    return prometheus.Dataquery().expr(expr).ref_id(ref).datasource(SOURCE).instant().format(PromQueryFormat.TABLE)


def refs(count: int) -> str:
    """Names of queries: A, B, …"""
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[:count]


def graph(
    title: str,
    description: str,
    unit: str,
    queries: Sequence[Query],
    *,
    stacked: bool = False,
    bars: bool = False,
    lowest: float | None = 0,
    highest: float | None = None,
) -> timeseries.Panel:
    """Lines over time.

    Args:
        title: what it shows.
        description: what that means and when to worry.
        unit: one of Grafana's unit ids.
        queries: its series.
        stacked: pile the series up.
        bars: bars in place of lines, for counts.
        lowest: where the axis begins; None lets the data say.
        highest: where it ends; None lets the data say.
    """
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .fill_opacity(60 if bars else 10)
        .line_width(2)
        .span_nulls(False)
        .show_points(common_models.VisibilityMode.AUTO)
        .legend(
            common.VizLegendOptions()
            .display_mode(common_models.LegendDisplayMode.TABLE)
            .placement(common_models.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull"])
        )
        .tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI))
        .targets([target(q, r) for q, r in zip(queries, refs(len(queries)), strict=True)])
    )
    if bars:
        panel.draw_style(common_models.GraphDrawStyle.BARS)
    if stacked:
        panel.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
    if lowest is not None:
        panel.min(lowest)
    if highest is not None:
        panel.max(highest)
    return panel


def states(
    title: str, description: str, queries: Sequence[Query], values: Sequence[tuple[str, str, str]]
) -> statetimeline.Panel:
    """Bands over time, one a series, coloured by what the number stands for."""
    return (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit("none")
        .mappings(mapped(values))
        .merge_values(True)
        .show_value(common_models.VisibilityMode.AUTO)
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.FIXED).fixed_color(GREY))
        .targets([target(q, r) for q, r in zip(queries, refs(len(queries)), strict=True)])
    )


def bars(title: str, description: str, unit: str, query: Query, highest: float | None = None) -> bargauge.Panel:
    """The newest value of each series as a bar, longest first."""
    panel = (
        bargauge.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .orientation(common_models.VizOrientation.HORIZONTAL)
        .display_mode(common_models.BarGaugeDisplayMode.BASIC)
        .value_mode(common_models.BarGaugeValueMode.TEXT)
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.FIXED).fixed_color(BLUE))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .with_target(
            prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id("A").datasource(SOURCE).instant()
        )
    )
    return panel if highest is None else panel.max(highest)


def number(
    title: str, description: str, unit: str, query: Query, values: Sequence[tuple[str, str, str]] = ()
) -> stat.Panel:
    """The newest value of each series as a number."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .no_value("no data")
        .mappings(mapped(values) if values else [])
        .color_mode(common_models.BigValueColorMode.VALUE)
        .graph_mode(common_models.BigValueGraphMode.NONE)
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.FIXED).fixed_color(BLUE))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .with_target(
            prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id("A").datasource(SOURCE).instant()
        )
    )


def listed(
    title: str,
    description: str,
    expressions: Sequence[str],
    columns: Sequence[Column],
    *,
    hidden: Sequence[str] = (),
    empty: str = "no data",
    order: tuple[str, bool] | None = None,
) -> table.Panel:
    """The newest samples as a table; several queries are merged on the labels that they share.

    Args:
        title: what it shows.
        description: what that means.
        expressions: the queries; the value of the n-th is column `Value #<letter>`.
        columns: the columns shown, in order.
        hidden: further columns of the data that are not shown.
        empty: what stands there when nothing is found.
        order: column (by title) by which the rows are sorted, and whether the largest is first.
    """
    panel = table.Panel().title(title).description(description).datasource(SOURCE).unit("none").no_value(empty)
    panel.targets([instant(e, r) for e, r in zip(expressions, refs(len(expressions)), strict=True)])
    if len(expressions) > 1:
        panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(
        models.DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": dict.fromkeys(("Time", *hidden), True),
                "indexByName": {c.name: i for i, c in enumerate(columns)},
                "renameByName": {},
            },
        )
    )
    for column in columns:
        panel.override_by_name(column.name, properties(column))
    if order is not None:
        panel.sort_by([common.TableSortByFieldState().display_name(order[0]).desc(order[1])])
    return panel


def properties(column: Column) -> list[models.DynamicConfigValue]:
    """A column's settings."""
    found = [models.DynamicConfigValue("displayName", column.title)]
    if column.unit:
        found.append(models.DynamicConfigValue("unit", column.unit))
    if column.decimals is not None:
        found.append(models.DynamicConfigValue("decimals", column.decimals))
    if column.width is not None:
        found.append(models.DynamicConfigValue("custom.width", column.width))
    if column.mappings:
        cell = {"type": "color-background", "mode": "basic"}
        found += [
            models.DynamicConfigValue("mappings", mapped(column.mappings)),
            models.DynamicConfigValue("custom.cellOptions", cell),
        ]
    if column.links:
        links = [{"title": t, "url": u, "targetBlank": True} for t, u in column.links]
        found.append(models.DynamicConfigValue("links", links))
    return found
