"""From breach to campaign with real processes: log → watch → Prometheus → Alertmanager → hook, with authentication."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.monitoring.stream import MODEL, Stream, draw
from tests.servers.minio import free_port
from tests.servers.prometheus import AlertmanagerServer, PrometheusServer, wait_until

from trimtab.core import settings
from trimtab.core.store import OPERATIONS, Store
from trimtab.core.tokens import ensure_token
from trimtab.monitoring.alerts import rules
from trimtab.monitoring.alerts.alertmanager import NUDGE, Pace, configuration
from trimtab.monitoring.alerts.rule import Links
from trimtab.monitoring.campaign_records import all_campaigns

# Test intervals: everything looks once a second.
PACE = Pace(wait="0s", interval="1s", repeat="1h", nudge="1s")
# A machine may be slow; what is measured is printed, what is asserted is that it happens.
PATIENCE = 120.0
Command = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def command(store: Store, tmp_path: Path) -> Iterator[Command]:
    """Starts `trimtab …` on the store; ended with the test."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "TRIMTAB_STORE": store.url}
        with (tmp_path / f"{arguments[0]}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "trimtab.cli.app", *arguments], env=environment, stdout=log, stderr=log
            )
        running.append(process)
        return process

    yield start
    for process in running:
        process.send_signal(signal.SIGKILL)
        process.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return int(answer.status) == 200
    except (urllib.error.URLError, OSError):
        return False


def start_hook(command: Command) -> tuple[str, str]:
    """The hook's URL and the address of its metrics."""
    port, metrics = free_port(), free_port()
    command(
        "hook", "--port", str(port), "--metrics-port", str(metrics), "--poll-seconds", "0.5", "--server-metrics", ""
    )
    wait_until(lambda: answers(f"http://127.0.0.1:{port}/healthz"), PATIENCE, "the hook answers")
    return f"http://127.0.0.1:{port}", f"127.0.0.1:{metrics}"


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[Callable[[str, Path], AlertmanagerServer]]:
    running: list[AlertmanagerServer] = []

    def start(hook_url: str, token: Path) -> AlertmanagerServer:
        server = AlertmanagerServer(tmp_path / "alertmanager", configuration(hook_url, str(token), pace=PACE))
        server.start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop()


def test_a_breach_becomes_a_campaign(
    store: Store,
    tmp_path: Path,
    command: Command,
    alertmanager: Callable[[str, Path], AlertmanagerServer],
    record_property: Callable[[str, object], None],
) -> None:
    stream, rng = Stream(store, tmp_path), np.random.default_rng(0)
    version = stream.publish()
    stream.label(stream.answer(version, draw(rng, 100)))
    chosen = settings.load()
    ensure_token(chosen)
    hook_url, hook_metrics = start_hook(command)
    watch = free_port()
    command("watch", "--metrics-port", str(watch), "--poll-seconds", "0.5", "--hook", "-", "--no-reports")
    sending = alertmanager(hook_url, chosen.token_file)
    (tmp_path / "rules.yml").write_text(rules.plain(Links(hook_url, "http://grafana.test"), interval="1s"))
    targets = {"watch": [f"127.0.0.1:{watch}"], "hook": [hook_metrics]}
    prometheus = PrometheusServer(
        tmp_path / "prometheus", targets, [tmp_path / "rules.yml"], sending.url.removeprefix("http://")
    )
    prometheus.start()
    try:
        prometheus.wait_for('trimtab:verdict{layer="joined"} < 2', PATIENCE)
        assert all_campaigns(store, MODEL) == []
        assert prometheus.query('ALERTS{alertstate="firing"}') == [], "at rest nothing fires"
        every = {(job, operation) for job in ("watch", "hook") for operation in OPERATIONS}

        def counted() -> bool:
            found = prometheus.query("sum by (job, operation) (trimtab_store_errors_total)")
            return {(e["metric"]["job"], e["metric"]["operation"]) for e in found} == every

        wait_until(counted, PATIENCE, "watch and hook count what the store fails them")

        breach = time.monotonic()
        stream.label(stream.answer(version, draw(rng, 100, flip=0.4)))
        (campaign, *others) = wait_until(lambda: all_campaigns(store, MODEL), PATIENCE, "a campaign opens")
        seconds = time.monotonic() - breach

        assert others == []
        assert (campaign.version, campaign.opened["window"]) == (version, 2)
        assert campaign.opened["why"] == f"{NUDGE} (Prometheus): {MODEL} {version} has drifted"
        record_property("breach_to_campaign_seconds", round(seconds, 2))
        sys.stderr.write(f"\nbreach to campaign: {seconds:.1f} s\n")

        fired = prometheus.wait_for('ALERTS{alertname="TrimtabRealisedLoss",alertstate="firing"}', PATIENCE)
        assert {f["metric"]["severity"] for f in fired} == {"warning"}
        told = next(a for a in sending.alerts() if a["labels"]["alertname"] == NUDGE)
        said = told["annotations"]
        assert said["runbook_url"] == f"{hook_url}/runbooks/{NUDGE}"
        assert said["dashboard_url"] == f"http://grafana.test/d/trimtab-drift?var-model={MODEL}"
        assert said["report_url"] == f"{hook_url}/windows/{MODEL}/{version}/"
        assert "?" not in said["description"], "the cost was not filled in"
        assert answers(said["runbook_url"])
    finally:
        prometheus.stop()


def test_without_its_token_the_hook_is_not_moved(
    store: Store, tmp_path: Path, command: Command, alertmanager: Callable[[str, Path], AlertmanagerServer]
) -> None:
    from tests.monitoring.world import MODEL as TOY
    from tests.monitoring.world import START, World

    world = World(store, tmp_path)
    version = world.champion()
    world.verdict(version, 1, start=START)
    token = ensure_token(settings.load())
    hook_url, _ = start_hook(command)
    mine = tmp_path / "token"
    mine.write_text("not-the-token")
    sending = alertmanager(hook_url, mine)
    alert = {"alertname": NUDGE, "severity": "warning", "model": TOY, "version": version}
    body = json.dumps([{"labels": alert, "annotations": {"summary": "drift"}}]).encode()
    request = urllib.request.Request(f"{sending.url}/api/v2/alerts", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=10).close()

    wait_until(lambda: "401" in sending.log.read_text(), PATIENCE, "Alertmanager says that it was refused")
    assert all_campaigns(store, TOY) == []
    # The file is read anew for each request: a token that was renewed counts without a restart.
    mine.write_text(token)
    wait_until(lambda: all_campaigns(store, TOY), PATIENCE, "a campaign opens once the token is right")
