"""`trimtab doctor` on real parts: what is right is said to be, and each usual mistake is named with what to do."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.servers.fixtures import S3
from tests.servers.minio import free_port
from tests.servers.prometheus import AlertmanagerServer, PrometheusServer, wait_until
from tests.serving.bundles import Place, running
from typer.testing import CliRunner

from trimtab.cli.commands import make_app
from trimtab.core import signing
from trimtab.core.settings import load
from trimtab.doctor import Finding, answering, checks, examine, machine
from trimtab.doctor.checks import Where
from trimtab.monitoring.alerts import rules
from trimtab.monitoring.alerts.alertmanager import configuration


def found(environ: dict[str, str], **urls: str) -> dict[str, Finding]:
    return {finding.check: finding for finding in examine(Where(load(environ))._replace(**urls))}  # type: ignore[arg-type]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    nowhere = f"http://127.0.0.1:{free_port()}"
    made.environ |= {"TRIMTAB_SERVER_URL": nowhere, "TRIMTAB_HOOK_URL": nowhere}
    return made


def test_a_fresh_machine_has_nothing_wrong(tmp_path: Path) -> None:
    environ = {"TRIMTAB_HOME": str(tmp_path / "home"), "TRIMTAB_STORE": (tmp_path / "store").as_uri()}
    seen = found({**environ, "TRIMTAB_SERVER_URL": f"http://127.0.0.1:{free_port()}"})
    assert {finding.state for finding in seen.values()} <= {"ok", "not looked at"}
    assert not (tmp_path / "home").exists(), "looking makes nothing"
    assert "none yet" in seen["models"].says
    assert seen["Kubeflow"].state == "not looked at"


def test_a_server_with_its_model_is_well_and_a_flipped_byte_is_seen(place: Place) -> None:
    version = place.serve("digits", "digits")
    with running(place, "digits") as server:
        seen = found({**place.environ, "TRIMTAB_SERVER_URL": server.url})
        assert (seen["server"].state, seen["token"].state) == ("ok", "ok")
        assert version in seen["model digits"].says
        assert found({**place.environ, "TRIMTAB_HOOK_URL": server.url})["hook"].state == "failed", "no hook answers"
    (graph,) = (place.root / "store").rglob("model.onnx")
    graph.write_bytes(graph.read_bytes()[:-1] + b"!")
    broken = found(place.environ)["model digits"]
    assert broken.state == "failed"
    assert "model.onnx" in broken.says


def test_keys_tokens_and_disks_that_are_wrong(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    home = place.settings.home
    (home / "token").write_text("mine\n")
    (home / "token").chmod(0o644)
    for path in place.settings.trusted_keys.iterdir():
        path.unlink()
    (place.root / "file").write_text("")
    seen = found({**place.environ, "TRIMTAB_SPOOL": str(place.root / "file" / "spool")})
    assert "trusted" in seen["signing key"].says
    assert "none" in seen["trusted keys"].says
    assert (seen["token"].state, seen["token"].hint) == ("failed", f"chmod 600 {home / 'token'}")
    assert seen["spool"].state == "failed"
    (home / "token").chmod(0o600)
    signing.trust(place.key.public_key(), place.settings.trusted_keys)
    monkeypatch.setattr(machine, "LOW_BYTES", 1 << 60)
    seen = found(place.environ)
    assert (seen["signing key"].state, seen["token"].state, seen["spool"].state) == ("ok", "warning", "warning")
    place.settings.signing_key.chmod(0o644)
    assert "0600" in found(place.environ)["signing key"].says
    elsewhere = found({**place.environ, "TRIMTAB_SIGNING_KEY": str(place.root / "none.pem")})["signing key"]
    assert (elsewhere.state, "TRIMTAB_SIGNING_KEY" in elsewhere.hint) == ("failed", True)


def test_s3_is_tried_for_real(s3: S3, place: Place) -> None:
    environ = place.environ | s3.environ(s3.fresh())
    seen = found(environ)
    assert (seen["store"].state, seen["clock"].state) == ("ok", "ok")
    assert "conditional create" in seen["store"].says
    assert list(s3.store().list("")) == [], "the trial is taken away"
    refused = found({**environ, "AWS_SECRET_ACCESS_KEY": "wrong"})
    assert refused["store"].state == "failed"
    assert "AWS_SECRET_ACCESS_KEY" in refused["store"].says
    assert "wrong" not in json.dumps([finding.says for finding in refused.values()])
    away = found({**environ, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"})
    assert (away["store"].state, away["clock"].state) == ("failed", "warning")
    assert found({**place.environ, "TRIMTAB_STORE": "ftp://x"})["store"].state == "failed"


def test_prometheus_and_alertmanager_are_asked(place: Place, tmp_path: Path) -> None:
    place.serve("digits", "digits")
    plain = tmp_path / "rules.yml"
    plain.write_text(rules.plain())
    with running(place, "digits") as server:
        targets = {
            "trimtab-server": [server.metrics_url.removeprefix("http://").removesuffix("/metrics")],
            "trimtab-watch": [f"127.0.0.1:{free_port()}"],
        }
        (tmp_path / "with").mkdir()
        prometheus = PrometheusServer(tmp_path / "with", targets, [plain])
        (tmp_path / "alertmanager").mkdir()
        alertmanager = AlertmanagerServer(
            tmp_path / "alertmanager", configuration("http://127.0.0.1:8090", str(tmp_path / "token"))
        )
        try:
            prometheus.start()
            alertmanager.start()
            wait_until(lambda: prometheus.query('up{job="trimtab-server"} == 1'), 60, "the server is scraped")
            wait_until(lambda: prometheus.query('up{job="trimtab-watch"} == 0'), 60, "the watch is not there")
            seen = found(place.environ, prometheus=prometheus.url, alertmanager=alertmanager.url)
        finally:
            prometheus.stop()
            alertmanager.stop()
    assert [seen[f"scraped: {job}"].state for job in answering.JOBS] == ["ok", "warning", "warning"]
    assert "no such target" in seen["scraped: hook"].says
    assert seen["alert rules"].state == "ok"
    assert seen["Alertmanager"].state == "ok"


def test_what_is_no_prometheus_is_said(place: Place) -> None:
    with answers(200, {"status": "success"}) as url:
        seen = found(place.environ, alertmanager=url)
        assert (seen["Alertmanager"].state, "no hook" in seen["Alertmanager"].says) == ("warning", True)
    with answers(200, {"status": "success", "data": {"activeTargets": []}}) as url:
        seen = found(place.environ, prometheus=url)
        assert seen["alert rules"].state == "warning"
    with answers(404, []) as url:
        seen = found(place.environ, prometheus=url, alertmanager=url, kubeflow=url)
        assert {seen[name].state for name in ("Prometheus", "Alertmanager", "Kubeflow")} == {"failed"}


@pytest.mark.parametrize(
    ("release", "state"), [("2.17.0", "ok"), ("unknown", "ok"), ("2.3.0", "warning")], ids=["new", "unknown", "old"]
)
def test_kubeflow_s_release(place: Place, release: str, state: str) -> None:
    """A stand-in that answers as the real one's health page does: no Kubeflow can be had here."""
    with answers(200, {"tag_name": release}) as url:
        assert found(place.environ, kubeflow=url)["Kubeflow"].state == state


@pytest.mark.parametrize(
    ("anybody", "believed", "state"),
    [(200, 200, "warning"), (401, 200, "failed"), (401, 401, "ok"), (302, 302, "ok"), (503, 503, "not looked at")],
    ids=["asks nobody", "believes a header", "asks", "has a login before it", "fails"],
)
def test_whom_kubeflow_answers(place: Place, anybody: int, believed: int, state: str) -> None:
    """A stand-in, as above, that refuses as a multi-user installation does."""
    with answers(anybody, {"tag_name": "2.17.0"}, named=believed) as url:
        assert found(place.environ, kubeflow=url)["Kubeflow access"].state == state


def test_an_api_that_is_not_there_is_not_said_to_ask(place: Place) -> None:
    seen = found(place.environ, kubeflow=f"http://127.0.0.1:{free_port()}")
    assert (seen["Kubeflow"].state, seen["Kubeflow access"].state) == ("failed", "not looked at")


@pytest.mark.parametrize("text", ["foo: [", "- a", "hello", "\0", "kind: Config"])
def test_a_kubeconfig_that_is_none_is_named(place: Place, tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)
    where = Where(load(place.environ), kubernetes=True, kubeconfig=str(tmp_path / "config"))
    (told,) = [finding for finding in examine(where) if finding.check == "Kubernetes"]
    assert (told.state, told.hint) == ("failed", "name it by KUBECONFIG")
    assert told.says.startswith("it is not known where it is: ")


def test_whose_rights_a_credential_has(s3: S3, place: Place) -> None:
    seen = found(place.environ | s3.environ(s3.fresh()))
    assert (seen["bucket policies"].state, "administrator" in seen["bucket policies"].says) == ("ok", True)
    assert found(place.environ)["bucket policies"].state == "not looked at"


def test_a_check_that_breaks_stops_no_other(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(_: checks.Where) -> Iterator[Finding]:
        raise RuntimeError("bad day")

    monkeypatch.setattr(machine, "check_spool", breaks)
    seen = found(place.environ)
    assert ("bad day" in seen["spool"].says, seen["store"].state) == (True, "ok")


def test_the_command(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in place.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("KF_PIPELINES_ENDPOINT", raising=False)
    shown = CliRunner().invoke(make_app(), ["doctor"])
    assert shown.exit_code == 0
    assert "0 failed" in shown.stdout
    os.environ["TRIMTAB_STORE"] = "s3://ab"
    told = CliRunner().invoke(make_app(), ["doctor", "--json"])
    assert told.exit_code == 1
    assert {fact["state"] for fact in json.loads(told.stdout)} >= {"ok", "failed"}
    wrong = CliRunner().invoke(make_app(), ["doctor", "--prometheus", "localhost:9090"])
    assert "http://host:port" in str(wrong.exception)


@contextmanager
def answers(status: int, facts: Any, named: int = 0) -> Iterator[str]:
    """A page that says the same to every request, but with another status to one that names a user."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(facts).encode()
            asked = "/pipelines" in self.path
            self.send_response(
                named if asked and self.headers["kubeflow-userid"] else status if asked or not named else 200
            )
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nobody reads it."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
