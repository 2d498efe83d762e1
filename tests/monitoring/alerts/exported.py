"""What our processes really export: names and labels, from their own registries."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter

from trimtab.core.store import open_store
from trimtab.monitoring.alerts import rules
from trimtab.monitoring.alerts.rule import Record
from trimtab.monitoring.hook_metrics import HookCollector
from trimtab.monitoring.metrics import WatchMetrics
from trimtab.serving.scrape import Scrape


@functools.cache
def exported() -> dict[str, tuple[str, frozenset[str]]]:
    """Process and labels of each metric, by the name that Prometheus sees."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    watch = CollectorRegistry()
    WatchMetrics(watch)
    # The registry gives families without samples no labels; the collectors know theirs.
    for metric in watch._collector_to_names:
        name = str(metric._name) + ("_total" if isinstance(metric, Counter) else "")  # type: ignore[attr-defined]
        found[name] = ("watch", frozenset(metric._labelnames))  # type: ignore[attr-defined]
    hook = HookCollector(open_store(Path("/nonexistent").as_uri()), list)
    server = Scrape(CollectorRegistry(), "toy", list)
    for process, families in (("server", server.describe()), ("hook", hook.describe())):
        for family in families:
            name = family.name + ("_total" if family.type == "counter" else "")
            found[name] = (process, frozenset(family._labelnames))  # type: ignore[attr-defined]
    found["trimtab_store_errors_total"] = ("all", frozenset({"operation"}))
    return found


def recorded() -> set[str]:
    """Names of the recording rules."""
    return {r.name for g in rules.groups() for r in g.rules if isinstance(r, Record)}


def asked(expr: str) -> list[tuple[str, set[str]]]:
    """The metrics that an expression asks for, each with the labels that it matches on."""
    found = []
    for name, matchers in re.findall(r"\b(trimtab[_:][a-zA-Z0-9_:]+)(?:\{([^}]*)\})?", expr):
        found.append((name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', "", matchers)))))
    return found
