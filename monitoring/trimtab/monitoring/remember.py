"""A store that remembers small records: truth is created and never overwritten, so reading it once is enough.

A process that looks at the same folds again and again then only lists; what it lists it mostly knows.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trimtab.core.store import Store

# Derived things may be made again, and a probe's keys are deleted.
CHANGING = ("reports/", "probe/")
LARGEST = 64 * 1024
# Records and bytes that are kept, at most; the longest unused are read again.
KEPT, KEPT_BYTES = 20_000, 32 << 20


class Remembering:
    """A store whose small immutable objects are read once; every other verb goes through.

    Args:
        inner: the store.
    """

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.url = inner.url
        self._known: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes:
        """The bytes under a key, from memory where they were read before."""
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        body = self.inner.get(key)
        if len(body) <= LARGEST and not key.startswith(CHANGING):
            with self._lock:
                self._bytes += len(body) - len(self._known.get(key, b""))
                self._known[key] = body
                while len(self._known) > KEPT or self._bytes > KEPT_BYTES:
                    self._bytes -= len(self._known.popitem(last=False)[1])
        return body

    def create(self, key: str, body: bytes) -> bool:
        """See `Store.create`."""
        return self.inner.create(key, body)

    def put(self, key: str, body: bytes) -> None:
        """See `Store.put`."""
        self.inner.put(key, body)

    def exists(self, key: str) -> bool:
        """See `Store.exists`."""
        return self.inner.exists(key)

    def list(self, prefix: str, after: str | None = None) -> Iterator[str]:
        """See `Store.list`."""
        return self.inner.list(prefix, after)

    def delete(self, key: str) -> None:
        """See `Store.delete`; the key is forgotten."""
        with self._lock:
            self._bytes -= len(self._known.pop(key, b""))
        self.inner.delete(key)

    def upload(self, path: Path, key: str) -> None:
        """See `Store.upload`."""
        self.inner.upload(path, key)

    def download(self, key: str, path: Path) -> None:
        """See `Store.download`."""
        self.inner.download(key, path)

    def upload_dir(self, folder: Path, prefix: str) -> None:
        """See `Store.upload_dir`."""
        self.inner.upload_dir(folder, prefix)

    def download_dir(self, prefix: str, folder: Path) -> None:
        """See `Store.download_dir`."""
        self.inner.download_dir(prefix, folder)
