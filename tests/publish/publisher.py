"""A process that publishes, made to be killed: it imports once, then forks a child for each publish.

Lines in: `<operation> <stop or go> <seconds> <folder>`. The child is killed (-9) at that operation on its store,
counted from 1: standing still before it (`stop`), or going on while so many seconds pass (`go`); operation 0 lets it
end. For each line, a line out: `<version> <operations>` as the child printed it, or `killed`.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trimtab.core.settings import Settings
    from trimtab.core.store import Store


class Counting:
    """A store that says when it comes to an operation, and stands still there when told to."""

    def __init__(self, inner: Store, at: int, stop: bool, told: int) -> None:
        self.inner, self.at, self.stop, self.told = inner, at, stop, told
        self.url = inner.url
        self.operations = 0

    def _count(self) -> None:
        self.operations += 1
        if self.operations == self.at:
            os.write(self.told, b".")
            while self.stop:
                signal.pause()

    def create(self, key: str, body: bytes) -> bool:
        self._count()
        return self.inner.create(key, body)

    def get(self, key: str) -> bytes:
        self._count()
        return self.inner.get(key)

    def put(self, key: str, body: bytes) -> None:
        self._count()
        self.inner.put(key, body)

    def exists(self, key: str) -> bool:
        self._count()
        return self.inner.exists(key)

    def list(self, prefix: str, after: str | None = None) -> Iterator[str]:
        self._count()
        return self.inner.list(prefix, after)

    def delete(self, key: str) -> None:
        self._count()
        self.inner.delete(key)

    def upload(self, path: Path, key: str) -> None:
        self._count()
        self.inner.upload(path, key)

    def download(self, key: str, path: Path) -> None:
        self._count()
        self.inner.download(key, path)

    def upload_dir(self, folder: Path, prefix: str) -> None:
        self._count()
        self.inner.upload_dir(folder, prefix)

    def download_dir(self, prefix: str, folder: Path) -> None:
        self._count()
        self.inner.download_dir(prefix, folder)


def main() -> None:
    """Serve until stdin ends."""
    import minio  # noqa: F401 (imported once, here, and not in each child)

    from trimtab.core import settings, signing

    env = settings.load()
    signing.load_or_create_key(env.signing_key)
    print("ready", flush=True)
    for line in sys.stdin:
        at, how, seconds, folder = line.strip().split(" ", 3)
        out, into = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(out)
            _publish(env, int(at), how == "stop", into, Path(folder))
            os._exit(0)
        os.close(into)
        said = os.read(out, 100)
        if said == b".":
            if how == "go" and select.select([out], [], [], float(seconds))[0]:
                said += os.read(out, 100)
            if said == b".":
                os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(out)
        print(said.decode().lstrip(".") or "killed", flush=True)


def _publish(env: Settings, at: int, stop: bool, told: int, folder: Path) -> None:
    from trimtab.core import signing
    from trimtab.core.bundle import publish_bundle
    from trimtab.core.store import open_store

    store = Counting(open_store(env.store, env), at, stop, told)
    key = signing.load_or_create_key(env.signing_key)
    version = publish_bundle(store, "digits", folder, key, metrics={}, threshold=None, lineage={}, project={})
    os.write(told, f"{version} {store.operations}".encode())


if __name__ == "__main__":
    main()
