"""Bearer tokens: made on first use, stored hashed, compared in constant time, reread when the file changes.

A token has 256 random bits, so a plain SHA-256 of it is enough: there is nothing to guess.
The file that a server accepts (`TRIMTAB_TOKENS`): `{"tokens": [{"name": "...", "sha256": "<64 hex>"}]}`.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import secrets
from pathlib import Path

from trimtab.core.errors import ProjectError
from trimtab.core.settings import Settings


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


def digest(token: str) -> str:
    """The hash under which a token is stored, 64 hex digits."""
    return hashlib.sha256(token.encode()).hexdigest()


def accept(path: Path, token: str, name: str = "local") -> None:
    """Enter a token into a file of accepted ones; the file is replaced whole, under a lock."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        entries = _read(path) if path.exists() else []
        if any(entry["sha256"] == digest(token) for entry in entries):
            return
        entries.append({"name": name, "sha256": digest(token)})
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_text(json.dumps({"tokens": entries}, indent=2) + "\n")
        fresh.chmod(0o600)
        fresh.replace(path)


class TokenFile:
    """The tokens that a process accepts; a change of the file counts at once, without a restart.

    Args:
        path: the file of hashed tokens; while it is missing or unreadable no token is accepted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int, int] | None = None
        self._hashes: tuple[bytes, ...] = ()

    def accepts(self, token: str) -> bool:
        """Whether the token is one of the file's."""
        self._refresh()
        presented = digest(token).encode()
        found = False
        for known in self._hashes:  # every one is compared, whichever matches
            found |= hmac.compare_digest(known, presented)
        return found and bool(token)

    def accepts_header(self, authorization: str) -> bool:
        """Whether an `Authorization` header carries an accepted bearer token."""
        scheme, _, token = authorization.partition(" ")
        return scheme.lower() == "bearer" and self.accepts(token.strip())

    def _refresh(self) -> None:
        try:
            stat = self.path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if stamp == self._stamp:
                return
            self._hashes = tuple(entry["sha256"].encode() for entry in _read(self.path))
            self._stamp = stamp
        except (OSError, ProjectError):
            self._stamp, self._hashes = None, ()


def _read(path: Path) -> list[dict[str, str]]:
    try:
        entries = json.loads(path.read_text())["tokens"]
        return [{"name": str(entry.get("name", "")), "sha256": str(entry["sha256"])} for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ProjectError(
            "not a file of tokens",
            object=str(path),
            expected='{"tokens": [{"name": "…", "sha256": "…"}]}',
            hint="delete it; the next command that needs a token makes a new one",
        ) from None
