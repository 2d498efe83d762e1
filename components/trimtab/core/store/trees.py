"""Whole folders to and from a store: the same for every implementation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from trimtab.core.errors import NotFound, StoreError
from trimtab.core.store.keys import check_key


class _Transfers(Protocol):
    url: str

    def list(self, prefix: str, after: str | None = None) -> Iterator[str]: ...
    def upload(self, path: Path, key: str) -> None: ...
    def download(self, key: str, path: Path) -> None: ...


class TreeTransfers:
    """`upload_dir` and `download_dir` over `list`, `upload` and `download`."""

    def upload_dir(self: _Transfers, folder: Path, prefix: str) -> None:
        """See `Store.upload_dir`; all names are checked before the first byte is sent.

        Raises:
            StoreError: the folder is not there, is empty, or holds a file whose name cannot be a key.
        """
        if not folder.is_dir():
            raise StoreError("there is no such folder to upload", object=str(folder))
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if not files:
            raise StoreError("the folder to upload is empty", object=str(folder))
        base = prefix.rstrip("/")
        for path, key in [(path, check_key(f"{base}/{path.relative_to(folder).as_posix()}")) for path in files]:
            self.upload(path, key)

    def download_dir(self: _Transfers, prefix: str, folder: Path) -> None:
        """See `Store.download_dir`.

        Raises:
            NotFound: no key lies below the prefix.
        """
        base = prefix.rstrip("/") + "/"
        found = False
        for key in self.list(base):
            found = True
            self.download(key, folder / key.removeprefix(base))
        if not found:
            raise NotFound("nothing is stored below that prefix", object=f"{self.url}/{base}")
