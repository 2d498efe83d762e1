"""The page in a real Chromium: drawing, forms, answers, labels, card, slider, keys; on a phone, light and dark."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.serving.browser import PHONE, chromium, opened
from tests.serving.bundles import Place, Running, running

from trimtab.core import labels

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

METRICS = {"accuracy": {"value": 0.95, "low": 0.939, "high": 0.96}}
TASK = {"statement": "Who is about to leave?", "rows_per_day": 1000}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("page"), {"TRIMTAB_HOOK_URL": "http://127.0.0.1:8090"})
    for name, kind, threshold in (("digits", "digits", None), ("demand", "numbers", None), ("churn", "mixed", 0.38)):
        version = place.publish(name, kind, card=True, metrics=METRICS, task=TASK, threshold=threshold)
        place.say(name, "promoted", version)
    return place


@pytest.fixture(scope="module")
def digits(place: Place) -> Iterator[Running]:
    with running(place, "digits") as server:
        yield server


@pytest.fixture(scope="module")
def churn(place: Place) -> Iterator[Running]:
    with running(place, "churn") as server:
        yield server


@pytest.fixture(scope="module")
def demand(place: Place) -> Iterator[Running]:
    with running(place, "demand", "--require-key") as server:
        yield server


def token(place: Place) -> str:
    return place.settings.token_file.read_text().strip()


def pixels(page: Page) -> list[int]:
    """The red parts of what the canvas shows, 0 to 255."""
    script = "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].filter((_, i) => i % 4 === 0)"
    found: list[int] = page.locator("canvas").evaluate(script)
    return found


def predict(page: Page) -> str:
    """Press the button; the label that comes, or what the page complains of."""
    with page.expect_response("**:predict") as got:
        page.get_by_role("button", name="Predict").click()
    assert got.value.ok, got.value.text()
    page.locator("#facts", has_text=got.value.headers["x-prediction-id"]).wait_for()
    assert page.locator("#problem").inner_text() == ""
    return page.locator("#label").inner_text()


def findings(page: Page) -> list[tuple[str, Any]]:
    """What axe finds, and where."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [(one["id"], [node["target"] for node in one["nodes"]]) for one in found]


def png(width: int, height: int, grey: int) -> bytes:
    """An even grey picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes([grey]) * width for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_a_drawn_digit_is_answered_and_labelled(browser: Browser, digits: Running, place: Place) -> None:
    with opened(browser, digits.url, troubles=True) as page:
        canvas = page.locator("canvas")
        box = canvas.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 20, steps=2)
        page.mouse.up()
        drawn = pixels(page)
        column = [max(drawn[8 * row : 8 * row + 8]) for row in range(1, 7)]
        assert min(column) > 100, "a fast stroke has no gaps"
        label = predict(page)
        shares = page.locator("#bars td.value").all_inner_texts()
        assert len(shares) == 10
        assert sum(float(share.removesuffix(" %")) for share in shares) == pytest.approx(100, abs=1)
        assert page.locator("#bars th").first.inner_text() == label
        version = digits.get("/page.json")[1]["versions"][0]
        facts = page.locator("#facts").inner_text()
        assert re.search(rf"version {version} answered in [0-9.]+ ms", facts)
        found = re.search(r"[0-9a-f-]{36}-0", facts)
        assert found is not None

        page.get_by_label("The truth").select_option("3")
        page.get_by_role("button", name="Send the label").click()
        page.get_by_label("Key or token").fill("wrong")
        page.get_by_role("button", name="Use it").click()
        page.locator("#key-why", has_text="token").wait_for()
        page.get_by_label("Key or token").fill(token(place))
        page.keyboard.press("Enter")
        page.locator("#told", has_text="is kept").wait_for()
    digits.until(lambda: list(labels.list_files(place.store, "digits")))
    rows = labels.read_files(place.store, labels.list_files(place.store, "digits")).to_pylist()
    assert (found[0], "3", "page") in [(row["_id"], row["value"], row["source"]) for row in rows]


@pytest.mark.campaign
def test_keys_alone_draw_clear_invert_and_ask(browser: Browser, digits: Running) -> None:
    with opened(browser, digits.url) as page:
        page.locator("canvas").wait_for()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.tagName") == "CANVAS"
        for key in ("ArrowUp", "ArrowLeft", "Space"):
            page.keyboard.press(key)
        page.keyboard.press("Tab")
        assert pixels(page)[8 * 3 + 3] > 200
        assert page.evaluate("document.activeElement.textContent") == "Clear"
        page.keyboard.press("Space")
        assert max(pixels(page)) == 0
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert min(pixels(page)) == 255
        for _ in range(4):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent") == "Predict":
                break
        page.keyboard.press("Enter")
        page.locator("#facts", has_text="answered in").wait_for()


@pytest.mark.campaign
def test_files_and_examples_fill_the_picture(browser: Browser, digits: Running, tmp_path: Path) -> None:
    with opened(browser, digits.url) as page:
        page.get_by_label("or take a file:").set_input_files(
            {"name": "grey.png", "mimeType": "image/png", "buffer": png(40, 30, 128)}
        )
        digits.until(lambda: pixels(page)[0] > 0)
        assert set(pixels(page)) <= set(range(124, 133))
        page.get_by_label("or take a file:").set_input_files(
            {"name": "no.png", "mimeType": "image/png", "buffer": b"no picture"}
        )
        page.get_by_role("alert").filter(has_text="no image that this browser can read").wait_for()
        page.get_by_role("button", name="Fill in an example").click()
        digits.until(lambda: page.locator("#problem").text_content() == "")
        digits.until(lambda: len(set(pixels(page))) > 20)
        predict(page)


@pytest.mark.campaign
def test_a_canary_is_named_with_its_share(browser: Browser, tmp_path: Path) -> None:
    place = Place(tmp_path)
    champion = place.serve("digits", "digits")
    canary = place.publish("digits", "digits", seed=1)
    place.say("digits", "canaried", canary, percent=60)
    with running(place, "digits") as server:
        server.until(lambda: len(server.get("/page.json")[1]["versions"]) == 2)
        with opened(browser, server.url) as page:
            page.locator("#about", has_text=f"{champion}, and {canary} for 60 % of the requests").wait_for()
            answered = set()
            for _ in range(30):
                predict(page)
                found = re.search(r"v\d+-[0-9a-f]{8}", page.locator("#facts").inner_text())
                assert found is not None
                answered.add(found[0])
            assert answered == {champion, canary}


@pytest.mark.campaign
def test_an_image_in_colour_is_drawn_in_colour(browser: Browser, place: Place) -> None:
    place.serve("fruit", "photo")
    with running(place, "fruit") as server, opened(browser, server.url) as page:
        page.get_by_label("Colour").fill("#20c040")
        page.locator("canvas").press("Space")
        script = "c => [...c.getContext('2d').getImageData(2, 3, 1, 1).data]"
        page.get_by_label("weight").focus()
        assert page.locator("canvas").evaluate(script) == [0x20, 0xC0, 0x40, 255]
        page.get_by_label("weight").fill("80,5")
        assert predict(page) in {"apple", "lime", "plum"}
        assert page.get_by_role("slider").count() == 0, "this version carries no counts"
        assert page.get_by_role("region", name="The model's card").is_visible()


def test_the_form_is_made_from_the_schema(browser: Browser, churn: Running) -> None:
    with opened(browser, churn.url, troubles=True) as page:
        assert page.get_by_label("age").input_value() == "60"
        assert "years · usually 0 to 120" in page.locator("#fields").inner_text()
        assert page.get_by_label("plan", exact=True).locator("option").all_inner_texts() == [
            "(missing)", "basic", "plus", "another value …",
        ]  # fmt: skip
        assert page.get_by_label("email").count() == page.get_by_label("name", exact=True).count() == 0, "private"
        page.get_by_text("Kept with the prediction").click()
        page.get_by_label("customer").fill("c-17")
        page.get_by_label("seen").fill("2026-11-21T14:05:00")
        page.get_by_label("plan", exact=True).select_option("another value …")
        page.get_by_label("plan: another value").fill("gold")
        assert predict(page) in {"no", "yes"}
        page.get_by_label("age").fill("old")
        page.get_by_role("button", name="Predict").click()
        page.get_by_role("alert").filter(has_text="“old” is no number").wait_for()
        assert page.get_by_label("age").get_attribute("aria-invalid") == "true"
        assert page.evaluate("document.activeElement.id") == "field-age"
        page.get_by_label("age").fill("1e39")
        page.get_by_role("button", name="Predict").click()
        page.get_by_role("alert").filter(has_text="age").wait_for()
        assert page.evaluate("document.activeElement.id") == "field-age", "the server's refusal names the field"


def curve_of(server: Running, headers: dict[str, str] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = server.get("/page.json")[1]["card"]["curve"]
    return found


@pytest.mark.campaign
def test_the_slider_counts_a_day_s_mistakes(browser: Browser, churn: Running) -> None:
    curve = curve_of(churn)
    with opened(browser, churn.url) as page:
        predict(page)
        slider = page.get_by_role("slider")
        assert slider.input_value() == "38", "it starts where the server stands"
        slider.fill("30")
        page.get_by_label("Answers a day").fill(str(10 * curve["rows"]))
        missed, alarms, positives = 10 * curve["missed"][30], 10 * curve["alarms"][30], 10 * curve["positives"]
        words = page.locator("#costs").inner_text()
        assert f"{missed:,} of {positives:,} “yes” a day are missed" in words
        assert f"{alarms:,} of {10 * curve['rows'] - positives:,} “no” are taken for it" in words
        assert words in (slider.get_attribute("aria-valuetext") or "")
        slider.fill("0")
        assert page.locator("#otherwise").inner_text() == "Where the slider stands it would be “yes”."
        slider.focus()
        page.keyboard.press("End")
        assert page.locator("#otherwise").inner_text() == "Where the slider stands it would be “no”."


@pytest.mark.campaign
def test_many_classes_leave_answers_to_a_person(browser: Browser, digits: Running) -> None:
    curve = curve_of(digits)
    with opened(browser, digits.url) as page:
        page.get_by_label("Answers a day").fill(str(curve["rows"]))
        page.get_by_role("slider").fill("60")
        left, wrong = curve["left"][60], curve["wrong"][60]
        assert f"{wrong} of {curve['rows'] - left} answers a day are wrong, {left} are left" in (
            page.locator("#costs").inner_text()
        )


def test_the_card_says_how_good_it_is_and_where_to_read_on(browser: Browser, churn: Running) -> None:
    with opened(browser, churn.url) as page:
        card = page.get_by_role("region", name="The model's card")
        for words in ("Expect about 50 of 1,000", TASK["statement"], "0.95 (0.939 to 0.96)", "v1-"):
            assert str(words) in card.inner_text()
        links = card.get_by_role("link")
        addresses = {link.inner_text(): link.get_attribute("href") or "" for link in links.all()}
        assert addresses["Drift: every window and its verdict"] == "http://127.0.0.1:8090/windows/churn/"
        assert addresses["Campaigns: what was retrained, and why"] == "http://127.0.0.1:8090/campaigns/churn/"
        page.get_by_role("link", name="How to call it: the API").click()
        page.wait_for_url("**/docs")
        page.go_back()
        page.get_by_role("link", name="The whole evaluation report").click()
        assert page.get_by_role("heading").inner_text() == "How good is it?"


def test_a_server_that_asks_for_a_key_shows_nothing_without(browser: Browser, demand: Running, place: Place) -> None:
    for path in ("/page.json", "/page/examples.json", "/page/report.html", "/page/report.html?ticket=no"):
        assert demand.get(path)[0] == 401, path
    with opened(browser, demand.url, troubles=True) as page:
        dialog = page.get_by_role("dialog", name="This server asks for a key")
        dialog.wait_for()
        assert findings(page) == []
        page.keyboard.press("Escape")
        page.locator("#about.bad", has_text="key").wait_for()
        page.reload()
        page.get_by_label("Key or token").fill(token(place))
        page.get_by_role("button", name="Use it").click()
        page.get_by_role("button", name="Fill in an example").click()
        demand.until(lambda: page.locator("#field-a").input_value() != "")
        assert re.fullmatch(r"-?[0-9.e-]+", predict(page))
        assert page.locator("#bars").is_hidden()
        assert "answers a day are further off" in page.locator("#costs").inner_text()
        page.get_by_role("link", name="The whole evaluation report").click()
        assert page.get_by_role("heading").inner_text() == "How good is it?"


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("digits", "light"),
        ("churn", "dark"),
        pytest.param("digits", "dark", marks=pytest.mark.campaign),
        pytest.param("churn", "light", marks=pytest.mark.campaign),
    ],
)
def test_nothing_keeps_anybody_out(browser: Browser, request: Any, name: str, scheme: str) -> None:
    """No finding of axe (WCAG 2.2 A and AA: names, roles, contrast, structure), before and after an answer."""
    server: Running = request.getfixturevalue(name)
    with opened(browser, server.url, color_scheme=scheme) as page:
        page.get_by_role("slider").wait_for()
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        for _ in range(2):
            assert findings(page) == []
            predict(page)


@pytest.mark.parametrize("name", [pytest.param("digits", marks=pytest.mark.campaign), "churn"])
def test_a_phone_shows_all_of_it_in_one_column(browser: Browser, request: Any, name: str) -> None:
    server: Running = request.getfixturevalue(name)
    with opened(browser, server.url, **PHONE) as page:
        page.get_by_role("slider").wait_for()
        if name == "digits":
            page.locator("canvas").tap()
            assert max(pixels(page)) > 0
        predict(page)
        assert page.locator("#label").evaluate("node => node.getBoundingClientRect().bottom <= innerHeight")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, "nothing sticks out"
        edges = {round(box["x"]) for one in page.locator("main > section").all() if (box := one.bounding_box())}
        assert len(edges) == 1
        small = [
            one.evaluate("node => node.outerHTML")
            for one in page.locator("button:visible, select:visible, summary:visible").all()
            if (box := one.bounding_box()) and box["height"] < 40
        ]
        assert small == [], "large enough for a finger"


def test_the_browser_is_told_that_nothing_comes_from_elsewhere(digits: Running) -> None:
    import httpx

    with httpx.Client(base_url=digits.url, headers={"Accept": "text/html"}) as client:
        page = client.get("/")
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe-inline" not in policy
        assert client.get("/", headers={"If-None-Match": page.headers["etag"]}).status_code == 304
        assert client.get("/page/page.js").headers["content-type"].startswith("text/javascript")
        assert client.get("/page/../site.py").status_code == 404
        assert client.get("/page/%2e%2e%2fsite.py").status_code == 404
        report = client.get("/page/report.html")
        assert "sandbox" in report.headers["content-security-policy"]
        assert client.head("/").status_code == 200
