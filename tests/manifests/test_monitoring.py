"""Rules, dashboards, data sources and the way to the hook are the ones of the code."""

from __future__ import annotations

import json

import pytest
import yaml
from tests.manifests.kustomize import OVERLAYS, ROOT, build, named, of_kind

from trimtab.monitoring.alerts.operator import alertmanager_config
from trimtab.monitoring.alerts.rules import HEAD, dump

ALERTING = ROOT / "manifests" / "components" / "monitoring" / "alerting.yaml"


def test_the_alertmanager_config_is_what_the_code_makes() -> None:
    again = "run: python -m trimtab.monitoring.alerts --operator manifests/components/monitoring/alerting.yaml"
    assert ALERTING.read_text() == HEAD.format("operator.py") + dump(alertmanager_config()), again


def test_it_says_what_alertmanagers_own_configuration_says() -> None:
    spec = alertmanager_config("http://hook")["spec"]
    first = spec["route"]["routes"][0]
    assert first["matchers"] == [{"name": "alertname", "matchType": "=", "value": "TrimtabDrift"}]
    assert spec["receivers"][0]["webhookConfigs"][0]["url"] == "http://hook/alerts"
    committed = yaml.safe_load((ROOT / "monitoring" / "alertmanager" / "alertmanager.yml").read_text())
    assert len(spec["inhibitRules"]) == len(committed["inhibit_rules"])
    assert [r["name"] for r in spec["receivers"]] == [r["name"] for r in committed["receivers"]]


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_rule_and_dashboard_is_brought(name: str) -> None:
    objects = build(f"manifests/overlays/{name}")
    rules = {p.stem for p in (ROOT / "monitoring" / "rules").glob("*.yaml")}
    assert {o["metadata"]["name"] for o in of_kind(objects, "PrometheusRule")} == rules
    maps = of_kind(objects, "ConfigMap")
    boards = [o for o in maps if o["metadata"].get("labels", {}).get("grafana_dashboard") == "1"]
    found = {file: json.loads(text) for o in boards for file, text in o["data"].items()}
    files = {p.name: json.loads(p.read_text()) for p in (ROOT / "monitoring" / "dashboards" / "json").glob("*.json")}
    assert found == files
    namespace = "trimtab" if name == "local" else f"trimtab-{name}"
    hook = named(objects, "AlertmanagerConfig", "trimtab")["spec"]["receivers"][0]["webhookConfigs"][0]
    assert hook["url"] == f"http://trimtab-hook.{namespace}.svc:8090/alerts"
    assert hook["httpConfig"]["authorization"]["credentials"] == {"name": "trimtab-tokens", "key": "token"}


def test_the_data_sources_are_those_that_dashboards_name() -> None:
    ours = named(build("manifests/overlays/local"), "ConfigMap", "trimtab-datasources")
    assert ours["metadata"]["labels"]["grafana_datasource"] == "1"
    there = yaml.safe_load(ours["data"]["trimtab.yaml"])["datasources"]
    file = ROOT / "monitoring" / "dashboards" / "provisioning" / "datasources" / "trimtab.yaml"
    wanted = yaml.safe_load(file.read_text())["datasources"]
    assert [(d["name"], d["uid"], d["type"], d["jsonData"]) for d in there] == [
        (d["name"], d["uid"], d["type"], d["jsonData"]) for d in wanted
    ]


def test_monitors_find_the_ports_that_pods_have() -> None:
    objects = build("manifests/overlays/local")
    ports = {
        "watch": named(objects, "Deployment", "trimtab-watch")["spec"]["template"]["spec"]["containers"][0]["ports"],
        "hook": named(objects, "Deployment", "trimtab-hook")["spec"]["template"]["spec"]["containers"][0]["ports"],
        "server": named(objects, "ServingRuntime", "trimtab-server-v1")["spec"]["containers"][0]["ports"],
    }
    wanted = {"watch": 9092, "hook": 9095, "server": 9091}
    for monitor in of_kind(objects, "PodMonitor"):
        labels = monitor["spec"]["selector"]["matchLabels"]
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        which = labels["app.kubernetes.io/component"]
        assert {p["name"]: p["containerPort"] for p in ports[which]}[endpoint["port"]] == wanted.pop(which)
    assert wanted == {}
