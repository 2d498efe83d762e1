"""Rules, runbooks, metrics and promtool's tests belong together; what is committed is what the code writes."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.servers.prometheus import program

from trimtab.monitoring.alerts import docs, rules, serving
from trimtab.monitoring.alerts.rule import Alert, Links
from trimtab.monitoring.alerts.thresholds import BURNS, Thresholds

HERE = Path(__file__).parent
CASES = sorted(HERE.glob("*.yaml"))
EVERY = [pytest.param(a, id=f"{a.name}-{a.severity}") for a in rules.alerts()]


@pytest.fixture
def plain(root: Path, tmp_path: Path) -> Path:
    """A folder with the `.spec` of every committed PrometheusRule, as promtool reads it."""
    for path in (root / "monitoring" / "rules").glob("*.yaml"):
        (tmp_path / path.name).write_text(yaml.safe_dump(yaml.safe_load(path.read_text())["spec"]))
    return tmp_path


def promtool(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [str(program("promtool")), *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_committed_resources_are_what_the_code_writes(root: Path) -> None:
    written = rules.resources()
    committed = {p.name: p.read_text() for p in (root / "monitoring" / "rules").glob("*.yaml")}
    assert committed == written, "run: python -m trimtab.monitoring.alerts"
    for text in committed.values():
        resource = yaml.safe_load(text)
        assert (resource["apiVersion"], resource["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")


def test_the_committed_table_is_what_the_code_writes(root: Path) -> None:
    again = "run: python -m trimtab.monitoring.alerts --docs docs/alerts-table.md"
    assert (root / "docs" / "alerts-table.md").read_text() == docs.table(), again


def test_promtool_accepts_every_rule(plain: Path) -> None:
    said = promtool(
        plain, "check", "rules", "--lint=all", "--lint-fatal", *sorted(p.name for p in plain.glob("*.yaml"))
    )
    assert sum(map(int, re.findall(r"(\d+) rules found", said))) == sum(len(g.rules) for g in rules.groups())


@pytest.mark.parametrize("case", CASES, ids=lambda p: p.stem)
def test_alerts_fire_and_do_not_fire(case: Path, plain: Path) -> None:
    (plain / "cases").mkdir()
    told = yaml.safe_load(case.read_text())
    assert [f for f in told["rule_files"] if not (plain / f).exists()] == []
    (plain / case.name).write_text(case.read_text())
    assert "SUCCESS" in promtool(plain, "test", "rules", case.name)


@pytest.mark.parametrize(
    ("metric", "now", "then", "said"),
    [
        ("accuracy", 0.942, 0.9912, "Its accuracy is 94.2%, it was 99.12%."),
        ("mean absolute error", 0.0421, 0.0038, "Its mean absolute error is 0.0421, it was 0.0038."),
        ("mean absolute error", 15230.4, 12.5, "Its mean absolute error is 15230, it was 12.5."),
    ],
)
def test_who_is_woken_reads_a_share_as_a_share_and_an_error_as_a_number(
    metric: str, now: float, then: float, said: str, plain: Path
) -> None:
    place = 'model="toy",version="v1-aaaaaaaa"'
    shown = f'trimtab_watch_performance{{{place},metric="{metric}",kind='
    series = {
        f'trimtab_watch_verdict{{{place},layer="realised"}}': 2,
        f'{shown}"realised"}}': now,
        f'{shown}"reference"}}': then,
        f"trimtab_watch_expected_errors_per_day{{{place}}}": 250,
    }
    harm = "toy v1-aaaaaaaa answers worse than when it was released, its labels show, and no campaign answers"
    words = (
        f"{said} About 250 errors a day more. No campaign is open: paused, out of budget, lost, or the hook is away."
    )
    firing = {
        "exp_labels": {
            "severity": "page",
            "owner": "model",
            "layer": "realised",
            "model": "toy",
            "version": "v1-aaaaaaaa",
        },
        "exp_annotations": {
            "summary": harm,
            "description": words,
            "runbook_url": f"{Links.hook}/runbooks/TrimtabRealisedLoss",
            "dashboard_url": f"{Links.grafana}/d/trimtab-drift?var-model=toy",
            "report_url": f"{Links.hook}/windows/toy/v1-aaaaaaaa/",
        },
    }
    # Of the two rules of one name the page alone is asked about: promtool compares every alert of a name.
    rule = yaml.safe_load((plain / "trimtab-drift.yaml").read_text())
    rule["groups"][0]["rules"] = [
        r
        for r in rule["groups"][0]["rules"]
        if "record" in r or (r["alert"], r["labels"]["severity"]) == ("TrimtabRealisedLoss", "page")
    ]
    (plain / "one.yaml").write_text(yaml.safe_dump(rule))
    case = {
        "interval": "1m",
        "input_series": [{"series": name, "values": f"{value}+0x30"} for name, value in series.items()],
        "alert_rule_test": [{"eval_time": "20m", "alertname": "TrimtabRealisedLoss", "exp_alerts": [firing]}],
    }
    told = {"rule_files": ["one.yaml"], "evaluation_interval": "1m", "tests": [case]}
    (plain / "case.yaml").write_text(yaml.safe_dump(told))
    assert "SUCCESS" in promtool(plain, "test", "rules", "case.yaml")


def checks() -> list[tuple[str, str, bool]]:
    """Alert, severity, and whether it is to fire, of every check in the cases."""
    found = []
    for case in CASES:
        for test in yaml.safe_load(case.read_text())["tests"]:
            for check in test["promql_expr_test"]:
                labels = dict(re.findall(r'(\w+)="([^"]*)"', check["expr"]))
                found.append((labels["alertname"], labels["severity"], bool(check["exp_samples"])))
    return found


@pytest.mark.parametrize("alert", EVERY)
def test_every_alert_is_seen_firing_and_silent(alert: Alert) -> None:
    seen = {fires for name, severity, fires in checks() if (name, severity) == (alert.name, alert.severity)}
    assert seen == {True, False}


def test_no_case_is_about_an_alert_that_is_not_there() -> None:
    assert {(n, s) for n, s, _ in checks()} == {(a.name, a.severity) for a in rules.alerts()}


@pytest.mark.parametrize("alert", EVERY)
def test_an_alert_says_who_looks_and_where_to_go_on(alert: Alert, root: Path) -> None:
    links = Links("https://hook.example", "https://grafana.example")
    plain: dict[str, Any] = alert.plain(links)
    assert plain["labels"]["severity"] in {"warning", "page"}
    assert plain["labels"]["owner"] in {"model", "platform"}
    said = plain["annotations"]
    assert said["summary"]
    assert said["description"]
    assert said["runbook_url"] == f"https://hook.example/runbooks/{alert.name}"
    assert said["dashboard_url"].startswith("https://grafana.example/d/trimtab-")
    assert (root / "monitoring" / "runbooks" / f"{alert.name}.md").exists()


def test_a_threshold_changes_the_rules_that_use_it_and_each_is_used() -> None:
    before = rules.plain()
    for field in dataclasses.fields(Thresholds):
        value = 0.25 if field.metadata["unit"] == "ratio" else 7.0
        changed = dataclasses.replace(Thresholds(), **{field.name: value})
        assert rules.plain(thresholds=changed) != before, field.name


def test_time_limits_of_latency_are_bounds_of_the_servers_buckets() -> None:
    from trimtab.serving.metrics import BUCKETS

    assert Thresholds().latency_seconds in BUCKETS
    assert {b.long for b in BURNS} | {b.short for b in BURNS} == set(serving.WINDOWS)
