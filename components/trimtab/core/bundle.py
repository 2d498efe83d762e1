"""What a published version of a model is: files, and a signed manifest that is the commit.

`models/<name>/versions/<version>/` holds the files and, written last by `create`, `manifest.json`: one envelope
`{key, payload, signature}` whose payload (JSON text) names the sha256 of each file; the Ed25519 signature is over
the payload's bytes. Files without a manifest are garbage of a publish that was killed.

Which version the same files are is settled by one `create` under their digest
(`models/<name>/versions/by-digest/<digest>.json`), so publishing again, also at once or after a kill, gives the
same version.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.core.envelope import MANIFEST, Manifest, open_envelope, seal
from trimtab.core.errors import ModelError, NotFound, ProjectError, SignatureError
from trimtab.core.records import canonical, create_record, read_record, utcnow
from trimtab.core.store.keys import check_name, is_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    from trimtab.core.store import Store

__all__ = [
    "MANIFEST", "Manifest", "check_version", "fetch_bundle", "file_digests", "list_models", "list_versions",
    "publish_bundle", "read_manifest", "verify_bundle",
]  # fmt: skip
# What a download that was killed leaves; another process may still be writing one.
_PARTIAL = re.compile(r".*\.[0-9a-f]{8}\.part")
_VERSION = re.compile(r"v([1-9][0-9]{0,7})-([0-9a-f]{8})")


def publish_bundle(
    store: Store,
    model: str,
    folder: Path,
    key: Ed25519PrivateKey,
    *,
    metrics: Mapping[str, Any],
    threshold: float | None,
    lineage: Mapping[str, Any],
    project: Mapping[str, Any],
    created_at: datetime | None = None,
) -> str:
    """Publish the files of a folder as a version of a model; the same files give the same version.

    Args:
        store: where to.
        model: the model's name.
        folder: the bundle's files; a `manifest.json` in it is left aside.
        key: what to sign with.
        metrics: name → value with its interval, as evaluated on the sealed test.
        threshold: the decision threshold of a binary model, None where the most probable class is meant.
        lineage: run key, code version, dataset, parent version, candidate, campaign.
        project: the whole canonical project; those who follow the version read their settings from it.
        created_at: by default now.

    Returns:
        The version, `v<n>-<8 hex digits of the files' digest>`.

    Raises:
        ModelError: the folder holds no files, or a file's name cannot be a key.
        StoreError: the store did not do it; publishing again goes on where it stopped.
    """
    check_name(model)
    files = file_digests(folder)
    if not files:
        raise ModelError("a bundle without files cannot be published", object=str(folder))
    digest = hashlib.sha256(canonical(files)).hexdigest()
    version = _claim(store, model, digest)
    manifest = Manifest(
        model=model,
        version=version,
        files=files,
        metrics=dict(metrics),
        threshold=threshold,
        lineage=dict(lineage),
        project=dict(project),
        created_at=created_at or utcnow(),
    )
    commit = f"{_base(model, version)}{MANIFEST}"
    if not store.exists(commit):
        body = seal(manifest, key)
        for name in files:
            store.upload(folder / name, f"{_base(model, version)}{name}")
        # Where another publish of the same files was faster, its manifest is as good.
        store.create(commit, body)
    return version


def fetch_bundle(
    store: Store,
    model: str,
    version: str,
    folder: Path,
    trusted: Mapping[str, Ed25519PublicKey],
) -> Manifest:
    """Download a version and verify all of it; files already there that hold are not fetched again.

    Args:
        store: where from.
        model: the model's name.
        version: which.
        folder: where to; made where it is not there.
        trusted: the accepted public keys by id.

    Raises:
        NotFound: no such version is published.
        SignatureError: the signature or a file's digest does not hold; names the file.
    """
    base = _base(check_name(model), check_version(version))
    try:
        body = store.get(f"{base}{MANIFEST}")
    except NotFound:
        raise _unknown(store, model, version) from None
    manifest = open_envelope(body, trusted, f"{store.url}/{base}{MANIFEST}")
    if (manifest.model, manifest.version) != (model, version):
        raise SignatureError(
            f"{MANIFEST} was signed for another version",
            object=f"{store.url}/{base}{MANIFEST}",
            expected=f"{model} {version}",
            got=f"{manifest.model} {manifest.version}",
        )
    for name, digest in manifest.files.items():
        path = folder / name
        if not path.is_file() or _sha256(path) != digest:
            try:
                store.download(f"{base}{name}", path)
            except NotFound:
                raise SignatureError(
                    f"the bundle's file {name} is missing", object=f"{store.url}/{base}{name}"
                ) from None
            _check_file(path, name, digest, f"{model} {version}")
    (folder / MANIFEST).write_bytes(body)
    return verify_bundle(folder, trusted)


def verify_bundle(folder: Path, trusted: Mapping[str, Ed25519PublicKey]) -> Manifest:
    """Verify a bundle in a folder: signature, every file's digest, and that there is no file beside them.

    Raises:
        SignatureError: something does not hold; names the file.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise SignatureError(f"the bundle has no {MANIFEST}", object=str(folder))
    manifest = open_envelope(path.read_bytes(), trusted, str(path))
    for name, digest in manifest.files.items():
        if not (folder / name).is_file():
            raise SignatureError(f"the bundle's file {name} is missing", object=str(folder / name))
        _check_file(folder / name, name, digest, f"{manifest.model} {manifest.version}")
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = file.relative_to(folder).as_posix()
        if name not in manifest.files and name != MANIFEST and not _PARTIAL.fullmatch(name):
            raise SignatureError(
                f"the file {name} is not part of the signed bundle",
                object=str(file),
                hint="take it away, or fetch the version into an empty folder",
            )
    return manifest


def read_manifest(store: Store, model: str, version: str) -> Manifest:
    """The manifest of a published version, unverified: for showing, never for loading a model.

    Raises:
        NotFound: no such version is published.
        SignatureError: it is no manifest.
    """
    key = f"{_base(check_name(model), check_version(version))}{MANIFEST}"
    try:
        return open_envelope(store.get(key), None, f"{store.url}/{key}")
    except NotFound:
        raise _unknown(store, model, version) from None


def list_versions(store: Store, model: str) -> list[str]:
    """The published versions of a model, by number."""
    base = f"models/{check_name(model)}/versions/"
    found = []
    for key in store.list(base + "v"):
        version, _, name = key.removeprefix(base).partition("/")
        if name == MANIFEST and (match := _VERSION.fullmatch(version)):
            found.append((int(match[1]), version))
    return [version for _, version in sorted(found)]


def list_models(store: Store) -> list[str]:
    """The names of the models that the store knows, sorted."""

    def names() -> Iterator[str]:
        after: str | None = None
        while (key := next(store.list("models/", after=after), None)) is not None:
            name = key.split("/")[1]
            yield name
            after = f"models/{name}/~"  # '~' sorts behind whatever a key may hold: the next model's first key

    return list(names())


def check_version(version: str) -> str:
    """The version itself, when it is written as one.

    Raises:
        ProjectError: it is not.

    >>> check_version("v3-0a1b2c3d")
    'v3-0a1b2c3d'
    """
    if not _VERSION.fullmatch(version):
        raise ProjectError("not a version", expected="v<number>-<8 hex digits>", got=repr(version[:80]))
    return version


def file_digests(folder: Path) -> dict[str, str]:
    """The sha256 of each file below a folder by its path in it, sorted; `manifest.json` is left aside.

    Raises:
        ModelError: a file's name cannot be a key.
    """
    files: dict[str, str] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if name == MANIFEST:
            continue
        if not is_key(name):
            raise ModelError(
                "a bundle's file has a name that no store keeps",
                object=str(path),
                expected="letters, digits and ._=- in every part",
            )
        files[name] = _sha256(path)
    return dict(sorted(files.items()))


def _claim(store: Store, model: str, digest: str) -> str:
    """The version that files of this digest have, settled by whoever asks first."""
    key = f"models/{model}/versions/by-digest/{digest}.json"
    if not store.exists(key):
        highest = max((int(v[1:].partition("-")[0]) for v in list_versions(store, model)), default=0)
        create_record(store, key, "version-claim", {"version": f"v{highest + 1}-{digest[:8]}"})
    return check_version(str(read_record(store, key, "version-claim")["version"]))


def _base(model: str, version: str) -> str:
    return f"models/{model}/versions/{version}/"


def _unknown(store: Store, model: str, version: str) -> NotFound:
    newest = list_versions(store, model)[-5:]
    return NotFound(
        f"model {model} has no published version {version}",
        object=store.url,
        hint=f"published are {', '.join(newest)}" if newest else "publish one with `trimtab run`",
    )


def _check_file(path: Path, name: str, digest: str, bundle: str) -> None:
    if (found := _sha256(path)) != digest:
        raise SignatureError(
            f"the bundle's file {name} was changed after it was signed",
            object=bundle,
            expected=f"sha256 {digest[:16]}…",
            got=f"{found[:16]}…",
            hint="fetch it again; if that repeats, publish a new version and find out who wrote to the store",
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
