"""Keyed hashes of private values: equal values stay equal, and nobody without the key can try values out."""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
from hashlib import sha256
from pathlib import Path
from typing import Any

from trimtab.core.values import category_text


def hash_key(home: Path) -> bytes:
    """The installation's key, 32 bytes, made on first use and kept with mode 0600 as `hash.key`.

    Servers and commands whose logs shall be joined need the same one.
    """
    path = home / "hash.key"
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
        fresh.unlink()
    return path.read_bytes()


def keyed_hash(key: bytes, value: Any) -> str:
    """A value's keyed hash (HMAC-SHA256), its first 32 hex digits.

    Args:
        key: from `hash_key`.
        value: text, a number, a moment, or an array (of which the bytes count).

    >>> keyed_hash(b"k", "17") == keyed_hash(b"k", 17.0) != keyed_hash(b"l", "17")
    True
    """
    if hasattr(value, "tobytes"):
        body = value.tobytes()
    elif hasattr(value, "isoformat"):
        body = value.isoformat().encode()
    else:
        body = category_text(value).encode()
    return hmac.new(key, body, sha256).hexdigest()[:32]
