"""Signing in to the hook's pages: a browser has no bearer header, so a token is entered once and a cookie kept.

The cookie holds a random name, never the token; what it stands for lives in this process alone, and every look checks
that the token is still an accepted one. It opens pages that are read, nothing else: alerts want the header.
"""

from __future__ import annotations

import html
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from trimtab.monitoring.markup import document

if TYPE_CHECKING:
    from trimtab.core.tokens import TokenFile

COOKIE = "trimtab_session"
SECONDS = 12 * 3600
MOST = 1000
# A form with one token: what is longer is none.
MAX_FORM = 8 * 1024


class Sessions:
    """Who has signed in; bounded, the oldest goes first.

    Args:
        tokens: the accepted tokens.
        clock: seconds, monotonic.
    """

    def __init__(self, tokens: TokenFile, clock: Callable[[], float] = time.monotonic) -> None:
        self.tokens = tokens
        self.clock = clock
        self._lock = threading.Lock()
        self._open: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def open(self, token: str) -> str | None:
        """A new session's name; None where the token is not accepted."""
        if not self.tokens.accepts(token):
            return None
        name = secrets.token_urlsafe(32)
        with self._lock:
            self._open[name] = (token, self.clock() + SECONDS)
            while len(self._open) > MOST:
                self._open.popitem(last=False)
        return name

    def accepts(self, name: str) -> bool:
        """Whether the session is open and its token still accepted."""
        with self._lock:
            token, end = self._open.get(name, ("", 0.0))
        if token and self.clock() < end and self.tokens.accepts(token):
            return True
        self.close(name)
        return False

    def close(self, name: str) -> None:
        """Sign out."""
        with self._lock:
            self._open.pop(name, None)


def read_form(body: bytes) -> tuple[str, str]:
    """Token and next address of a sent form.

    >>> read_form(b"token=abc&next=%2Fcampaigns%2F")
    ('abc', '/campaigns/')
    """
    found = parse_qs(body.decode("ascii", errors="replace"))
    return found.get("token", [""])[0].strip(), local(found.get("next", ["/"])[0])


def local(address: str) -> str:
    r"""The address where it leads into this server, else the first page: a link must not send people elsewhere.

    >>> local("/windows/toy/"), local("//evil.example/"), local("https://evil.example/"), local("/\\evil.example")
    ('/windows/toy/', '/', '/', '/')
    """
    plain = address.startswith("/") and not address.startswith("//")
    return address if plain and "\\" not in address and address.isprintable() else "/"


def form(address: str, wrong: bool = False) -> str:
    """The page that asks for a token, and leads on to an address."""
    said = '<p class="bad" role="alert">That token is not accepted.</p>' if wrong else ""
    return document(
        "Sign in",
        f"""{said}<form method="post" action="/sign-in">
<p><label for="token">Token</label> <input id="token" name="token" type="password" autocomplete="current-password"
required autofocus></p><input type="hidden" name="next" value="{html.escape(local(address))}">
<p><button type="submit">Sign in</button></p></form>
<p class="dim">It is the line in the token file of whoever runs this hook: <code>~/.config/trimtab/token</code> on a
laptop, or the file that <code>TRIMTAB_TOKEN_FILE</code> names.</p>""",
        home=False,
    )
