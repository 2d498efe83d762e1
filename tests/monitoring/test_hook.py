"""The hook over HTTP: tokens, alerts, what may be read, its metrics, and its process's manners."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from prometheus_client import CollectorRegistry, generate_latest
from tests.monitoring.test_campaign import ROLLOUT
from tests.monitoring.world import MODEL, START, Place, Runs, World, story

from trimtab.core.errors import StoreError
from trimtab.core.store import Store
from trimtab.core.tokens import TokenFile, accept
from trimtab.monitoring import campaign
from trimtab.monitoring.campaign import Answer
from trimtab.monitoring.hook import MAX_BODY, make_app
from trimtab.monitoring.hook_metrics import HookCollector
from trimtab.monitoring.hook_service import HookService

TOKEN = "a-token-of-the-test"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def world(store: Store, tmp_path: Path) -> World:
    made = World(store, tmp_path, {"rollout": ROLLOUT, "campaign": {"follow_ups": 0}})
    version = made.champion()
    made.log(version, START, [i % 2 == 0 for i in range(40)])
    made.verdict(version, 1)
    return made


@pytest.fixture
def service(world: World) -> HookService:
    return HookService(world.store, Runs(world), Place(), poll_seconds=0.01)


@pytest.fixture
def client(service: HookService, tmp_path: Path) -> Iterator[httpx.Client]:
    accept(tmp_path / "tokens.json", TOKEN)
    app = make_app(service.store, TokenFile(tmp_path / "tokens.json"), service.answers, service.status)
    with serving(app) as url, httpx.Client(base_url=url, timeout=120) as client:
        yield client


@contextlib.contextmanager
def serving(app: Any) -> Iterator[str]:
    """The app behind a real server on a free port of the loopback interface."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def body(*alerts: dict[str, Any]) -> dict[str, Any]:
    """Alertmanager's webhook body, version 4."""
    return {
        "version": "4",
        "groupKey": "{}:{}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "hook",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "",
        "alerts": list(alerts),
    }


def alert(model: str = MODEL, status: str = "firing") -> dict[str, Any]:
    labels = {"alertname": "TrimtabDrift", "model": model, "version": "v1", "severity": "warning"}
    return {"status": status, "labels": labels, "annotations": {"summary": "drift"}, "startsAt": "2026-11-21T08:00:00Z"}


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}])
@pytest.mark.parametrize("path", ["/status", "/windows/toy/", "/campaigns/toy/", "/reports/toy/x.html", "/alerts"])
def test_without_a_token_it_is_401(client: httpx.Client, path: str, headers: dict[str, str]) -> None:
    answer = (
        client.post(path, json=body(alert()), headers=headers)
        if path == "/alerts"
        else client.get(path, headers=headers)
    )
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_it_is_alive_without_a_token(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}


def test_an_alert_opens_a_campaign_and_a_second_one_finds_it(client: httpx.Client, world: World) -> None:
    for _ in range(2):
        answer = client.post("/alerts", json=body(alert()), headers=AUTHORIZED)
        assert (answer.status_code, answer.json()) == (202, {"campaign": 1})
    assert story(world.store)["opened"] == 1


def test_each_alert_is_handled_by_itself(client: httpx.Client) -> None:
    answer = client.post(
        "/alerts", json=body(alert(status="resolved"), alert("other"), alert(), {"labels": {}}), headers=AUTHORIZED
    ).json()
    assert answer["campaign"] == 1
    assert answer["alerts"] == [
        {"reason": "resolved: nothing to do"},
        {"reason": "no model is called 'other'"},
        {"campaign": 1},
        {"reason": "the alert has no label `model`"},
    ]


@pytest.mark.parametrize("bad", [b"", b"{", b"[]", b'{"alerts": 3}', b'{"alerts": [{"labels": [1]}]}'])
def test_a_bad_body_is_400_and_says_what_was_expected(client: httpx.Client, bad: bytes) -> None:
    answer = client.post("/alerts", content=bad, headers=AUTHORIZED)
    assert answer.status_code == 400
    assert "Alertmanager's webhook body, version 4" in answer.json()["error"]


@pytest.mark.parametrize("version", ["3", "5", "", "4.0"])
def test_another_version_of_the_body_is_refused_with_a_sentence(
    client: httpx.Client, world: World, version: str
) -> None:
    answer = client.post("/alerts", json={**body(alert()), "version": version}, headers=AUTHORIZED)
    assert answer.status_code == 400
    assert f'expected "4", got "{version}"' in answer.json()["error"]
    assert not story(world.store)["opened"]


def test_alerts_of_one_body_share_one_look_and_one_list_of_names(
    client: httpx.Client, service: HookService, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    lists: list[list[str]] = []
    look, names = campaign.answer, service.models

    def counted(store: Store, model: str, *, why: str = "") -> Answer:
        looks.append(why)
        return look(store, model, why=why)

    monkeypatch.setattr(campaign, "answer", counted)

    def listing() -> list[str]:
        lists.append(names())
        return lists[-1]

    monkeypatch.setattr(service, "models", listing)
    sent = [*(alert() for _ in range(1000)), *(alert(f"unknown-{n}") for n in range(9000))]
    answer = client.post("/alerts", json=body(*sent), headers=AUTHORIZED)
    assert answer.status_code == 202
    said = answer.json()["alerts"]
    assert said[:1000] == [{"campaign": 1}] * 1000
    assert said[-1] == {"reason": "no model is called 'unknown-8999'"}
    assert (looks, len(lists)) == (["TrimtabDrift (watch): drift"], 1)


def test_a_huge_body_is_413(client: httpx.Client) -> None:
    assert client.post("/alerts", content=b" " * (MAX_BODY + 1), headers=AUTHORIZED).status_code == 413


def test_a_store_that_is_away_is_503_so_that_the_sender_tries_again(service: HookService, tmp_path: Path) -> None:
    def away(asked: Mapping[str, str]) -> dict[str, Answer]:
        raise StoreError("the store is away")

    accept(tmp_path / "tokens.json", TOKEN)
    app = make_app(service.store, TokenFile(tmp_path / "tokens.json"), away, service.status)
    with serving(app) as url:
        answer = httpx.post(f"{url}/alerts", json=body(alert()), headers=AUTHORIZED)
    assert (answer.status_code, answer.json()) == (503, {"error": "the store is away."})


def test_what_is_refused_is_said_in_one_shape(client: httpx.Client) -> None:
    for verb, path, status in (("GET", "/nowhere/x", 404), ("DELETE", "/alerts", 405), ("POST", "/a/b", 405)):
        answer = client.request(verb, path, headers=AUTHORIZED)
        assert (answer.status_code, set(answer.json())) == (status, {"error"})
        assert "/nowhere" in answer.json()["error"] or f"{verb} {path}" in answer.json()["error"]
    assert set(client.post("/status").headers["Allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/redoc"])
def test_nothing_describes_the_hook_to_strangers(client: httpx.Client, path: str) -> None:
    answer = client.get(path, headers=AUTHORIZED, follow_redirects=True)
    assert (answer.status_code, set(answer.json())) == (404, {"error"})


def test_what_the_watch_and_campaigns_left_can_be_read_and_nothing_else(client: httpx.Client, world: World) -> None:
    client.post("/alerts", json=body(alert()), headers=AUTHORIZED)
    listed = client.get(f"/campaigns/{MODEL}/", headers=AUTHORIZED).json()["keys"]
    assert listed == [f"campaigns/{MODEL}/00000001/opened.json"]
    assert client.get(f"/{listed[0]}", headers=AUTHORIZED).json()["words"] == "realised accuracy fell"
    world.store.put("reports/toy/one.html", b"<p>drift</p>")
    page = client.get("/reports/toy/one.html", headers=AUTHORIZED)
    assert page.headers["content-type"].startswith("text/html")
    assert "sandbox" in page.headers["content-security-policy"]
    for path in ("/models/toy/versions/", "/reports/toy/none.html", "/reports/../models/x", "/campaigns/a%20b"):
        assert client.get(path, headers=AUTHORIZED).status_code == 404
    for verb in ("put", "delete", "post"):
        assert getattr(client, verb)(f"/{listed[0]}", headers=AUTHORIZED).status_code == 405


def test_status_tells_champion_windows_and_campaigns(client: httpx.Client, service: HookService, world: World) -> None:
    client.post("/alerts", json=body(alert()), headers=AUTHORIZED)
    service.round()
    (told,) = client.get("/status", headers=AUTHORIZED).json()["models"]
    assert told["champion"] == world.state().champion
    assert told["canary_percent"] == 50
    assert [w["verdict"] for w in told["windows"]] == ["drift"]
    (one,) = told["campaigns"]
    assert (one["phase"], one["retrains"][0]["won"]) == ("releasing", True)
    assert told["waiting"] == f"rollout 1 of {world.state().canary}"


def test_metrics_tell_the_same(service: HookService, world: World) -> None:
    registry = CollectorRegistry()
    registry.register(HookCollector(world.store, service.models))
    service.answer(MODEL, "")
    service.round()
    text = generate_latest(registry).decode()
    state = world.state()
    for line in (
        f'trimtab_campaign_state{{model="{MODEL}",state="releasing"}} 1.0',
        f'trimtab_campaign_state{{model="{MODEL}",state="idle"}} 0.0',
        f'trimtab_campaigns_total{{model="{MODEL}",outcome="promoted"}} 0.0',
        f'trimtab_rollout_share_ratio{{model="{MODEL}",version="{state.canary}"}} 0.5',
        f'trimtab_rollout_events_total{{event="canaried",model="{MODEL}"}} 1.0',
        'trimtab_runs_total{outcome="succeeded"} 1.0',
        'trimtab_run_cost_seconds_total{resource="cpu",stage="evaluate"} 1.5',
    ):
        assert line in text
    assert f'trimtab_campaign_phase_started_timestamp_seconds{{model="{MODEL}",phase="releasing"}}' in text


def test_a_thousand_alerts_in_a_second_over_http(client: httpx.Client, world: World) -> None:
    answers: list[httpx.Response] = []

    def storm() -> None:
        answers.extend(client.post("/alerts", json=body(alert()), headers=AUTHORIZED) for _ in range(100))

    threads = [threading.Thread(target=storm) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {a.status_code for a in answers} == {202}
    assert {a.json()["campaign"] for a in answers} == {1}
    assert story(world.store)["opened"] == 1


def test_in_the_background_an_alert_leads_to_a_canary(service: HookService, world: World) -> None:
    service.start()
    try:
        service.answer(MODEL, "")
        end = time.monotonic() + 120
        while world.state().canary is None and time.monotonic() < end:
            time.sleep(0.01)
        assert world.state().canary is not None
    finally:
        service.stop()


def test_one_model_in_trouble_does_not_stop_the_others(service: HookService, world: World) -> None:
    world.store.create("models/broken/ledger/00000001.json", b"no record")
    service.answer(MODEL, "")
    assert not service.turn()[0]
    assert world.state().canary is not None
