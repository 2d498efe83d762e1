"""What a rule is, and how rules are written for Prometheus and for its operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["warning", "page"]
Owner = Literal["model", "platform"]


@dataclass(frozen=True)
class Links:
    """Base URLs that annotations lead to, without a slash at the end.

    Attributes:
        hook: the retrain hook as people reach it: runbooks, windows, campaigns, reports.
        grafana: Grafana as people reach it.
    """

    hook: str = "http://127.0.0.1:8090"
    grafana: str = "http://127.0.0.1:3000"


@dataclass(frozen=True)
class Record:
    """A recording rule."""

    name: str
    expr: str

    def plain(self, _links: Links) -> dict[str, Any]:
        """As Prometheus reads it."""
        return {"record": self.name, "expr": self.expr}


@dataclass(frozen=True)
class Alert:
    """An alerting rule.

    Attributes:
        name: in the alert's label `alertname`; begins with `Trimtab` and has a runbook of that name.
        severity: `warning` is looked at in working hours or answered by the machine, `page` wakes somebody.
        owner: who looks: the model's people or the platform's.
        expr: PromQL; keeps the labels `model` and `version` where there are any, and no process's own.
        summary, description: templates.
        wait: how long it must hold, seconds.
        dashboard: uid of the dashboard to open.
        report: path at the hook where the records lie; a template.
        labels: further labels, to tell rules of one name apart.
    """

    name: str
    severity: Severity
    owner: Owner
    expr: str
    summary: str
    description: str
    wait: float = 0
    dashboard: str = "trimtab-overview"
    report: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def plain(self, links: Links) -> dict[str, Any]:
        """As Prometheus reads it."""
        model = "?var-model={{ $labels.model }}" if "$labels.model" in self.summary else ""
        rule: dict[str, Any] = {"alert": self.name, "expr": self.expr}
        if self.wait:
            rule["for"] = f"{self.wait:g}s"
        rule["labels"] = {"severity": self.severity, "owner": self.owner, **self.labels}
        rule["annotations"] = {
            "summary": self.summary,
            "description": self.description,
            "runbook_url": f"{links.hook}/runbooks/{self.name}",
            "dashboard_url": f"{links.grafana}/d/{self.dashboard}{model}",
            "report_url": f"{links.hook}/{self.report}" if self.report else "",
        }
        return rule


@dataclass(frozen=True)
class Group:
    """Rules that are evaluated together."""

    name: str
    rules: Sequence[Record | Alert]

    @property
    def alerts(self) -> list[Alert]:
        """Its alerting rules."""
        return [r for r in self.rules if isinstance(r, Alert)]

    def plain(self, links: Links, interval: str = "") -> dict[str, Any]:
        """As Prometheus reads it; without an interval its global one counts."""
        pace = {"interval": interval} if interval else {}
        return {"name": self.name, **pace, "rules": [r.plain(links) for r in self.rules]}

    def resource(self, links: Links) -> dict[str, Any]:
        """As a PrometheusRule of the Prometheus operator."""
        return {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {
                "name": self.name,
                "labels": {"app.kubernetes.io/name": "trimtab", "app.kubernetes.io/component": "monitoring"},
            },
            "spec": {"groups": [self.plain(links)]},
        }


def figure(metric: str, *labels: str, form: str = "humanize") -> str:
    """A template that shows the newest value of a metric with the alert's own labels; `?` where there is none."""
    place = ",".join(f"{name}='%s'" for name in labels)
    given = "".join(f" $labels.{name}" for name in labels)
    return (
        f'{{{{ with printf "{metric}{{{place}}}"{given} | query }}}}'
        f"{{{{ . | first | value | {form} }}}}{{{{ else }}}}?{{{{ end }}}}"
    )
