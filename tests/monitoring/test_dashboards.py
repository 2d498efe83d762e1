"""The dashboards as files: what Grafana would swallow in silence is found here.

The queries run against a real Prometheus in `test_dashboards_live.py`.
"""

from __future__ import annotations

import http.server
import itertools
import json
import re
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.models import units
from tests.servers.prometheus import program

from dashboards import api, grafana, queries
from dashboards.__main__ import written
from dashboards.names import ALERTMANAGER, ALERTMANAGER_NAME, FOLDER, HOOK, PROMETHEUS, TITLES

TEXTS = written()
DASHBOARDS = {name: json.loads(text) for name, text in TEXTS.items()}
HERE = FOLDER.parent
# Grafana's own: https://grafana.com/docs/grafana/latest/dashboards/variables/add-template-variables/#global-variables
GLOBAL = {"__rate_interval", "__range", "__data"}
KNOWN_UNITS = {v for k, v in vars(units).items() if isinstance(v, str) and not k.startswith("_")}


def drawn(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """The panels that show something."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def test_the_committed_json_is_what_the_code_makes() -> None:
    assert {p.name: p.read_text() for p in FOLDER.glob("*.json")} == TEXTS, "run: python -m dashboards"


def test_each_dashboard_has_a_fixed_name_and_leads_to_the_others() -> None:
    assert {d["uid"]: d["title"] for d in DASHBOARDS.values()} == TITLES
    for dashboard in DASHBOARDS.values():
        assert {link["url"] for link in dashboard["links"]} == {
            f"/d/{uid}" for uid in TITLES if uid != dashboard["uid"]
        }
        assert all(link["keepTime"] and link["includeVars"] for link in dashboard["links"])
        assert not dashboard.get("editable")


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_every_panel_has_title_description_unit_and_its_data_source(dashboard: dict[str, Any]) -> None:
    for panel in drawn(dashboard):
        assert panel["title"]
        assert len(panel["description"]) > 30, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in KNOWN_UNITS, panel["title"]
        for target in panel.get("targets", []):
            assert target["datasource"] == {"type": "prometheus", "uid": "${prometheus}"}
        assert ("targets" in panel) == (panel["type"] != "alertGroups")
        for override in panel["fieldConfig"]["overrides"]:
            unit = next((p["value"] for p in override["properties"] if p["id"] == "unit"), "none")
            assert unit in KNOWN_UNITS, panel["title"]


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_panels_are_numbered_once_and_do_not_overlap(dashboard: dict[str, Any]) -> None:
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    for place in places:
        assert place["x"] + place["w"] <= 24
    for a, b in itertools.combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        below = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or below, (a, b)


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_each_opens_with_the_alerts_that_fire_now(dashboard: dict[str, Any]) -> None:
    row, table, groups = dashboard["panels"][:3]
    assert (row["type"], row["title"], row["gridPos"]["y"]) == ("row", "Firing now", 0)
    assert 'ALERTS{alertstate="firing"' in table["targets"][0]["expr"]
    links = [p["value"] for o in table["fieldConfig"]["overrides"] for p in o["properties"] if p["id"] == "links"]
    addresses = [link["url"] for found in links for link in found]
    assert "${hook}/runbooks/${__data.fields.alertname}" in addresses
    assert "${hook}/campaigns/${__data.fields.model}/" in addresses
    assert groups["options"]["alertmanager"] == ALERTMANAGER_NAME


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_promotions_and_alarms_are_marked_on_every_graph(dashboard: dict[str, Any]) -> None:
    marks = {m["name"]: m for m in dashboard["annotations"]["list"]}
    assert {"Promotions and rollbacks", "Alarms"} <= marks.keys()
    for mark in marks.values():
        assert "filter" not in mark  # a filter would keep it from some panels
        assert mark["expr"] == mark["target"]["expr"]
    assert all(marks[name]["enable"] and not marks[name]["hide"] for name in ("Promotions and rollbacks", "Alarms"))


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_variables_are_defined_and_used(dashboard: dict[str, Any]) -> None:
    defined = {v["name"] for v in dashboard["templating"]["list"]}
    rest = {**dashboard, "templating": {}}
    used = {a or b for a, b in re.findall(r"\$(?:\{(\w+)|(\w+))", json.dumps(rest))}
    assert used - GLOBAL == defined


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_columns_of_tables_come_from_their_queries(dashboard: dict[str, Any]) -> None:
    for panel in drawn(dashboard):
        if panel["type"] != "table":
            continue
        refs = [t["refId"] for t in panel["targets"]]
        values = {f"Value #{ref}" for ref in refs} if len(refs) > 1 else {"Value"}
        names = {o["matcher"]["options"] for o in panel["fieldConfig"]["overrides"]}
        assert {n for n in names if n.startswith("Value")} <= values, panel["title"]
        organized = next(t["options"] for t in panel["transformations"] if t["id"] == "organize")
        # Every value is either a column or left out: none appears under a raw name.
        assert values <= names | organized["excludeByName"].keys(), panel["title"]


def test_every_query_is_promql(tmp_path: Path) -> None:
    """promtool parses them as it parses rules."""
    found = [q for d in DASHBOARDS.values() for q in queries.asked(d)]
    rules = [{"record": f"query:{i}", "expr": queries.filled(q.expr)} for i, q in enumerate(found)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    done = subprocess.run([program("promtool"), "check", "rules", "--lint=none", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout


def test_no_query_makes_a_silent_exporter_look_healthy() -> None:
    for dashboard in DASHBOARDS.values():
        for query in queries.asked(dashboard):
            assert "vector(0)" not in query.expr, query.where


def test_provisioning_names_what_the_dashboards_name() -> None:
    found = yaml.safe_load((HERE / "provisioning/datasources/trimtab.yaml").read_text())["datasources"]
    assert {s["uid"]: s["type"] for s in found} == {PROMETHEUS: "prometheus", ALERTMANAGER: "alertmanager"}
    assert next(s["name"] for s in found if s["uid"] == ALERTMANAGER) == ALERTMANAGER_NAME
    (provider,) = yaml.safe_load((HERE / "provisioning/dashboards/trimtab.yaml").read_text())["providers"]
    assert (provider["type"], provider["allowUiUpdates"]) == ("file", False)
    wanted = set(re.findall(r"\$(\w+)", "".join(p.read_text() for p in HERE.glob("provisioning/*/*.yaml")))) - {"NAME"}
    assert wanted <= grafana.settings(grafana.Options(), "d", "p", "x").keys()


def test_the_hooks_address_is_set_for_this_machine(tmp_path: Path) -> None:
    folder = grafana.copy(grafana.Options(hook="http://127.0.0.1:18090", data=tmp_path))
    texts = {p.name: p.read_text() for p in folder.glob("*.json")}
    assert texts.keys() == TEXTS.keys()
    for text in texts.values():
        assert HOOK not in text
        assert "http://127.0.0.1:18090" in text


def grafana_like(folder: Path, script: str) -> Path:
    """A folder as an archive of Grafana unpacks, with a program that does what the script says."""
    (folder / "bin").mkdir(parents=True)
    (folder / "conf").mkdir()
    (folder / "conf" / "defaults.ini").write_text("")
    (folder / "bin" / "grafana").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "bin" / "grafana").chmod(0o755)
    return folder


def test_a_local_grafana_is_preferred_and_kept_on_loopback(tmp_path: Path) -> None:
    home = grafana_like(tmp_path / "grafana", "exit 0")
    options = grafana.Options(data=tmp_path / "data", port=3999)
    chosen = grafana.command(options, {"TRIMTAB_GRAFANA": str(home), "PATH": "/usr/bin:/bin"})
    assert chosen is not None
    words, more = chosen
    assert words == [str(home / "bin" / "grafana"), "server", "--homepath", str(home)]
    assert (more["GF_SERVER_HTTP_ADDR"], more["GF_SERVER_HTTP_PORT"]) == ("127.0.0.1", "3999")
    assert Path(more["TRIMTAB_DASHBOARDS"], "trimtab-drift.json").exists()
    assert Path(more["GF_PATHS_PROVISIONING"], "datasources", "trimtab.yaml").exists()


def test_without_one_docker_runs_the_official_image(tmp_path: Path) -> None:
    (tmp_path / "docker").write_text("#!/bin/sh\n")
    (tmp_path / "docker").chmod(0o755)
    chosen = grafana.command(grafana.Options(data=tmp_path / "data"), {"PATH": str(tmp_path)})
    assert chosen is not None
    words, _ = chosen
    assert words[:3] == [str(tmp_path / "docker"), "run", "--rm"]
    assert words[-1] == grafana.IMAGE
    mounted = [words[i + 1] for i, word in enumerate(words) if word == "--volume"]
    assert all(m.endswith(":ro") for m in mounted)


def test_with_nothing_it_says_what_would_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert grafana.run(grafana.Options(data=tmp_path / "data"), {"PATH": str(tmp_path)}) == 2
    assert "TRIMTAB_GRAFANA=<folder>" in capsys.readouterr().err


def test_a_grafana_that_ends_at_once_is_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = grafana_like(tmp_path / "grafana", "echo no licence >&2; exit 3")
    options = grafana.Options(data=tmp_path / "data")
    assert grafana.run(options, {"TRIMTAB_GRAFANA": str(home), "PATH": "/usr/bin:/bin"}) == 1
    assert "did not answer" in capsys.readouterr().err


def test_the_configuration_for_one_machine_is_one(tmp_path: Path, root: Path) -> None:
    from trimtab.monitoring.alerts.rule import Links
    from trimtab.monitoring.alerts.rules import plain

    (tmp_path / "rules.yml").write_text(plain(Links()))
    (tmp_path / "prometheus.yml").write_text((root / "monitoring" / "prometheus.yml").read_text())
    done = subprocess.run([program("promtool"), "check", "config", tmp_path / "prometheus.yml"], capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr


class Api(http.server.BaseHTTPRequestHandler):
    """Answers as Grafana's API does; one query has an error, one dashboard is missing, a data source is away."""

    def do_GET(self) -> None:
        uid = self.path.split("/")[-1]
        if "/api/datasources/" in self.path:
            self._send(400, {"message": "connection refused"})
        elif uid == "trimtab-serving":
            self._send(404, {"message": "Dashboard not found"})
        elif self.path.startswith("/api/dashboards/"):
            self._send(200, {"dashboard": DASHBOARDS[f"{uid}.json"], "meta": {"provisioned": uid != "trimtab-drift"}})
        else:
            self._send(200, [])

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        wrong = "in_flight" in body["queries"][0]["expr"]
        found = {"error": "parse error", "status": 400} if wrong else {"status": 200, "frames": []}
        self._send(200, {"results": {"A": found}})

    def _send(self, status: int, body: Any) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""


def test_every_error_of_grafanas_api_is_told() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            found = api.complaints(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()
    told = "\n".join(found)
    assert "data source trimtab-prometheus: 400" in told
    assert "dashboard trimtab-serving: 404" in told
    assert "dashboard trimtab-drift: it is not provisioned" in told
    assert "Processes that show themselves / A: 200 parse error" in told
    assert len(found) == 4
    away = api.complaints("http://127.0.0.1:9")
    assert {line.partition(":")[0] for line in away if line.startswith("dashboard ")} == {
        f"dashboard {u}" for u in TITLES
    }
