"""Alertmanager's configuration: who gets what, who silences whom, held by amtool and by a real Alertmanager."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.servers.prometheus import AlertmanagerServer, program, wait_until

from trimtab.monitoring.alerts import rules
from trimtab.monitoring.alerts.alertmanager import HOOK, NUDGE, PAGER, TICKETS, Pace, configuration, inhibitions
from trimtab.monitoring.alerts.rule import Alert
from trimtab.monitoring.alerts.rules import HEAD, dump

COMMITTED = Path(__file__).resolve().parents[3] / "monitoring" / "alertmanager" / "alertmanager.yml"
EVERY = [pytest.param(a, id=f"{a.name}-{a.severity}") for a in rules.alerts()]


def labels(alert: Alert, model: str = "toy") -> dict[str, str]:
    plain = {"alertname": alert.name, "severity": alert.severity, "owner": alert.owner, **alert.labels}
    return {**plain, "model": model, "version": "v1-aaaaaaaa"}


def amtool(*arguments: str) -> str:
    done = subprocess.run([str(program("amtool")), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_committed_configuration_is_what_the_code_writes() -> None:
    again = f"run: python -m trimtab.monitoring.alerts --alertmanager {COMMITTED.name}"
    assert COMMITTED.read_text() == HEAD.format("alertmanager.py") + dump(configuration()), again
    amtool("check-config", str(COMMITTED))


@pytest.mark.parametrize("alert", EVERY)
def test_an_alert_reaches_its_receiver_and_only_that(alert: Alert) -> None:
    due = HOOK if alert.name == NUDGE else PAGER if alert.severity == "page" else TICKETS
    given = [f"{k}={v}" for k, v in labels(alert).items()]
    amtool("config", "routes", "test", f"--config.file={COMMITTED}", f"--verify.receivers={due}", *given)


def test_receivers_of_the_team_can_be_named() -> None:
    made = configuration(pager_url_file="/run/pager", tickets_url_file="/run/tickets")
    assert [r["webhook_configs"] for r in made["receivers"][1:]] == [
        [{"url_file": "/run/pager"}], [{"url_file": "/run/tickets"}]
    ]  # fmt: skip


def test_the_token_is_in_a_file_and_never_in_the_configuration() -> None:
    (hook,) = (r for r in configuration()["receivers"] if r["name"] == HOOK)
    (webhook,) = hook["webhook_configs"]
    authorization = webhook["http_config"]["authorization"]
    assert authorization.keys() == {"type", "credentials_file"}


def matches(matchers: list[str], of: dict[str, str]) -> bool:
    for matcher in matchers:
        found = re.fullmatch(r'(\w+)(=~|!=|=)"(.*)"', matcher)
        assert found, matcher
        name, sign, value = found.groups()
        has = of.get(name, "")
        if not {"=": has == value, "!=": has != value, "=~": re.fullmatch(value, has) is not None}[sign]:
            return False
    return True


def test_nothing_silences_the_nudge() -> None:
    (nudge,) = (a for a in rules.alerts() if a.name == NUDGE)
    assert [r for r in inhibitions() if matches(r["target_matchers"], labels(nudge))] == []


def test_inhibitions_name_alerts_that_there_are_and_never_silence_in_a_circle() -> None:
    known = set(rules.names(rules.alerts()))
    silences: set[tuple[str, str]] = set()
    for rule in inhibitions():
        sides = [
            re.findall(r'alertname=~"(Trimtab[\w|]*)"', " ".join(rule[f"{s}_matchers"])) for s in ("source", "target")
        ]
        if all(sides):
            causes, symptoms = (side[0].split("|") for side in sides)
            assert known.issuperset(causes + symptoms)
            silences |= set(itertools.product(causes, symptoms))
    reached = set(silences)
    while more := {(a, d) for a, b in reached for c, d in silences if b == c} - reached:
        reached |= more
    assert not [a for a, b in reached if a == b]


def post(server: AlertmanagerServer, *alerts: dict[str, str]) -> None:
    body = json.dumps([{"labels": a, "annotations": {}} for a in alerts]).encode()
    request = urllib.request.Request(f"{server.url}/api/v2/alerts", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=10).close()


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[AlertmanagerServer]:
    folder = tmp_path
    (folder / "token").write_text("t")
    made = configuration("http://127.0.0.1:9", str(folder / "token"), pace=Pace("1s", "1s", "1h", "1h"))
    server = AlertmanagerServer(folder / "server", made)
    server.start()
    yield server
    server.stop()


def by_name(name: str, severity: str) -> Alert:
    return next(a for a in rules.alerts() if (a.name, a.severity) == (name, severity))


def test_a_root_cause_silences_its_symptoms_in_a_real_alertmanager(alertmanager: AlertmanagerServer) -> None:
    causes = [("TrimtabStoreTrouble", "page"), ("TrimtabRealisedLoss", "page"), ("TrimtabWatchStale", "page")]
    symptoms = [
        ("TrimtabPredictionLogStuck", "warning"),
        ("TrimtabExpectedLoss", "warning"),
        ("TrimtabRealisedLoss", "warning"),
        ("TrimtabCalibrationLost", "warning"),
        ("TrimtabInputDrift", "warning"),
        ("TrimtabCampaignStuck", "page"),
    ]
    free = [(NUDGE, "warning"), ("TrimtabServerErrorsBurn", "page"), ("TrimtabLabelsContradict", "warning")]
    post(alertmanager, *(labels(by_name(*n)) for n in causes + symptoms + free))
    elsewhere = labels(by_name("TrimtabExpectedLoss", "page"), model="other")
    post(alertmanager, elsewhere)

    def silenced() -> dict[tuple[str, str, str], bool]:
        return {
            (a["labels"]["alertname"], a["labels"]["severity"], a["labels"]["model"]): bool(a["status"]["inhibitedBy"])
            for a in alertmanager.alerts()
        }

    def settled() -> bool:
        now = silenced()
        return all(now.get((n, s, "toy")) for n, s in symptoms)

    wait_until(settled, 60, "the symptoms are silenced")
    now = silenced()
    assert not any(now[n, s, "toy"] for n, s in free)
    assert not now["TrimtabStoreTrouble", "page", "toy"]
    assert not now["TrimtabExpectedLoss", "page", "other"], "another model's loss is not silenced"


def test_a_causes_warning_silences_warnings_and_no_page(alertmanager: AlertmanagerServer) -> None:
    pages = [("TrimtabWatchStale", "page"), ("TrimtabCampaignStuck", "page"), ("TrimtabRollbackNotDone", "page")]
    one = [("TrimtabStoreTrouble", "warning"), *pages, ("TrimtabPredictionLogStuck", "warning")]
    # Another model, whose watch is heard: a stale watch's page silences both losses.
    two = [("TrimtabRealisedLoss", "warning"), ("TrimtabExpectedLoss", "page"), ("TrimtabExpectedLoss", "warning")]
    post(alertmanager, *(labels(by_name(*n)) for n in one), *(labels(by_name(*n), "other") for n in two))
    pages.append(("TrimtabExpectedLoss", "page"))
    warnings = [("TrimtabPredictionLogStuck", "warning"), ("TrimtabExpectedLoss", "warning")]

    def settled() -> bool:
        found = {(a["labels"]["alertname"], a["labels"]["severity"]): a["status"] for a in alertmanager.alerts()}
        return all(n in found and found[n]["inhibitedBy"] for n in warnings) and all(
            n in found and found[n]["state"] == "active" for n in pages
        )

    wait_until(settled, 60, "the warnings are silenced, and every page is said")


def test_the_committed_file_is_plain_yaml_without_secrets() -> None:
    text = COMMITTED.read_text()
    assert yaml.safe_load(text) == configuration()
    assert "credentials:" not in text
