"""What a key and a name may look like; anything else is refused before a request is made."""

from __future__ import annotations

import re

from trimtab.core.errors import ProjectError, StoreError

MAX_KEY_BYTES = 700
MAX_NAME = 28
MOST_NUMBER = 99_999_999
_KEY = re.compile(r"[A-Za-z0-9._=-]{1,200}(?:/[A-Za-z0-9._=-]{1,200})*")
_PREFIX = re.compile(r"(?:[A-Za-z0-9._=-]{1,200}/)*[A-Za-z0-9._=-]{0,200}")
_NAME = re.compile(r"[a-z](?:[a-z0-9-]*[a-z0-9])?")
_SHAPE = "segments of [A-Za-z0-9._=-]{1,200} joined by '/', no '.' or '..', at most 700 bytes"


def check_key(key: str) -> str:
    """The key itself, when it is one.

    Raises:
        StoreError: it is none.

    >>> check_key("models/digits/ledger/00000001.json")
    'models/digits/ledger/00000001.json'
    >>> check_key("models/../secret")
    Traceback (most recent call last):
    trimtab.core.errors.StoreError: not a store key: expected segments ..., got 'models/../secret'.
    """
    if not is_key(key):
        raise StoreError("not a store key", expected=_SHAPE, got=repr(key[:200]))
    return key


def is_key(key: str) -> bool:
    """Whether a store may hold something under this key.

    >>> is_key("a/b"), is_key("a//b"), is_key("/a"), is_key("a/")
    (True, False, False, False)
    """
    return len(key) <= MAX_KEY_BYTES and _KEY.fullmatch(key) is not None and not _dotted(key)


def check_prefix(prefix: str) -> str:
    """The prefix itself, when a key could start with it; it may be empty or end inside a segment.

    Raises:
        StoreError: no key can start so.

    >>> check_prefix("models/dig")
    'models/dig'
    """
    if len(prefix) > MAX_KEY_BYTES or _PREFIX.fullmatch(prefix) is None or _dotted(prefix.rpartition("/")[0]):
        raise StoreError("not the start of a store key", expected=_SHAPE, got=repr(prefix[:200]))
    return prefix


def check_name(name: str) -> str:
    """The name of a model or project itself, when it is one: a DNS label of at most 28 characters.

    KServe joins a model's name and its namespace into host names of at most 63 characters; 28 leaves room for both.

    Raises:
        ProjectError: it is none.

    >>> check_name("bike-demand")
    'bike-demand'
    """
    if len(name) > MAX_NAME or _NAME.fullmatch(name) is None:
        raise ProjectError(
            "not a name for a model or project",
            expected=f"lower-case letters, digits and '-', a letter first, at most {MAX_NAME} characters",
            got=repr(name[:80]),
        )
    return name


def number(n: int) -> str:
    """A number as keys carry it: 8 digits, so that keys sort as the numbers do.

    Raises:
        StoreError: it does not fit.

    >>> number(12)
    '00000012'
    """
    if not 0 <= n <= MOST_NUMBER:
        raise StoreError("a number that no key can carry", expected=f"0 to {MOST_NUMBER}", got=str(n))
    return f"{n:08d}"


def _dotted(key: str) -> bool:
    return "." in key and any(segment in {".", ".."} for segment in key.split("/"))
