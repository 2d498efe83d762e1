"""All rules, and how they are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from trimtab.monitoring.alerts import campaigns, drift, log, processes, serving
from trimtab.monitoring.alerts.rule import Alert, Group, Links
from trimtab.monitoring.alerts.thresholds import Thresholds

HEAD = "# Written by `python -m trimtab.monitoring.alerts`: change {}, then run it again.\n"


def groups(thresholds: Thresholds | None = None) -> list[Group]:
    """Every group of rules."""
    at = thresholds or Thresholds()
    return [module.group(at) for module in (drift, log, processes, campaigns, serving)]


def alerts(thresholds: Thresholds | None = None) -> list[Alert]:
    """Every alerting rule."""
    return [a for g in groups(thresholds) for a in g.alerts]


def resources(links: Links | None = None) -> dict[str, str]:
    """PrometheusRule resources for the Prometheus operator, YAML by file name."""
    at = links or Links()
    head = HEAD.format("a threshold in thresholds.py or a rule beside it")
    return {f"{g.name}.yaml": head + dump(g.resource(at)) for g in groups()}


def plain(links: Links | None = None, thresholds: Thresholds | None = None, interval: str = "") -> str:
    """One rule file for a Prometheus without an operator, YAML."""
    at = links or Links()
    return dump({"groups": [g.plain(at, interval) for g in groups(thresholds)]})


def dump(what: Any) -> str:
    """YAML with keys in their order and each expression on one line."""
    return yaml.safe_dump(what, sort_keys=False, width=10_000, allow_unicode=True)


def names(of: Sequence[Alert]) -> list[str]:
    """The names, each once, in order."""
    return list(dict.fromkeys(a.name for a in of))
