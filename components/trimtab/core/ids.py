"""Ids that sort by time: UUIDv7 (RFC 9562) and prediction ids `<UUIDv7>-<row>`."""

from __future__ import annotations

import os
import re
import time

UUID7 = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
PREDICTION_ID = rf"({UUID7})-(0|[1-9][0-9]{{0,6}})"
_PREDICTION = re.compile(PREDICTION_ID)


def uuid7() -> str:
    """A fresh UUIDv7 as text.

    >>> uuid7()[14]
    '7'
    """
    millis = time.time_ns() // 1_000_000
    tail = bytearray(os.urandom(10))
    tail[0] = 0x70 | (tail[0] & 0x0F)
    tail[2] = 0x80 | (tail[2] & 0x3F)
    text = millis.to_bytes(6, "big").hex() + tail.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def parse_prediction_id(text: str) -> tuple[str, int] | None:
    """Split a prediction id into the request's UUID and the row; None where it is malformed.

    >>> parse_prediction_id("0193a6a0-0000-7000-8000-000000000000-3")
    ('0193a6a0-0000-7000-8000-000000000000', 3)
    >>> parse_prediction_id("3") is None
    True
    """
    match = _PREDICTION.fullmatch(text)
    return (match[1], int(match[2])) if match else None
