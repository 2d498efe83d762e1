"""Versions: numbered, the same for the same files, and refused when a byte differs."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.core.bundles import FACTS, publish, write

from trimtab.core import bundle, signing
from trimtab.core.errors import ModelError, NotFound, ProjectError, SignatureError
from trimtab.core.store import Store

KEY = Ed25519PrivateKey.generate()
TRUSTED = {signing.key_id(KEY.public_key()): KEY.public_key()}


def test_a_version_is_published_and_fetched_whole(store: Store, tmp_path: Path) -> None:
    source = write(tmp_path / "b")
    version = publish(store, source, KEY)
    manifest = bundle.fetch_bundle(store, "digits", version, tmp_path / "got", TRUSTED)
    assert manifest.version == version
    assert manifest.metrics == FACTS["metrics"]
    assert manifest.lineage == FACTS["lineage"]
    assert manifest.project == FACTS["project"]
    assert manifest == bundle.read_manifest(store, "digits", version) == bundle.verify_bundle(tmp_path / "got", TRUSTED)
    for name in manifest.files:
        assert (tmp_path / "got" / name).read_bytes() == (source / name).read_bytes()
    assert bundle.list_models(store) == ["digits"]


def test_numbers_rise_and_the_same_files_are_the_same_version(store: Store, tmp_path: Path) -> None:
    one = publish(store, write(tmp_path / "1", 1), KEY)
    two = publish(store, write(tmp_path / "2", 2), KEY)
    assert one.startswith("v1-")
    assert two.startswith("v2-")
    held = {key: store.get(key) for key in store.list("")}
    assert publish(store, write(tmp_path / "again", 1), Ed25519PrivateKey.generate()) == one
    assert {key: store.get(key) for key in store.list("")} == held
    assert bundle.list_versions(store, "digits") == [one, two]


def test_versions_are_listed_by_number(store: Store, tmp_path: Path) -> None:
    made = [publish(store, write(tmp_path / "b", n), KEY) for n in range(11)]
    assert bundle.list_versions(store, "digits") == made
    assert made[-1].startswith("v11-")


@pytest.mark.parametrize("same", [True, False])
def test_publishing_at_once(store: Store, tmp_path: Path, same: bool) -> None:
    """The same files are one version; different ones are different versions."""
    folders = [write(tmp_path / str(n), 0 if same else n) for n in range(6)]
    start = threading.Barrier(6)

    def go(folder: Path) -> str:
        start.wait(10)
        return publish(store, folder, KEY)

    made: set[str] = set()
    for _ in range(5):
        with ThreadPoolExecutor(6) as pool:
            made = set(pool.map(go, folders))
        assert len(made) == (1 if same else 6)
    assert set(bundle.list_versions(store, "digits")) == made
    for version in made:
        bundle.fetch_bundle(store, "digits", version, tmp_path / "got" / version, TRUSTED)


def test_a_flipped_byte_anywhere_is_refused_with_the_files_name(store: Store, tmp_path: Path) -> None:
    version = publish(store, write(tmp_path / "b"), KEY)
    got = tmp_path / "got"
    names = [*bundle.fetch_bundle(store, "digits", version, got, TRUSTED).files, "manifest.json"]
    flips = 0
    for name in names:
        whole = (got / name).read_bytes()
        for at in range(len(whole)):
            bit = (0x01, 0x20, 0x80)[at % 3]
            (got / name).write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
            with pytest.raises(SignatureError, match=name):
                bundle.verify_bundle(got, TRUSTED)
            flips += 1
        (got / name).write_bytes(whole)
    bundle.verify_bundle(got, TRUSTED)
    assert flips > 1000


def test_a_flipped_byte_in_the_store_is_refused_and_leaves_no_bundle(store: Store, tmp_path: Path) -> None:
    version = publish(store, write(tmp_path / "b"), KEY)
    for n, name in enumerate(["model.onnx", "exports/int8.onnx", "manifest.json"]):
        key = f"models/digits/versions/{version}/{name}"
        whole = store.get(key)
        store.put(key, whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
        with pytest.raises(SignatureError, match=name):
            bundle.fetch_bundle(store, "digits", version, tmp_path / f"got{n}", TRUSTED)
        assert not (tmp_path / f"got{n}" / "manifest.json").exists()
        store.put(key, whole)
        bundle.fetch_bundle(store, "digits", version, tmp_path / f"got{n}", TRUSTED)


def test_what_is_missing_cut_or_added_is_refused(store: Store, tmp_path: Path) -> None:
    version = publish(store, write(tmp_path / "b"), KEY)
    got = tmp_path / "got"

    def fetch() -> None:
        bundle.fetch_bundle(store, "digits", version, got, TRUSTED)

    fetch()
    (got / "model.onnx").unlink()
    with pytest.raises(SignatureError, match=r"model\.onnx is missing"):
        bundle.verify_bundle(got, TRUSTED)
    fetch()  # heals what is not there or does not hold
    (got / "model.onnx").write_bytes((got / "model.onnx").read_bytes()[:-1])
    with pytest.raises(SignatureError, match=r"model\.onnx was changed"):
        bundle.verify_bundle(got, TRUSTED)
    fetch()
    (got / "model.onnx.0a1b2c3d.part").write_bytes(b"left by a killed download")
    bundle.verify_bundle(got, TRUSTED)
    (got / "weights.bin").write_bytes(b"smuggled")
    with pytest.raises(SignatureError, match=r"weights\.bin is not part"):
        fetch()
    (got / "manifest.json").unlink()
    with pytest.raises(SignatureError, match=r"no manifest\.json"):
        bundle.verify_bundle(got, TRUSTED)
    store.delete(f"models/digits/versions/{version}/schema.json")
    with pytest.raises(SignatureError, match=r"schema\.json is missing"):
        bundle.fetch_bundle(store, "digits", version, tmp_path / "fresh", TRUSTED)


def test_who_signed_counts(store: Store, tmp_path: Path) -> None:
    version = publish(store, write(tmp_path / "b"), KEY)
    stranger = Ed25519PrivateKey.generate().public_key()
    for trusted in ({}, {signing.key_id(stranger): stranger}):
        with pytest.raises(SignatureError, match=r"not trusted here.*TRIMTAB_TRUSTED_KEYS"):
            bundle.fetch_bundle(store, "digits", version, tmp_path / "got", trusted)
    # A stranger's signature under a trusted key's name.
    commit = f"models/digits/versions/{version}/manifest.json"
    envelope = json.loads(store.get(commit))
    other = publish(store, write(tmp_path / "c", 9), Ed25519PrivateKey.generate())
    envelope["signature"] = json.loads(store.get(f"models/digits/versions/{other}/manifest.json"))["signature"]
    store.put(commit, json.dumps(envelope, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())
    with pytest.raises(SignatureError, match="changed after it was signed"):
        bundle.fetch_bundle(store, "digits", version, tmp_path / "got", TRUSTED)


def test_a_signed_manifest_serves_for_its_own_version_alone(store: Store, tmp_path: Path) -> None:
    """An old, worse version put under a new one's name is a replay."""
    old, new = publish(store, write(tmp_path / "1", 1), KEY), publish(store, write(tmp_path / "2", 2), KEY)
    for key in list(store.list(f"models/digits/versions/{old}/")):
        store.put(key.replace(old, new), store.get(key))
    with pytest.raises(SignatureError, match="signed for another version"):
        bundle.fetch_bundle(store, "digits", new, tmp_path / "got", TRUSTED)


def test_unknown_versions_and_names_say_what_there_is(store: Store, tmp_path: Path) -> None:
    version = publish(store, write(tmp_path / "b"), KEY)
    with pytest.raises(NotFound, match=version):
        bundle.read_manifest(store, "digits", "v7-00000000")
    with pytest.raises(NotFound, match="trimtab run"):
        bundle.fetch_bundle(store, "other", "v7-00000000", tmp_path / "x", TRUSTED)
    for text in ("7", "v0-00000000", "v1-XYZ", "../v1-00000000"):
        with pytest.raises(ProjectError, match="not a version"):
            bundle.read_manifest(store, "digits", text)
    with pytest.raises(ProjectError, match="not a name"):
        bundle.list_versions(store, "No_Name")


def test_what_cannot_be_published_leaves_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="without files"):
        publish(store, tmp_path / "empty", KEY)
    (write(tmp_path / "odd") / "a b.txt").write_text("x")
    with pytest.raises(ModelError, match=r"a b\.txt"):
        publish(store, tmp_path / "odd", KEY)
    with pytest.raises(ModelError, match="JSON"):
        bundle.publish_bundle(
            store, "digits", write(tmp_path / "nan"), KEY, **{**FACTS, "metrics": {"accuracy": float("nan")}}
        )
    assert bundle.list_versions(store, "digits") == []
