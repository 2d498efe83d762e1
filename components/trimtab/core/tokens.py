"""Bearer tokens: made on first use, stored hashed, compared in constant time, reread when the file changes.

A token has 256 random bits, so a plain SHA-256 of it is enough: there is nothing to guess.
The file that a server accepts (`TRIMTAB_TOKENS`): `{"tokens": [{"name": "...", "sha256": "<64 hex>"}]}`. An entry may
say what it is for (`"scopes": ["predict"]`; without, everything) and until when it counts (`"expires"`, RFC 3339).
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from trimtab.core.errors import ProjectError
from trimtab.core.settings import Settings

# predict: V1 and V2; feedback: labels; operate: the hook's alerts, status and records.
SCOPES = ("predict", "feedback", "operate")


class Entry(NamedTuple):
    """One accepted token, as the file has it.

    Attributes:
        name: whose it is, or what for.
        sha256: the token's hash, 64 hex digits.
        scopes: what it may be used for.
        expires: until when, RFC 3339; empty: for ever.
    """

    name: str
    sha256: str
    scopes: tuple[str, ...] = SCOPES
    expires: str = ""

    @property
    def until(self) -> float:
        """Until when it counts, seconds since 1970."""
        return datetime.fromisoformat(self.expires).timestamp() if self.expires else float("inf")


def ensure_token(settings: Settings) -> str:
    """One's own token (`settings.token_file`); on first use made, kept with mode 0600, and entered as accepted.

    Safe to call from several processes at once: they all get the same token.

    Raises:
        ProjectError: the token file is empty, or the file of accepted tokens cannot be read.
    """
    path = settings.token_file
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass  # another process was first: its token is the token
        finally:
            fresh.unlink()
    token = path.read_text().strip()
    if not token:
        raise ProjectError("the token file is empty", object=str(path), hint="delete it, a new one is made on next use")
    if not TokenFile(settings.tokens).accepts(token):
        accept(settings.tokens, token)
    return token


def fresh() -> str:
    """A new token: 256 random bits as text."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """The hash under which a token is stored, 64 hex digits."""
    return hashlib.sha256(token.encode()).hexdigest()


def accept(path: Path, token: str, name: str = "local", scopes: tuple[str, ...] = SCOPES, expires: str = "") -> None:
    """Enter a token into a file of accepted ones; one that is there stays as it is."""

    def add(entries: list[Entry]) -> list[Entry]:
        if any(entry.sha256 == digest(token) for entry in entries):
            return entries
        return [*entries, Entry(name, digest(token), scopes, expires)]

    change(path, add)


def expire(path: Path, name: str, expires: str) -> int:
    """Let every token of that name end at a moment (RFC 3339), unless it ends before; returns how many there are."""
    last = datetime.fromisoformat(expires).timestamp()
    found = 0

    def end(entries: list[Entry]) -> list[Entry]:
        nonlocal found
        found = sum(entry.name == name for entry in entries)
        return [e._replace(expires=expires) if e.name == name and e.until > last else e for e in entries]

    change(path, end)
    return found


def revoke(path: Path, name: str) -> int:
    """Take every token of that name out of the file; returns how many there were."""
    found = 0

    def take(entries: list[Entry]) -> list[Entry]:
        nonlocal found
        found = sum(entry.name == name for entry in entries)
        return [entry for entry in entries if entry.name != name]

    change(path, take)
    return found


def change(path: Path, how: Callable[[list[Entry]], list[Entry]]) -> None:
    """Replace a file of accepted tokens, whole and under a lock.

    Raises:
        ProjectError: there is a file, and it is no such one, or it would have to change and lies where nobody may write
            (a mounted Secret).
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        held = path.with_name(f".{path.name}.lock").open("w")
    except OSError as error:
        entries = read_entries(path) if path.exists() else []
        if path.exists() and how(entries) == entries:
            return
        raise ProjectError(
            f"the file of accepted tokens cannot be changed: {error.strerror}",
            object=str(path),
            hint="name a token that it holds with TRIMTAB_TOKEN_FILE, or add one where the file comes from",
        ) from None
    with held as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        entries = read_entries(path) if path.exists() else []
        changed = how(entries)
        if changed == entries and path.exists():
            return
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_text(json.dumps({"tokens": [_written(entry) for entry in changed]}, indent=2) + "\n")
        fresh.chmod(0o600)
        fresh.replace(path)


class TokenFile:
    """The tokens that a process accepts; a change of the file counts at once, without a restart.

    Args:
        path: the file of hashed tokens; while it is missing or unreadable no token is accepted.
        scope: what they must be for.
    """

    def __init__(self, path: Path, scope: str = "operate") -> None:
        self.path = path
        self.scope = scope
        self._stamp: tuple[int, int, int] | None = None
        self._entries: tuple[Entry, ...] = ()

    def accepts(self, token: str) -> bool:
        """Whether the token is one of the file's, for this scope, today."""
        self.refresh()
        presented = digest(token).encode()
        found = False
        now = time.time()
        for entry in self._entries:  # every one is compared, whichever matches
            same = hmac.compare_digest(entry.sha256.encode(), presented)
            found |= same and self.scope in entry.scopes and now < entry.until
        return found and bool(token)

    def accepts_header(self, authorization: str) -> bool:
        """Whether an `Authorization` header carries an accepted bearer token."""
        scheme, _, token = authorization.partition(" ")
        return scheme.lower() == "bearer" and self.accepts(token.strip())

    def refresh(self) -> tuple[Entry, ...]:
        """The file's entries, read again where it changed; none while it cannot be read."""
        try:
            stat = self.path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if stamp != self._stamp:
                self._entries = tuple(read_entries(self.path))
                self._stamp = stamp
        except (OSError, ProjectError):
            self._stamp, self._entries = None, ()
        return self._entries


def read_entries(path: Path) -> list[Entry]:
    """The entries of a file of accepted tokens.

    Raises:
        ProjectError: it is no such file.
    """
    try:
        return [_entry(entry) for entry in json.loads(path.read_text())["tokens"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ProjectError(
            "not a file of tokens",
            object=str(path),
            expected='{"tokens": [{"name": "…", "sha256": "…"}]}',
            hint="delete it; the next command that needs a token makes a new one",
        ) from None


def _entry(entry: dict[str, Any]) -> Entry:
    scopes = entry.get("scopes", SCOPES)
    if isinstance(scopes, str) or not set(scopes) <= set(SCOPES):
        raise ValueError
    expires = str(entry.get("expires", ""))
    if expires and datetime.fromisoformat(expires).tzinfo is None:
        raise ValueError
    return Entry(str(entry.get("name", "")), str(entry["sha256"]), tuple(scopes), expires)


def _written(entry: Entry) -> dict[str, Any]:
    written: dict[str, Any] = {"name": entry.name, "sha256": entry.sha256}
    if entry.scopes != SCOPES:
        written["scopes"] = list(entry.scopes)
    if entry.expires:
        written["expires"] = entry.expires
    return written
