"""A Chromium for the tests of the page: the system's own where there is one, else Debian's package.

Playwright drives it; its own download of a browser is not used.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from tests.servers import packages

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
PACKAGES = ("chromium", "fonts-dejavu-core")
WAY_ROUND = (
    "  Install Chromium or Chrome as your system does (apt-get install chromium; brew install --cask google-chrome)\n"
    "  so that it is on PATH, or name the program: TRIMTAB_TEST_CHROMIUM=<file>"
)


def find() -> Path | None:
    """The browser's program: the named one, or else one on PATH."""
    given = os.environ.get("TRIMTAB_TEST_CHROMIUM")
    if given:
        return Path(given) if os.access(given, os.X_OK) else None
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return Path(found) if found else MAC if os.access(MAC, os.X_OK) else None


def install() -> int:
    """Install a browser where none is found; 0 when tests have one."""
    if find() is not None:
        return 0
    if os.environ.get("TRIMTAB_TEST_CHROMIUM"):
        return _cannot("TRIMTAB_TEST_CHROMIUM names no program", 2)
    if shutil.which("apt-get") is None:
        return _cannot("no Chromium or Chrome, and no Debian packages here", 2)
    if said := packages.install(*PACKAGES):
        return _cannot(f"no Chromium or Chrome: {said}", 1)
    return 0 if find() is not None else _cannot("Debian's package brought no chromium on PATH", 1)


def _cannot(why: str, code: int) -> int:
    print(f"make servers: {why}.\n{WAY_ROUND}", file=sys.stderr)
    return code
