"""The hook's pages: who may look, what they show, and that nothing of the data becomes markup or leads elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
from tests.monitoring.test_campaign import ROLLOUT
from tests.monitoring.test_hook import AUTHORIZED, TOKEN, alert, body, serving
from tests.monitoring.world import MODEL, START, Place, Runs, World

from trimtab.core.store import Store
from trimtab.core.tokens import TokenFile, accept
from trimtab.monitoring import markup, pages, runbooks
from trimtab.monitoring.hook import make_app
from trimtab.monitoring.hook_service import HookService
from trimtab.monitoring.sign_in import MOST, SECONDS, Sessions

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
EVIL = '<script>alert("1")</script>'


@pytest.fixture
def world(store: Store, tmp_path: Path) -> World:
    made = World(store, tmp_path, {"rollout": ROLLOUT, "campaign": {"follow_ups": 0}})
    version = made.champion()
    made.log(version, START, [i % 2 == 0 for i in range(40)])
    made.verdict(
        version,
        1,
        words=f"realised accuracy fell {EVIL}",
        fields=[{"name": "x", "effect": 0.31, "unit": "sd", "p": 1e-9, "words": "x is 0.31 sd higher"}],
        performance={"metric": "accuracy", "reference": {"value": 0.93512, "low": 0.9, "high": 0.95}},
    )
    return made


@pytest.fixture
def browser(world: World, tmp_path: Path) -> Iterator[httpx.Client]:
    service = HookService(world.store, Runs(world), Place(), poll_seconds=0.01)
    accept(tmp_path / "tokens.json", TOKEN)
    app = make_app(service.store, TokenFile(tmp_path / "tokens.json"), service.answers, service.status)
    with serving(app) as url, httpx.Client(base_url=url, headers=BROWSER, timeout=30) as client:
        client.post("/alerts", json=body(alert()), headers=AUTHORIZED)
        service.round()
        yield client


def sign_in(browser: httpx.Client, token: str = TOKEN, address: str = "/") -> httpx.Response:
    return browser.post("/sign-in", data={"token": token, "next": address})


class Balanced(HTMLParser):
    """Fails on a tag that is closed but was not opened, or never closed."""

    VOID = frozenset({"meta", "link", "input", "br", "hr", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_browser_is_asked_to_sign_in_and_led_back(browser: httpx.Client) -> None:
    asked = browser.get(f"/campaigns/{MODEL}/?from=alert")
    assert asked.status_code == 401
    assert f'value="/campaigns/{MODEL}/?from=alert"' in asked.text
    assert browser.get("/").status_code == 401
    assert sign_in(browser, "wrong").status_code == 401
    assert not browser.cookies
    answer = sign_in(browser, address=f"/campaigns/{MODEL}/")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/campaigns/{MODEL}/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert TOKEN not in cookie
    assert browser.get(f"/campaigns/{MODEL}/").status_code == 200
    browser.post("/sign-out")
    assert browser.get(f"/campaigns/{MODEL}/").status_code == 401


@pytest.mark.timeout(60)
def test_every_page_leads_only_to_pages_that_are_there(browser: httpx.Client, world: World) -> None:
    world.store.put(f"reports/{MODEL}/one.html", b"<p>drift</p>")
    for window in (2, 3):
        world.verdict(world.state().champion or "", window)
    sign_in(browser)
    waiting, seen = ["/", "/reports/", "/windows/", "/campaigns/", "/runbooks/"], set[str]()
    while waiting:
        address = waiting.pop()
        if address in seen:
            continue
        seen.add(address)
        answer = browser.get(address)
        assert answer.status_code == 200, address
        if answer.headers["content-type"].startswith("text/html") and not address.endswith(".html"):
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            page = Balanced()
            page.feed(answer.text)
            assert page.open == []
            waiting += [urljoin(address, link) for link in re.findall(r'href="([^":]*)"', answer.text)]
    assert f"/campaigns/{MODEL}/1" in seen
    assert any(re.fullmatch(rf"/windows/{MODEL}/v1-[0-9a-f]+/[123]", one) for one in seen)
    assert any(one.endswith("/opened.json") for one in seen)
    assert {f"/reports/{MODEL}/one.html", "/runbooks/TrimtabDrift", "/runbooks/TrimtabHookDown.md"} <= seen


def test_a_window_tells_its_verdict_in_words_and_numbers(browser: httpx.Client, world: World) -> None:
    sign_in(browser)
    version = world.state().champion
    for address in (f"/windows/{MODEL}/{version}/1", f"/windows/{MODEL}/{version}/00000001/"):
        text = browser.get(address).text
        for said in (
            "realised accuracy fell",
            "0.9351",
            "x is 0.31 sd higher",
            "cannot tell",
            "2026-11-21 08:00:00 UTC",
        ):
            assert said in text
        assert EVIL not in text
        assert "&lt;script&gt;" in text


def test_a_campaign_tells_its_story(browser: httpx.Client) -> None:
    sign_in(browser)
    text = browser.get(f"/campaigns/{MODEL}/1").text
    for said in ("Retrain 1", "Pipeline run", "Judged", "releasing", "Waits for"):
        assert said in text
    ledger = browser.get(f"/campaigns/{MODEL}/").text
    assert "was promoted" in ledger


def test_programs_still_get_json(browser: httpx.Client) -> None:
    listed = browser.get(f"/campaigns/{MODEL}/", headers={**AUTHORIZED, "Accept": "*/*"}).json()["keys"]
    assert f"campaigns/{MODEL}/00000001/opened.json" in listed
    refused = browser.get(f"/campaigns/{MODEL}/", headers={"Accept": "application/json"})
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")


def test_a_session_reads_and_does_nothing_else(browser: httpx.Client) -> None:
    sign_in(browser)
    assert browser.get("/status").status_code == 200
    assert browser.post("/alerts", json=body(alert())).status_code == 401


@pytest.mark.parametrize("address", ["//evil.example/", "https://evil.example/", "/\\evil.example", "evil"])
def test_signing_in_never_leads_elsewhere(browser: httpx.Client, address: str) -> None:
    assert sign_in(browser, address=address).headers["location"] == "/"
    assert "evil" not in browser.get("/sign-in", params={"next": address}).text


def test_a_huge_form_is_413(browser: httpx.Client) -> None:
    assert browser.post("/sign-in", content=b"token=" + b"a" * 20_000).status_code == 413


def test_what_is_not_there_is_404(browser: httpx.Client) -> None:
    sign_in(browser)
    for address in (
        "/windows/none/", "/windows/toy/v1-none/7", "/campaigns/toy/7", "/campaigns/toy/x", "/reports/none/",
        "/windows/toy/v1-none/99999999999999999999", "/campaigns/toy/99999999999999999999", "/nowhere/x",
        "/models/toy/", "/runbooks/none", "/runbooks/..%2F..%2Fpyproject", "/windows/../models/",
    ):  # fmt: skip
        answer = browser.get(address)
        assert answer.status_code == 404, address
        assert answer.headers["content-type"].startswith("text/html"), address


@pytest.mark.parametrize("kind", ["windows", "campaigns", "reports"])
def test_a_list_of_keys_is_for_programs_alone(browser: httpx.Client, world: World, kind: str) -> None:
    world.store.put(f"reports/{MODEL}/one.html", b"<p>drift</p>")
    sign_in(browser)
    page = browser.get(f"/{kind}/")
    assert page.headers["content-type"].startswith("text/html")
    assert f'href="/{kind}/{MODEL}/"' in page.text
    assert browser.get(f"/{kind}/", headers={"Accept": "*/*"}).json()["keys"]


@pytest.mark.parametrize(
    "address", ["/", "/healthz", "/status", f"/windows/{MODEL}/", "/runbooks/TrimtabDrift", "/sign-in"]
)
def test_head_is_answered_as_get_without_the_body(browser: httpx.Client, address: str) -> None:
    assert browser.head("/").status_code == 401
    sign_in(browser)
    asked, got = browser.head(address), browser.get(address)
    assert (asked.status_code, asked.content) == (200, b"")
    assert asked.headers["content-type"] == got.headers["content-type"]


def test_sessions_end_by_time_by_token_and_by_number(tmp_path: Path) -> None:
    path, now = tmp_path / "tokens.json", [0.0]
    accept(path, "one")
    sessions = Sessions(TokenFile(path), clock=lambda: now[0])
    first = sessions.open("one")
    assert first is not None
    assert sessions.open("two") is None
    assert sessions.accepts(first)
    assert not sessions.accepts("")
    last = [sessions.open("one") for _ in range(MOST)][-1]
    assert last is not None
    assert not sessions.accepts(first)
    now[0] = SECONDS + 1
    assert not sessions.accepts(last)
    fresh = sessions.open("one")
    assert fresh is not None
    path.write_text('{"tokens": []}')
    assert not sessions.accepts(fresh)


def test_a_runbook_is_rendered_without_its_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "TrimtabDrift.md").write_text(
        f"# Meaning\n\n{EVIL} [a](javascript:alert(1)) `up == 0`\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    )
    monkeypatch.setattr(runbooks, "PLACES", (tmp_path,))
    page = runbooks.page("TrimtabDrift")
    assert page is not None
    assert "<h1>Meaning</h1>" in page
    assert "<td>1</td>" in page
    assert EVIL not in page
    assert 'href="javascript' not in page
    assert runbooks.page("../TrimtabDrift") is None
    assert "TrimtabDrift" in runbooks.index()


def test_a_model_without_anything_has_a_page(world: World) -> None:
    text = pages.home(world.store, [MODEL, "fresh"])
    assert "nothing yet" in text
    assert "no window yet" in text


def test_addresses_are_quoted() -> None:
    assert markup.link("/windows/a b/\"x'", "<x>") == '<a href="/windows/a%20b/%22x%27">&lt;x&gt;</a>'


def test_who_signed_in_may_read_but_sends_no_alert(browser: httpx.Client) -> None:
    sign_in(browser)
    assert browser.get("/status").status_code == 200
    assert browser.post("/alerts", json=body(alert())).status_code == 401
