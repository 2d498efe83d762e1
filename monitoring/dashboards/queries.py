"""Every query of the dashboards, with Grafana's variables filled in: for checks against a real Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Asked:
    """One query.

    Attributes:
        where: dashboard, panel and query, for messages.
        expr: as the dashboard has it.
        instant: the newest samples; else over the shown time.
    """

    where: str
    expr: str
    instant: bool


def filled(expr: str, model: str = ".*", step: str = "1m", shown: str = "6h") -> str:
    """An expression as Grafana sends it.

    >>> filled('rate(x{model=~"$model"}[$__rate_interval])')
    'rate(x{model=~".*"}[1m])'
    """
    for name, value in (("$__rate_interval", step), ("$__interval", step), ("$__range", shown), ("$model", model)):
        expr = expr.replace(name, value)
    return expr


def asked(dashboard: Mapping[str, Any]) -> Iterator[Asked]:
    """The queries of panels, annotations and variables of a dashboard's JSON."""
    title = dashboard["title"]
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield Asked(f"{title} / {panel['title']} / {target['refId']}", target["expr"], bool(target.get("instant")))
    for mark in dashboard["annotations"]["list"]:
        yield Asked(f"{title} / annotation {mark['name']}", mark["expr"], False)
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            inner = variable["query"]["query"].removeprefix("label_values(").rsplit(",", 1)[0]
            yield Asked(f"{title} / variable {variable['name']}", inner, True)
