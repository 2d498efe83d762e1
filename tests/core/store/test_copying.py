"""Backup and restore of a store: between a folder and MinIO, cut off and gone on with, refused where it must be."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.monitoring.world import MODEL, START, Killed, World
from tests.servers.fixtures import S3
from typer.testing import CliRunner

from trimtab.cli.commands import make_app
from trimtab.core import bundle, ledger
from trimtab.core.errors import RecordError, SignatureError, StoreError, StoreRefused, TrimtabError
from trimtab.core.store import Store, copying, open_store
from trimtab.core.store.copying import copy


@pytest.fixture
def world(store: Store, tmp_path: Path) -> World:
    """A model with two versions, a log, labels and a verdict."""
    made = World(store, tmp_path)
    made.champion()
    second = made.publish(2)
    made.log(second, START, [True] * 50)
    made.verdict(second, 1)
    ledger.append(store, MODEL, "canaried", second, expect=made.state(), who="test", why="try", percent=10)
    store.put("reports/toy/page.html", b"<p>a page</p>")
    store.create("probe/watch/left", b"a trial")
    return made


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return open_store((tmp_path / "other").as_uri())


def objects(store: Store) -> dict[str, bytes]:
    return {key: store.get(key) for key in store.list("")}


def test_a_backup_on_minio_is_restored_and_works(world: World, s3: S3, other: Store, tmp_path: Path) -> None:
    backup = s3.store()
    done = copy(world.store, backup)
    kept = objects(world.store)
    kept.pop("probe/watch/left")
    assert objects(backup) == kept
    assert (done.copied, done.present, done.models) == (len(kept), 0, {MODEL: 2})
    again = copy(world.store, backup)
    assert (again.copied, again.present) == (1, len(kept) - 1), "a page may be made again, so it is written again"
    restored = copy(backup, other)
    assert objects(other) == kept
    assert restored.bytes == sum(map(len, kept.values()))
    assert ledger.state(other, MODEL) == world.state()
    moved = World(other, tmp_path / "again")
    assert moved.publish(3).startswith("v3-")
    assert ledger.append(other, MODEL, "rejected", "v2", expect=moved.state(), who="test", why="go on") is not None


def test_what_is_new_since_is_added(world: World, other: Store) -> None:
    copy(world.store, other)
    ledger.append(world.store, MODEL, "promoted", world.publish(2), expect=world.state(), who="test", why="better")
    done = copy(world.store, other)
    assert done.copied == 2  # the entry, and the page
    assert ledger.state(other, MODEL) == world.state()


def test_a_prefix_alone(world: World, other: Store) -> None:
    done = copy(world.store, other, "predictions/")
    assert {key.split("/")[0] for key in other.list("")} == {"predictions"}
    assert done.models == {}
    copy(world.store, other, f"models/{MODEL}/")
    assert ledger.state(other, MODEL) == world.state()
    assert not list(other.list("campaigns/"))


class CutOff:
    """A target that dies at its n-th write."""

    def __init__(self, inner: Store, at: int) -> None:
        self.inner, self.left, self.url = inner, at, inner.url
        self._lock = threading.Lock()

    def _write(self) -> None:
        with self._lock:
            self.left -= 1
            if self.left < 0:
                raise Killed

    def create(self, key: str, body: bytes) -> bool:
        self._write()
        return self.inner.create(key, body)

    def put(self, key: str, body: bytes) -> None:
        self._write()
        self.inner.put(key, body)

    def get(self, key: str) -> bytes:
        return self.inner.get(key)

    def list(self, prefix: str, after: str | None = None) -> Iterator[str]:
        return self.inner.list(prefix, after)


def test_cut_off_anywhere_it_never_looks_whole_and_goes_on(world: World, tmp_path: Path) -> None:
    total = copy(world.store, open_store((tmp_path / "count").as_uri())).copied
    for at in range(0, total, 3):
        target = open_store((tmp_path / f"cut-{at}").as_uri())
        with pytest.raises(Killed):
            copy(world.store, CutOff(target, at))  # type: ignore[arg-type]
        for version in bundle.list_versions(target, MODEL):
            files = bundle.read_manifest(target, MODEL, version).files
            assert all(target.exists(f"models/{MODEL}/versions/{version}/{name}") for name in files)
        state = ledger.state(target, MODEL)
        assert state.seq == 0 or state.champion in bundle.list_versions(target, MODEL)
        copy(world.store, target)
        assert ledger.state(target, MODEL) == world.state()
        assert objects(target) == {k: v for k, v in objects(world.store).items() if not k.startswith("probe/")}


def test_a_target_with_a_history_of_its_own_is_refused_untouched(world: World, other: Store, tmp_path: Path) -> None:
    World(other, tmp_path / "theirs").champion(7)
    before = objects(other)
    with pytest.raises(StoreRefused, match="history of its own"):
        copy(world.store, other)
    logs_alone = open_store((tmp_path / "logs").as_uri())
    logs_alone.create("predictions/one", b"1")
    with pytest.raises(StoreRefused, match="has not"):
        copy(logs_alone, other)
    assert objects(other) == before
    with pytest.raises(StoreRefused, match="itself"):
        copy(world.store, world.store)


def test_nothing_to_copy_is_refused_and_makes_no_target(world: World, tmp_path: Path) -> None:
    root, target = Path(world.store.url.removeprefix("file://")), tmp_path / "target"
    bare = tmp_path / "bare"
    bare.mkdir()
    (tmp_path / "link").symlink_to(root)

    def refused(source: Path, to: Path, *more: str) -> str:
        done = CliRunner().invoke(make_app("copy"), ["copy", source.as_uri(), to.as_uri(), *more])
        assert isinstance(done.exception, TrimtabError), done.output
        assert done.exception.exit_code == 2
        return str(done.exception)

    assert "nothing to copy" in refused(tmp_path / "no-such", target)
    assert "nothing to copy" in refused(bare, target)
    assert "nothing to copy" in refused(root, target, "--prefix", "models/other/")
    assert "--prefix" in refused(root, target, "--prefix", "../")
    for source, to in ((root, root / "backup"), (root / "models", root), (root, tmp_path / "link" / "below")):
        assert "lies in the other" in refused(source, to)
    assert "itself" in refused(root, tmp_path / "link")
    assert not target.exists()
    assert not (root / "backup").exists()


def test_a_newer_target_is_refused(world: World, other: Store) -> None:
    copy(world.store, other)
    ledger.append(other, MODEL, "promoted", world.publish(2), expect=world.state(), who="test", why="elsewhere")
    with pytest.raises(StoreRefused, match="history of its own"):
        copy(world.store, other)


def test_something_else_under_a_key_is_never_overwritten(world: World, other: Store) -> None:
    key = next(world.store.list("predictions/"))
    other.create(key, b"something else")
    with pytest.raises(StoreRefused, match="something else"):
        copy(world.store, other)
    assert other.get(key) == b"something else"
    assert not list(other.list(f"models/{MODEL}/ledger/"))


def test_a_damaged_source_gives_no_backup_that_looks_whole(world: World, other: Store) -> None:
    root = Path(world.store.url.removeprefix("file://"))
    graph = next((root / "models").rglob("model.onnx"))
    kept = graph.read_bytes()
    graph.write_bytes(kept[:-1] + b"!")
    with pytest.raises(SignatureError, match=r"model\.onnx"):
        copy(world.store, other)
    assert not list(other.list(f"models/{MODEL}/ledger/"))
    graph.write_bytes(kept)
    entry = root / "models" / MODEL / "ledger" / "00000001.json"
    entry.write_bytes(entry.read_bytes().replace(b"first", b"other"))
    with pytest.raises(RecordError, match="chain"):
        copy(world.store, other)


def test_large_objects_go_by_file(world: World, other: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "LARGE_BYTES", 4)
    copy(world.store, other)
    again = copy(world.store, other)
    assert (again.copied, ledger.state(other, MODEL)) == (1, world.state())
    victim = next(other.list("datasets/"))
    other.put(victim, b"something else")
    with pytest.raises(StoreRefused, match="something else"):
        copy(world.store, other)


def test_the_command_copies_with_a_mounted_secret(world: World, s3: S3, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    own = s3.settings
    for name in ("access_key", "secret_key", "endpoint", "region"):
        (secret / name).write_text(f"{getattr(own, name)}\n")
    url = s3.fresh()
    asked = ["copy", world.store.url, url, "--to-secret", str(secret)]
    done = CliRunner().invoke(make_app("copy"), asked)
    assert done.exit_code == 0, done.output
    assert f"ledgers: {MODEL} (2 entries)" in done.output
    facts = CliRunner().invoke(make_app("copy"), [*asked, "--json"])
    assert json.loads(facts.stdout)["models"] == {MODEL: 2}
    without = CliRunner().invoke(make_app("copy"), asked[:3])
    assert isinstance(without.exception, StoreError | Exception)
    assert without.exit_code != 0
