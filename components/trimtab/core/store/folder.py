"""A store in a folder: one file a key.

`create` writes a temporary file, flushes it to the disk and gives it its name by an exclusive hard link: the name
appears with all its bytes or not at all, and for one writer only, threads, processes and kill -9 included.
Temporary files lie under `~tmp`, a name that no key can have, so they are never listed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from trimtab.core.errors import NotFound, StoreError, StoreRefused, StoreUnfit
from trimtab.core.store.keys import check_key, check_prefix, is_key
from trimtab.core.store.trees import TreeTransfers

_TEMPORARY = "~tmp"
_STALE_SECONDS = 86400.0
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}


class FolderStore(TreeTransfers):
    """A store in a folder of a local disk, made on the first write.

    Args:
        root: the folder.
        on_error: told the operation's name when one fails.
    """

    def __init__(self, root: Path, on_error: Callable[[str], None] | None = None) -> None:
        self.root = root
        self.url = root.as_uri()
        self._on_error = on_error
        self._temporary = root / _TEMPORARY
        self._swept = False

    def create(self, key: str, body: bytes) -> bool:
        """See `Store.create`."""
        path = self._path(key)
        with self._errors("create", key):
            if os.path.lexists(path):
                return False
            temporary = self._write(lambda file: file.write(body))
            try:
                return self._link(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)

    def get(self, key: str) -> bytes:
        """See `Store.get`."""
        with self._errors("get", key):
            return self._path(key).read_bytes()

    def put(self, key: str, body: bytes) -> None:
        """See `Store.put`."""
        with self._errors("put", key):
            self._replace(self._write(lambda file: file.write(body)), self._path(key))

    def exists(self, key: str) -> bool:
        """See `Store.exists`."""
        with self._errors("exists", key):
            return self._path(key).is_file()

    def list(self, prefix: str, after: str | None = None) -> Iterator[str]:
        """See `Store.list`; starts from the prefix's own folder and passes by what sorts before `after`."""
        check_prefix(prefix)
        folder = prefix.rpartition("/")[0]
        return self._walk(folder + "/" if folder else "", prefix, after or "")

    def delete(self, key: str) -> None:
        """See `Store.delete`."""
        path = self._path(key)
        with self._errors("delete", key):
            path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder == self.root:
                    break
                try:
                    folder.rmdir()
                except OSError:
                    break

    def upload(self, path: Path, key: str) -> None:
        """See `Store.upload`."""
        target = self._path(key)
        with path.open("rb") as source, self._errors("upload", key):
            self._replace(self._write(lambda file: shutil.copyfileobj(source, file, 1 << 20)), target)

    def download(self, key: str, path: Path) -> None:
        """See `Store.download`."""
        with self._errors("download", key), self._path(key).open("rb") as source:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"{path.name[:150]}.{secrets.token_hex(4)}.part")
            try:
                with partial.open("wb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)

    def sweep(self, older_than: float = _STALE_SECONDS) -> int:
        """Remove temporary files that a killed writer left, older than so many seconds; how many."""
        swept = 0
        if self._temporary.is_dir():
            for path in self._temporary.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - path.stat().st_mtime > older_than:
                        path.unlink()
                        swept += 1
        return swept

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _write(self, fill: Callable[[BinaryIO], object]) -> Path:
        """A temporary file with its bytes on the disk."""
        if not self._swept:
            self._swept = True
            self.sweep()
        path = self._temporary / f"{os.getpid()}-{secrets.token_hex(8)}"
        try:
            file = path.open("xb")
        except FileNotFoundError:
            self._temporary.mkdir(parents=True, exist_ok=True)
            file = path.open("xb")
        try:
            with file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def _link(self, temporary: Path, path: Path) -> bool:
        while True:
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
            except FileNotFoundError:
                self._make_folder(temporary, path.parent)
                continue
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                raise StoreUnfit(
                    "the folder's file system has no hard links, so create cannot be exclusive",
                    object=self.url,
                    got=os.strerror(error.errno),
                    hint="set TRIMTAB_STORE to a folder on a local disk, or to s3://bucket/prefix",
                ) from None
            with contextlib.suppress(FileNotFoundError):  # it was deleted already, and its folder with it
                _sync_folder(path.parent)
            return True

    def _replace(self, temporary: Path, path: Path) -> None:
        try:
            while True:
                try:
                    temporary.replace(path)
                except FileNotFoundError:
                    self._make_folder(temporary, path.parent)
                    continue
                with contextlib.suppress(FileNotFoundError):
                    _sync_folder(path.parent)
                return
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _make_folder(self, temporary: Path, folder: Path) -> None:
        """Make the folder that was not there, or that a delete took away when it was empty."""
        if not temporary.exists():
            raise OSError(errno.ESTALE, f"its temporary file under {_TEMPORARY} was taken away")
        missing = [folder]
        while missing[-1] != self.root and not missing[-1].parent.is_dir():
            missing.append(missing[-1].parent)
        # A delete may take one of them away again at any moment: then the caller comes back.
        with contextlib.suppress(FileNotFoundError):
            folder.mkdir(parents=True, exist_ok=True)
            for made in reversed(missing):
                _sync_folder(made.parent)

    def _walk(self, folder: str, prefix: str, after: str) -> Iterator[str]:
        """The keys below `folder` ('' or ending in '/'), sorted by their bytes."""
        try:
            with os.scandir(self.root / folder) as entries:
                found = sorted(
                    folder + entry.name + ("/" if entry.is_dir(follow_symlinks=False) else "") for entry in entries
                )
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise self._failed("list", prefix, error) from error
        for key in found:
            # A folder sorts as its keys do: with the slash. Everything in it starts so.
            if not (key.startswith(prefix) or prefix.startswith(key)) or key == _TEMPORARY + "/":
                continue
            if not key.endswith("/"):
                if key > after and is_key(key):
                    yield key
            elif key > after or after.startswith(key):
                yield from self._walk(key, prefix, after)

    @contextlib.contextmanager
    def _errors(self, operation: str, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            absent = isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError)
            if absent and operation in {"get", "download"}:
                raise NotFound("nothing is stored under that key", object=f"{self.url}/{key}") from None
            if operation == "delete" and absent:
                return
            if isinstance(error, IsADirectoryError | NotADirectoryError | FileExistsError):
                raise self._clash(operation, key) from None
            raise self._failed(operation, key, error) from error

    def _clash(self, operation: str, key: str) -> StoreError:
        file = next((p for p in (self.root, *self.root.parents) if p.exists() and not p.is_dir()), None)
        if file is not None:
            hint = "set TRIMTAB_STORE to a folder"
            return StoreRefused("the store is no folder", object=self.url, got=f"the file {file}", hint=hint)
        return StoreError(
            f"{operation}: in a folder, one key cannot be the beginning of another's path",
            object=f"{self.url}/{key}",
        )

    def _failed(self, operation: str, key: str, error: OSError) -> StoreError:
        if self._on_error:
            self._on_error(operation)
        hints = {
            errno.ENOSPC: "free some space on that disk",
            errno.EACCES: "make the folder writable for this user, or set TRIMTAB_STORE to another",
            errno.EROFS: "set TRIMTAB_STORE to a folder that can be written to",
        }
        if error.errno in _REFUSED or (error.errno == errno.ENOENT and not self.root.exists()):
            verb = "read" if operation in {"get", "exists", "list", "download"} else "written to"
            return StoreRefused(
                f"{operation} of {key or 'all keys'} failed: the folder {self.root} cannot be {verb}",
                object=str(self.root),
                got=error.strerror or type(error).__name__,
                hint=hints.get(error.errno or 0, "set TRIMTAB_STORE to a folder of this user's"),
            )
        return StoreError(
            f"{operation} failed",
            object=f"{self.url}/{key}",
            got=error.strerror or type(error).__name__,
            hint=hints.get(error.errno or 0, ""),
        )


def _sync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a name survives a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
