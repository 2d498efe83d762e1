"""Who may ask for predictions: API keys, stored hashed, compared in constant time, changed without a restart."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

from trimtab.core.errors import RequestError
from trimtab.core.tokens import Entry, TokenFile

# How often the file of keys is looked at: a key that was taken out of it counts no longer than this.
LOOK_SECONDS = 1.0
HINT = "`trimtab keys add NAME` on the server's machine makes a key"


class Keys:
    """The keys of one server; asked once a request, before its body is read.

    A presented key is hashed and found by that hash, then compared in constant time: how long it takes says nothing
    about a key, and costs the same for one key as for a thousand. No key is ever kept.

    Attributes:
        required: whether a key is asked for at all; may change while the server runs.

    Args:
        path: the file of hashed keys (`trimtab.core.tokens`).
        required: see above.
        scope: what a key must be for.
        clock: seconds, monotonic.
        now: seconds since 1970.
    """

    def __init__(
        self,
        path: Path,
        required: bool = True,
        scope: str = "predict",
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.required = required
        self._file = TokenFile(path)
        self._scope = scope
        self._clock, self._now = clock, now
        self._look = float("-inf")
        self._seen: tuple[Entry, ...] = ()
        # digest → the stored digest, whether it is for this, until when, whose.
        self._known: dict[bytes, tuple[bytes, bool, float, str]] = {}

    def check(self, authorization: bytes | None) -> str | None:
        """Whose key it is; None where no key is asked for.

        Args:
            authorization: the header's value.

        Raises:
            RequestError: 401, no key, another one, or one that has ended; 403, it is for something else.
        """
        if not self.required:
            return None
        if self._clock() >= self._look:
            self._read()
        if authorization is None:
            raise _refused("none")
        if authorization[:7].lower() != b"bearer ":
            raise _refused("another scheme")
        presented = sha256(authorization[7:].strip()).digest()
        known = self._known.get(presented)
        if known is None or not hmac.compare_digest(known[0], presented):
            raise _refused("another key")
        _, fits, until, name = known
        if self._now() >= until:
            raise _refused("a key that has ended")
        if not fits:
            raise RequestError(
                403,
                "this key is not for predictions",
                object="Authorization",
                expected=f"a key with the scope {self._scope!r}",
                got="a key for something else",
                hint=HINT,
            )
        return name

    def _read(self) -> None:
        self._look = self._clock() + LOOK_SECONDS
        entries = self._file.refresh()
        if entries is not self._seen:
            self._seen = entries
            self._known = {
                (stored := bytes.fromhex(entry.sha256)): (stored, self._scope in entry.scopes, entry.until, entry.name)
                for entry in entries
                if _is_digest(entry.sha256)
            }


def key_required(told: bool | None, host: str, auths: Sequence[str]) -> bool:
    """Whether predictions need a key: as the command line says, else the strictest project, else by who can come.

    Args:
        told: what the command line said, or None.
        host: where the server answers.
        auths: `serving.auth` of each version that serves.
    """
    if told is not None:
        return told
    if "key" in auths:
        return True
    open_to_all = bool(auths) and all(auth == "open" for auth in auths)
    return not open_to_all and not is_loopback(host)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server on that host.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    return host == "localhost" or host == "::1" or host.startswith("127.")


def _is_digest(text: str) -> bool:
    try:
        return len(bytes.fromhex(text)) == 32
    except ValueError:
        return False


def _refused(got: str) -> RequestError:
    return RequestError(
        401,
        "predictions need a key that this server accepts",
        object="Authorization",
        expected="Bearer <key>",
        got=got,
        hint=HINT,
    )
