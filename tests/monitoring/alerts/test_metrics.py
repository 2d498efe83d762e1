"""Rules ask for what processes really export, and the list of metrics is complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.monitoring.alerts.exported import asked, exported, recorded

from trimtab.monitoring.alerts import rules
from trimtab.monitoring.alerts.rule import Alert, Record

EVERY = [pytest.param(r, id=f"{r.name}-{i}") for g in rules.groups() for i, r in enumerate(g.rules)]


@pytest.mark.parametrize("rule", EVERY)
def test_a_rule_names_metrics_that_are_exported_with_labels_that_they_have(rule: Alert | Record) -> None:
    known, ours = exported(), recorded()
    for name, labels in asked(rule.expr):
        bare = re.sub(r"_(bucket|count|sum)$", "", name)
        assert bare in known or name in ours, name
        if bare in known:
            assert labels - known[bare][1] <= {"le", "job"}, f"{name} has no label {labels}"


def test_no_recording_rule_is_left_unused() -> None:
    used = {name for g in rules.groups() for r in g.rules for name, _ in asked(r.expr)}
    assert recorded() <= used | {f"trimtab:server_{k}:rate{w}" for k in ("errors", "slow") for w in ("2h", "30m", "6h")}


def test_the_list_of_metrics_is_what_is_exported(root: Path) -> None:
    rows = re.findall(r"^\| `(\w+)(?:\{([\w,]*)\})?` \| (\w+) \|", (root / "docs" / "metrics.md").read_text(), re.M)
    listed = {name: (process, frozenset(filter(None, labels.split(",")))) for name, labels, process in rows}
    assert listed == exported()
