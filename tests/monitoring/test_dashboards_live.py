"""Every query of the dashboards, in a real Prometheus that scrapes the real processes under a replay."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.monitoring.replayed import MODEL, Replay, drift_and_answer, started, story

from dashboards import grafana, queries
from dashboards.__main__ import BUILDERS
from trimtab.demo.processes import free_ports

# Each test's environment is cleared of TRIMTAB_*: the user's TRIMTAB_GRAFANA is kept here.
ENVIRONMENT = dict(os.environ)
pytestmark = [pytest.mark.campaign, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    with started(tmp_path_factory.mktemp("replay")) as running:
        drift_and_answer(running)
        yield running


def test_every_query_returns_data(replay: Replay) -> None:
    replay.prometheus.wait_for('changes(trimtab_rollout_events_total{event="rolled_back"}[1m]) > 0')
    found = [query for build in BUILDERS for query in queries.asked(build())]
    empty = [
        f"{query.where}: {query.expr}"
        for query in found
        if not replay.asked(queries.filled(query.expr, MODEL, step="10s", shown="5m"))
    ]
    assert not empty, "\n".join([*empty, str(story(replay))])
    assert len(found) > 60


def test_alertmanager_has_the_alerts_that_the_panel_shows(replay: Replay) -> None:
    seen = replay.asked('ALERTS{alertstate="firing",alertname=~"Trimtab.*"}')
    assert {"TrimtabDrift", "TrimtabRealisedLoss"} <= {s["metric"]["alertname"] for s in seen}
    groups = replay.alertmanager.get("/api/v2/alerts/groups")
    assert isinstance(groups, list)


def test_the_links_of_firing_alerts_lead_to_pages(replay: Replay) -> None:
    firing = replay.asked('ALERTS{alertstate="firing",alertname=~"Trimtab.*"}')
    with httpx.Client(
        base_url=replay.hook, headers={"Authorization": f"Bearer {replay.token}", "Accept": "text/html"}
    ) as browser:
        for series in firing:
            labels = series["metric"]
            assert "Diagnosis" in browser.get(f"/runbooks/{labels['alertname']}").text
            assert "Campaigns of" in browser.get(f"/campaigns/{labels.get('model', MODEL)}/").text
            assert "Windows of" in browser.get(f"/windows/{labels.get('model', MODEL)}/").text


def test_the_overview_has_one_row_a_model(replay: Replay) -> None:
    """The champion's query gives one version, also while a canary shares the traffic."""
    from dashboards.overview import CHAMPION

    series = replay.asked(queries.filled(CHAMPION))
    moments = [moment for one in series for moment, _ in one["values"]]
    assert len(moments) == len(set(moments))
    assert {one["metric"]["model"] for one in series} == {MODEL}
    assert len({one["metric"]["version"] for one in series}) > 1


def test_the_pages_of_the_replay_are_there(replay: Replay, tmp_path: Path) -> None:
    with httpx.Client(base_url=replay.hook, headers={"Accept": "text/html"}) as browser:
        assert browser.get("/").status_code == 401
        browser.post("/sign-in", data={"token": replay.token, "next": "/"})
        assert MODEL in browser.get("/").text
        campaign = browser.get(f"/campaigns/{MODEL}/1").text
        assert "Retrain 1" in campaign
        assert "promoted" in campaign


def test_a_real_grafana_loads_them_and_reports_no_error(
    replay: Replay, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if grafana.program(ENVIRONMENT) is None:
        pytest.skip("no Grafana on this machine: TRIMTAB_GRAFANA=<folder of an unpacked archive>, or `grafana` on PATH")
    (port,) = free_ports(1)
    options = grafana.Options(replay.prometheus.url, replay.alertmanager.url, replay.hook, port, tmp_path / "grafana")
    assert grafana.run(options, ENVIRONMENT, check=True) == 0, capsys.readouterr().err
