"""A real Chromium, driven by Playwright; whatever a page loads from elsewhere or complains about fails its test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.servers.install_browser import WAY_ROUND, find

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# No connections of the browser's own: to update itself, to look names up, to test the network.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The browser, for all tests of a module."""
    from playwright.sync_api import sync_playwright

    program = find()
    assert program is not None, f"no Chromium to test the page with: run `make servers`\n{WAY_ROUND}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(program), args=ARGUMENTS, timeout=240_000)
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser: Browser, url: str, path: str = "/", troubles: bool = False, **options: Any) -> Iterator[Page]:
    """A page in a window of its own.

    Args:
        browser: the browser.
        url: the server's.
        path: where to go.
        troubles: the page is expected to write errors to the console (a refused request does).
        options: of the window: viewport, colour scheme, …
    """
    context = browser.new_context(locale="en-GB", timezone_id="UTC", **options)
    context.set_default_timeout(120_000)  # for what never comes, not for a slow machine
    page = context.new_page()
    said: list[str] = []
    asked: set[str] = set()
    page.on("console", lambda message: said.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
    try:
        page.goto(url + path)
        yield page
        assert asked - {""} == {urlsplit(url).netloc}, "loaded from elsewhere"
        assert troubles or said == []
    finally:
        context.close()
