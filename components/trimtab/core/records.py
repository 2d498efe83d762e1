"""One JSON record: canonical bytes, a schema number, a writer, a time and a nonce.

Truth is created and never overwritten, so a record is written once by `create`. The nonce makes two writers'
bytes differ, which lets a store that lost the answer of a write read back and see whose bytes are there.
"""

from __future__ import annotations

import functools
import json
import os
import secrets
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from trimtab.core.errors import RecordError

if TYPE_CHECKING:
    from trimtab.core.store import Store

# The newest schema number of each noun that this code reads and writes; 1 where none is named.
VERSIONS: dict[str, int] = {}


def utcnow() -> datetime:
    """Now, in UTC, aware."""
    return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """A moment as RFC 3339 in UTC with microseconds, which sorts as text.

    >>> rfc3339(datetime(2026, 11, 21, 14, 5, tzinfo=UTC))
    '2026-11-21T14:05:00.000000Z'
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """RFC 3339 text as an aware moment in UTC.

    Raises:
        RecordError: the text is no RFC 3339 time with an offset.

    >>> parse_time("2026-11-21T15:05:00+01:00").hour
    14
    """
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise RecordError("not a time", object=repr(text), expected="RFC 3339, e.g. 2026-11-21T14:05:00Z") from None
    if moment.tzinfo is None:
        raise RecordError("a time without offset", object=repr(text), expected="RFC 3339, e.g. 2026-11-21T14:05:00Z")
    return moment.astimezone(UTC)


@functools.cache
def writer_name() -> str:
    """Who writes: `<host>-<pid>`, for people who read records."""
    return f"{socket.gethostname()}-{os.getpid()}"


def canonical(value: Any) -> bytes:
    """Canonical JSON: sorted keys, UTF-8, no spaces, no NaN.

    >>> canonical({"b": 1, "a": "ä"}).decode()
    '{"a":"ä","b":1}'
    """
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def encode(noun: str, fields: Mapping[str, Any], writer: str | None = None) -> bytes:
    """A record's bytes: the fields, and `schema`, `written_at`, `writer`, `nonce`."""
    return canonical(
        {
            **fields,
            "schema": f"trimtab/{noun}/{VERSIONS.get(noun, 1)}",
            "written_at": rfc3339(utcnow()),
            "writer": writer or writer_name(),
            "nonce": secrets.token_hex(8),
        }
    )


def decode(body: bytes, noun: str, key: str = "") -> dict[str, Any]:
    """Read a record.

    Args:
        body: the stored bytes.
        noun: what it must be; unknown fields are left alone.
        key: where it came from, for the error's sentence.

    Raises:
        RecordError: it is no JSON object, another noun, or of a higher schema number than this code knows.
    """
    try:
        record = json.loads(body)
    except ValueError:
        raise RecordError("not a record: its bytes are no JSON", object=key) from None
    schema = record.get("schema") if isinstance(record, dict) else None
    parts = str(schema).split("/")
    if len(parts) != 3 or parts[0] != "trimtab" or parts[1] != noun or not parts[2].isdigit():
        raise RecordError("not the record that was looked for", object=key, expected=f"trimtab/{noun}", got=str(schema))
    known = VERSIONS.get(noun, 1)
    if int(parts[2]) > known:
        raise RecordError(
            "a newer Trimtab wrote this record",
            object=key,
            expected=f"trimtab/{noun}/{known} or lower",
            got=str(schema),
            hint="update this installation",
        )
    assert isinstance(record, dict)
    return record


def create_record(store: Store, key: str, noun: str, fields: Mapping[str, Any], writer: str | None = None) -> bool:
    """Write a record if its key is free; False where somebody else has it."""
    return store.create(key, encode(noun, fields, writer))


def read_record(store: Store, key: str, noun: str) -> dict[str, Any]:
    """Read the record under a key.

    Raises:
        NotFound: there is none.
        RecordError: it cannot be read as that noun.
    """
    return decode(store.get(key), noun, key)
