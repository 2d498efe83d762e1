"""A store that ignores the condition of a conditional create is found out at start."""

from __future__ import annotations

import contextlib
import secrets

from trimtab.core.errors import NotFound, StoreError, StoreUnfit
from trimtab.core.store import Store


def try_create(store: Store, process: str) -> None:
    """Create one key twice and look at what is there; the trial is taken away again.

    Raises:
        StoreUnfit: see `trimtab.core.store.fitness`.
    """
    token = secrets.token_hex(8)
    key = f"probe/{process}/{token}"
    first, second = f"first {token}".encode(), f"second {token}".encode()
    try:
        won = store.create(key, first)
        again = store.create(key, second)
        try:
            held = store.get(key)
        except NotFound:
            held = b""
        if won and not again and held == first:
            return
        if again or held == second:
            what = "a second create of the same key overwrote the first"
        else:
            what = "what was created is not what is read back"
        raise StoreUnfit(
            "the store has no conditional create",
            object=store.url,
            expected="create of an existing key answers 412 and leaves it untouched",
            got=what,
            hint="use a store that honours If-None-Match: * on PUT (MinIO, AWS S3, Ceph), or a folder with hard links",
        )
    finally:
        # Some processes may create and not delete; a trial that stays is a few bytes.
        with contextlib.suppress(StoreError):
            store.delete(key)
