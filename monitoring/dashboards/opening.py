"""What every dashboard opens with and carries: the alerts that fire now, the variables, annotations and links."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import dashboard, prometheus
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from dashboards.names import ALERTMANAGER_NAME, HOOK, PROMETHEUS, TITLES
from dashboards.parts import GREEN, MODEL, ORANGE, RED, SOURCE, WIDTH, YELLOW, Column, Placed, Section, listed

# An alert about a store or a process names no model: it is shown with every one.
ALERTS = 'alertname=~"Trimtab.*",model=~"$model|"'
FIRING = f'ALERTS{{alertstate="firing",{ALERTS}}}'
# Other labels of an alert (owner, layer, …) would be further columns: the oldest of what differs in them is shown.
SINCE = (
    "min by (alertname, model, version, severity, alertstate)"
    f" ({FIRING} * ignoring(alertstate) group_left() ALERTS_FOR_STATE{{{ALERTS}}}) * 1000"
)
RUNBOOK = ("Runbook", "${hook}/runbooks/${__data.fields.alertname}")
CAMPAIGNS = ("Campaigns", "${hook}/campaigns/${__data.fields.model}/")
WINDOWS = ("Windows", "${hook}/windows/${__data.fields.model}/")
SEVERITY = (("page", "page", RED), ("warning", "warning", YELLOW))


def firing() -> Section:
    """The alerts that fire now, by model: state, since when, links to runbook and campaign."""
    alerts = listed(
        "Alerts that fire now",
        "From Prometheus: one row an alert. The alert's name leads to its runbook, the model to its campaigns and "
        "windows. `warning` is drift that a campaign answers, `page` is harm that nobody answers yet.",
        [SINCE],
        [
            Column("alertname", "alert", links=(RUNBOOK,)),
            Column("model", "model", links=(CAMPAIGNS, WINDOWS)),
            Column("version", "version"),
            Column("severity", "severity", mappings=SEVERITY, width=90),
            Column("alertstate", "state", width=80),
            Column("Value", "since", unit="dateTimeFromNow"),
        ],
        empty="Nothing fires",
        order=("severity", False),
    )
    groups = (
        dashboard.Panel()
        .type("alertGroups")
        .title("Alerts as Alertmanager has them")
        .description("From Alertmanager: the same alerts as they are grouped and routed, silenced ones too.")
        .unit("none")
        .options({"alertmanager": ALERTMANAGER_NAME, "expandAll": False, "labels": 'alertname=~"Trimtab.*"'})
    )
    return Section("Firing now", [Placed(alerts, 16, 7), Placed(groups, 8, 7)])


def variables() -> list[Any]:
    """Data source, model, and where the hook answers."""
    source = models.VariableOption(selected=True, text="Trimtab Prometheus", value=PROMETHEUS)
    everything = models.VariableOption(selected=True, text=["All"], value=["$__all"])
    return [
        dashboard.DatasourceVariable("prometheus").label("Prometheus").type("prometheus").current(source),
        dashboard.QueryVariable("model")
        .label("Model")
        .datasource(SOURCE)
        .query({"qryType": 1, "query": "label_values(trimtab_campaign_state, model)", "refId": "model"})
        .definition("label_values(trimtab_campaign_state, model)")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(everything),
        dashboard.TextBoxVariable("hook")
        .label("Hook")
        .description("Where the retrain hook answers: campaigns, windows, reports and runbooks are read there.")
        .default_value(HOOK)
        .current(models.VariableOption(selected=True, text=HOOK, value=HOOK)),
    ]


def marks() -> list[dashboard.AnnotationQuery]:
    """Marks on every graph: releases and alarms."""
    found = (
        (
            "Promotions and rollbacks",
            GREEN,
            f'changes(trimtab_rollout_events_total{{event=~"promoted|rolled_back",{MODEL}}}[$__rate_interval]) > 0',
            "{{model}}: {{event}}",
            "model,event",
        ),
        ("Alarms", RED, FIRING, "{{alertname}}: {{model}} {{version}}", "severity,model"),
        (
            "Campaigns",
            ORANGE,
            f'trimtab_campaign_state{{state=~"debounce|training|judging|releasing",{MODEL}}} == 1',
            "{{model}}: campaign {{state}}",
            "model,state",
        ),
    )
    return [
        dashboard.AnnotationQuery()
        .name(name)
        .datasource(SOURCE)
        .enable(name != "Campaigns")
        .icon_color(colour)
        .expr(expr)
        .title_format(title)
        .tag_keys(tags)
        .target(prometheus.Dataquery().expr(expr).ref_id("Anno").datasource(SOURCE).range())
        for name, colour, expr, title, tags in found
    ]


def assemble(uid: str, description: str, sections: Sequence[Section]) -> dict[str, Any]:
    """A dashboard as Grafana's JSON: its own sections below the alerts that fire now.

    Args:
        uid: one of `TITLES`.
        description: what it is for.
        sections: titled rows of panels.
    """
    built = (
        dashboard.Dashboard(TITLES[uid])
        .uid(uid)
        .description(description)
        .tags(["trimtab"])
        .timezone("browser")
        .readonly()
        .refresh("30s")
        .time("now-6h", "now")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .variables(variables())
        .annotations(list(marks()))
    )
    for other, title in TITLES.items():
        if other != uid:
            built.link(
                dashboard.DashboardLink(title.removeprefix("Trimtab: "))
                .type(models.DashboardLinkType.LINK)
                .url(f"/d/{other}")
                .include_vars(True)
                .keep_time(True)
            )
    _place(built, [firing(), *sections])
    encoded: dict[str, Any] = json.loads(JSONEncoder(sort_keys=True).encode(built.build()))
    for variable in encoded["templating"]["list"]:
        variable.pop("auto", None)  # of variables that are intervals; Grafana's schema has it nowhere else
    return encoded


def _place(built: dashboard.Dashboard, sections: Sequence[Section]) -> None:
    """Number the panels and put them into the grid, section below section."""
    top = identity = 0
    for section in sections:
        identity += 1
        row = dashboard.Row(section.title).id(identity)
        built.with_row(row.grid_pos(models.GridPos(h=1, w=WIDTH, x=0, y=top)))
        top += 1
        left = tallest = 0
        for placed in section.panels:
            if left + placed.width > WIDTH:
                top, left, tallest = top + tallest, 0, 0
            identity += 1
            panel: Any = placed.panel
            panel.id(identity).grid_pos(models.GridPos(h=placed.height, w=placed.width, x=left, y=top))
            built.with_panel(panel)
            left, tallest = left + placed.width, max(tallest, placed.height)
        top += tallest
