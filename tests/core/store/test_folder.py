"""The folder alone: durability, foreign files, disks that cannot do it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from trimtab.core.errors import StoreError, StoreRefused, StoreUnfit
from trimtab.core.store import open_store, probe
from trimtab.core.store.folder import FolderStore


@pytest.fixture
def folder(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "a folder")


def test_a_folder_without_hard_links_is_refused(folder: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(StoreUnfit, match="no hard links") as caught:
        probe(folder, "server")
    assert "s3://bucket/prefix" in str(caught.value)


def test_a_name_appears_after_its_bytes_are_on_the_disk(folder: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this order: flush the file, link it, flush the folder."""
    order: list[str] = []
    fsync, link = os.fsync, os.link

    def watched_fsync(handle: int) -> None:
        order.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")  # noqa: PTH112
        fsync(handle)

    def watched_link(source: Path, target: Path) -> None:
        order.append("link")
        link(source, target)

    assert folder.create("k/first", b"makes the folder")
    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "link", watched_link)
    assert folder.create("k/second", b"x")
    assert order == ["file", "link", "folder"]


def test_foreign_and_temporary_files_are_not_listed(folder: FolderStore) -> None:
    assert folder.create("a/b", b"1")
    (folder.root / "~tmp" / "left-by-a-kill").write_bytes(b"half")
    (folder.root / "a" / "not a key").write_bytes(b"")
    (folder.root / "empty folder").mkdir()
    assert list(folder.list("")) == ["a/b"]


def test_what_a_killed_writer_left_is_swept(folder: FolderStore) -> None:
    assert folder.create("a/b", b"1")
    old, new = folder.root / "~tmp" / "old", folder.root / "~tmp" / "new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    again = FolderStore(folder.root)
    assert again.create("a/c", b"1")  # the first write of a process sweeps
    assert new.exists()
    assert not old.exists()
    assert again.sweep(older_than=-1) == 1


def test_one_key_cannot_lie_below_another(folder: FolderStore) -> None:
    assert folder.create("a/b", b"1")
    for write in (folder.create, folder.put):
        with pytest.raises(StoreError, match="beginning of another"):
            write("a/b/c", b"2")
    with pytest.raises(StoreError, match="beginning of another"):
        folder.put("a", b"2")
    assert list(folder.list("")) == ["a/b"]
    assert list((folder.root / "~tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("number", "words", "hint"),
    [(errno.ENOSPC, "No space left on device", "ree some space"), (errno.EACCES, "Permission denied", "writable")],
)
def test_what_the_disk_refuses_leaves_nothing_and_says_what_to_do(
    folder: FolderStore, monkeypatch: pytest.MonkeyPatch, number: int, words: str, hint: str
) -> None:
    failed: list[str] = []
    store = FolderStore(folder.root, on_error=failed.append)
    assert store.create("a/0", b"")

    def refuse(_: int) -> None:
        raise OSError(number, words)

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StoreError, match=rf"a/1.*{words}.*{hint}"):
        store.create("a/1", b"x")
    assert failed == ["create"]
    assert list(store.list("")) == ["a/0"]
    assert list((folder.root / "~tmp").iterdir()) == []


def test_a_folder_that_takes_no_writes_is_named_with_what_to_do(
    folder: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        StoreRefused, match=r"the folder /proc/nothing/store cannot be written to.*TRIMTAB_STORE"
    ) as caught:
        probe(FolderStore(Path("/proc/nothing/store")), "run")
    assert caught.value.exit_code == 2

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StoreRefused, match=rf"the folder {folder.root} cannot be written to.*Make the folder writable"):
        probe(folder, "run")


def test_a_store_that_is_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreRefused, match=rf"no folder: got the file {tmp_path}/file\. Set TRIMTAB_STORE"):
            FolderStore(root).create("a", b"")


def test_urls_and_paths_name_the_same_folder(tmp_path: Path) -> None:
    there = tmp_path / "mit Leerzeichen ü"
    one, other = open_store(there.as_uri()), open_store(str(there))
    assert one.url == other.url == there.as_uri()
    assert one.create("a", b"1")
    assert other.get("a") == b"1"


def test_a_deep_store_is_not_walked_for_a_prefix(folder: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for hour in range(20):
        for n in range(3):
            folder.put(f"predictions/m/v1/2026-11-21T{hour:02d}/s-{n:08d}.parquet", b"")
    folder.put("other/x", b"")
    opened: list[str] = []
    scandir = os.scandir

    def watched(path: Path) -> object:
        opened.append(Path(path).name)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", watched)
    found = list(folder.list("predictions/m/v1/", after="predictions/m/v1/2026-11-21T18/s-00000001.parquet"))
    assert len(found) == 4
    assert opened == ["v1", "2026-11-21T18", "2026-11-21T19"]
