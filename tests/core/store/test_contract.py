"""One battery over every store: what the Store protocol promises."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from trimtab.core.errors import NotFound, StoreError
from trimtab.core.store import Store, probe

TREE = [
    "a", "a-b/c", "a.b", "a0", "b/00000001.json", "b/00000002.json", "b/00000010.json", "b/c/d/e", "b=1/x", "b_/x",
    "models/m/ledger/00000001.json", "models/m-2/ledger/00000001.json", "models/m0/x",
]  # fmt: skip


@pytest.fixture
def tree(anystore: Store) -> Store:
    """A store with every key of TREE, made in no order."""
    for key in sorted(TREE, key=lambda k: k[::-1]):
        assert anystore.create(key, key.encode())
    return anystore


def test_create_writes_once(anystore: Store) -> None:
    assert anystore.create("x/y", b"first")
    assert not anystore.create("x/y", b"second")
    assert not anystore.create("x/y", b"first")
    assert anystore.get("x/y") == b"first"


def test_create_takes_empty_and_large_bodies(anystore: Store) -> None:
    large = secrets.token_bytes(3 << 20)
    assert anystore.create("empty", b"")
    assert anystore.get("empty") == b""
    assert anystore.create("large", large)
    assert anystore.get("large") == large


def test_get_of_nothing_is_not_found(anystore: Store) -> None:
    with pytest.raises(NotFound, match="nothing is stored"):
        anystore.get("no/such")
    assert not anystore.exists("no/such")
    assert anystore.create("no/such/deeper", b"1")
    assert not anystore.exists("no/such")
    with pytest.raises(NotFound):
        anystore.get("no/such")


def test_put_overwrites_and_delete_is_quiet(anystore: Store) -> None:
    anystore.put("r/page", b"1")
    anystore.put("r/page", b"22")
    assert anystore.get("r/page") == b"22"
    anystore.delete("r/page")
    anystore.delete("r/page")
    assert not anystore.exists("r/page")
    assert anystore.create("r/page", b"again")


def test_list_is_sorted_by_bytes(tree: Store) -> None:
    assert list(tree.list("")) == sorted(TREE, key=str.encode)


def test_list_by_prefix_and_after(tree: Store) -> None:
    for prefix in ["", "a", "b", "b/", "b/0000000", "b/c", "models/m", "models/m/", "nothing", "b/x/"]:
        for after in [None, "a", "b/00000002.json", "b/c", "b/c/d/e", "b/~", "models/m/~", "zz"]:
            wanted = [k for k in sorted(TREE, key=str.encode) if k.startswith(prefix) and k > (after or "")]
            assert list(tree.list(prefix, after)) == wanted, (prefix, after)


BAD_KEYS = ["", "/a", "a/", "a//b", "a/../b", ".", "a/./b", "a b", "ä", "a\n", "a~", "a" * 201, "a/" * 350 + "b"]


def test_bad_keys_are_refused_before_any_request(anystore: Store, tmp_path: Path) -> None:
    for key in BAD_KEYS:
        for call in (anystore.get, anystore.exists, anystore.delete):
            with pytest.raises(StoreError, match="not a store key"):
                call(key)
        for write in (anystore.create, anystore.put):
            with pytest.raises(StoreError, match="not a store key"):
                write(key, b"")
        with pytest.raises(StoreError, match="not a store key"):
            anystore.download(key, tmp_path / "x")
    for prefix in ["/", "a//", "../a", "a/../b", "a b"]:
        with pytest.raises(StoreError, match="not the start of a store key"):
            anystore.list(prefix)
    assert list(anystore.list("")) == []


def test_files_travel_whole(anystore: Store, tmp_path: Path) -> None:
    """40 MB: several parts on S3."""
    source, back = tmp_path / "source", tmp_path / "deep" / "back"
    source.write_bytes(secrets.token_bytes(1 << 20) * 40)
    anystore.upload(source, "files/large")
    anystore.download("files/large", back)
    assert back.read_bytes() == source.read_bytes()
    with pytest.raises(NotFound):
        anystore.download("files/none", tmp_path / "none")
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["source"]
    assert [p.name for p in back.parent.iterdir()] == ["back"]


def test_folders_travel_whole(anystore: Store, tmp_path: Path) -> None:
    folder = tmp_path / "f"
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "a.json").write_text("1")
    (folder / "sub" / "deep" / "b.bin").write_bytes(b"2" * 1000)
    anystore.upload_dir(folder, "d/x")
    anystore.put("d/xy", b"not below d/x/")
    assert list(anystore.list("d/x/")) == ["d/x/a.json", "d/x/sub/deep/b.bin"]
    anystore.download_dir("d/x", tmp_path / "g")
    found = {
        p.relative_to(tmp_path / "g").as_posix(): p.read_bytes() for p in (tmp_path / "g").rglob("*") if p.is_file()
    }
    assert found == {"a.json": b"1", "sub/deep/b.bin": b"2" * 1000}
    with pytest.raises(NotFound, match="below that prefix"):
        anystore.download_dir("d/none", tmp_path / "h")


def test_a_folder_with_a_bad_name_sends_nothing(anystore: Store, tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "a.json").write_text("1")
    (folder / "z z.json").write_text("1")
    with pytest.raises(StoreError, match="not a store key"):
        anystore.upload_dir(folder, "d")
    with pytest.raises(StoreError, match="no such folder"):
        anystore.upload_dir(tmp_path / "none", "d")
    assert list(anystore.list("")) == []


def test_the_probe_passes_and_leaves_nothing(anystore: Store) -> None:
    probe(anystore, "server")
    assert list(anystore.list("probe/")) == []
