"""The store: a few verbs on `/`-separated keys, over a folder or any S3.

`create`, which writes only where the key is absent, atomically, is the only primitive that concurrency rests on.
Truth is created and never overwritten; state is a fold over what was created.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote

from trimtab.core.errors import ProjectError

if TYPE_CHECKING:
    from trimtab.core.settings import Settings

# What `on_error` may be told: counters start at 0 for each, so that a first failure is a rise.
OPERATIONS = ("create", "get", "put", "exists", "list", "delete", "upload", "download")


class Store(Protocol):
    """What every store does. Keys are checked (`keys.check_key`) before any request is made.

    Every verb raises `StoreError` when the store cannot be reached or refuses, after retries with a limit.
    """

    url: str

    def create(self, key: str, body: bytes) -> bool:
        """Write only if the key is absent, atomically and durably; False where someone else has it."""
        ...

    def get(self, key: str) -> bytes:
        """The bytes under a key; `NotFound` where there are none."""
        ...

    def put(self, key: str, body: bytes) -> None:
        """Write or overwrite, atomically: for derived things only (caches, reports)."""
        ...

    def exists(self, key: str) -> bool:
        """Whether the key holds something."""
        ...

    def list(self, prefix: str, after: str | None = None) -> Iterator[str]:
        """The keys that start with `prefix` and sort behind `after`, sorted by bytes."""
        ...

    def delete(self, key: str) -> None:
        """Remove a key; nothing happens where there is none. For `prune` and the probe only."""
        ...

    def upload(self, path: Path, key: str) -> None:
        """Write a file's bytes under a key, streamed; as `put` otherwise."""
        ...

    def download(self, key: str, path: Path) -> None:
        """Write a key's bytes to a file, streamed; the file appears whole or not at all. `NotFound` as `get`."""
        ...

    def upload_dir(self, folder: Path, prefix: str) -> None:
        """Upload every file below a folder to `<prefix>/<relative path>`."""
        ...

    def download_dir(self, prefix: str, folder: Path) -> None:
        """Download every key below `<prefix>/` into a folder; `NotFound` where there is none."""
        ...


def open_store(
    url: str,
    settings: Settings | None = None,
    on_error: Callable[[str], None] | None = None,
) -> Store:
    """The store that a URL names.

    Args:
        url: `file:///…`, a folder's path, or `s3://bucket/prefix`.
        settings: where S3's credentials, endpoint, region and CA come from; by default the environment.
        on_error: told the operation's name each time a request to the store fails, retried or not
            (for the metric `trimtab_store_errors_total`).

    Raises:
        ProjectError: the URL names no store.
    """
    scheme, separator, rest = url.partition("://")
    if not url or (separator and scheme not in {"file", "s3"}):
        raise ProjectError(
            "no store has such a URL",
            object="TRIMTAB_STORE",
            expected="file:///folder or s3://bucket/prefix",
            got=repr(url),
        )
    if not separator:
        from trimtab.core.store.folder import FolderStore

        return FolderStore(Path(url).absolute(), on_error=on_error)
    if scheme == "file":
        from trimtab.core.store.folder import FolderStore

        host, slash, path = rest.partition("/")
        if host not in {"", "localhost"} or not slash or not path:
            raise ProjectError(
                "a file store's URL names an absolute folder",
                object="TRIMTAB_STORE",
                expected="file:///folder (three slashes)",
                got=repr(url),
            )
        return FolderStore(Path(unquote("/" + path)), on_error=on_error)
    from trimtab.core import settings as environment
    from trimtab.core.store.s3 import open_s3

    return open_s3(url, (settings or environment.load()).s3, on_error=on_error)


def probe(store: Store, process: str) -> None:
    """Find out whether conditional create is real here, before anything rests on it.

    Args:
        store: the store to try.
        process: who asks; the trial's key lies under `probe/<process>/`.

    Raises:
        StoreUnfit: a second create of one key went through, or changed what the first had written.
        StoreRefused: credentials, rights, bucket or folder are wrong.
        StoreError: the store cannot be reached.
    """
    from trimtab.core.store.fitness import try_create

    try_create(store, process)
