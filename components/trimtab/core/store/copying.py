"""A whole store copied to another: backup, restore, move. Safe to repeat; what is there is compared, not written again.

Truth is created, never overwritten, and so it is copied: a target whose records differ is refused, never changed. The
order keeps a copy that was cut off from looking whole: first everything else, then the manifests that commit versions
and datasets, then the ledgers, as far as they went when the copy began. Every object is read back from the target.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.core import ledger
from trimtab.core.envelope import MANIFEST, open_envelope
from trimtab.core.errors import NotFound, SignatureError, StoreRefused, TrimtabError
from trimtab.core.store.folder import FolderStore

if TYPE_CHECKING:
    from trimtab.core.store import Store

# Derived things may be made again and are written over; a trial of conditional create is nothing to keep.
DERIVED, LEFT_OUT = ("reports/",), ("probe/",)
# Objects under these may be large: they go through a file, and beyond so many bytes by an upload in parts.
LARGE = ("datasets/", "models/")
LARGE_BYTES = 32 << 20
WORKERS, WAITING = 8, 64
_LEDGER = re.compile(r"models/([^/]+)/ledger/\d{8}\.json")
_COMMIT = re.compile(rf"(models/[^/]+/versions|datasets/[^/]+)/[^/]+/{re.escape(MANIFEST)}")


@dataclass
class Copied:
    """What a copy did.

    Attributes:
        copied: objects that were written.
        present: objects that were there already, byte for byte.
        gone: objects that left the source meanwhile (pruned, say).
        bytes: bytes of the objects written.
        models: number of the newest ledger entry by model, as copied.
    """

    copied: int = 0
    present: int = 0
    gone: int = 0
    bytes: int = 0
    models: dict[str, int] = field(default_factory=dict)


def copy(source: Store, target: Store, prefix: str = "", say: Callable[[Copied], None] | None = None) -> Copied:
    """Copy a store, or what lies below a prefix of its keys.

    Args:
        source: where from; it may be in use.
        target: where to: an empty store, or an earlier copy of the same one.
        prefix: the start of the keys that are copied; empty for all.
        say: told how far it has come.

    Raises:
        StoreRefused: the source holds nothing, one store lies in the other, the target has a history of its own, or
            something that differs; it was not changed.
        SignatureError: a bundle's file is not what its manifest says: the source is damaged.
        RecordError: a ledger of the source is damaged.
        StoreError: a store failed; copy again, and it goes on.
    """
    check(source, target, prefix)
    entries = _ledgers(source, prefix)
    for model, keys in entries.items():
        _same_history(source, target, model, keys)
    _no_other_history(target, entries, prefix)
    done = Copied()
    digests: dict[str, str] = {}

    def go(keys: Iterable[str]) -> None:
        for key, outcome, size, digest in _parallel(source, target, keys):
            done.copied += outcome == "copied"
            done.present += outcome == "present"
            done.gone += outcome == "gone"
            done.bytes += size if outcome == "copied" else 0
            if key.startswith("models/"):
                digests[key] = digest
            if say is not None:
                say(done)

    commits: list[str] = []
    go(_first(source, prefix, commits))
    for key in commits:
        _whole(source, key, digests)
    go(commits)
    for model, keys in entries.items():
        # Each entry rests on the one before: in order, so that a ledger that was cut off is a shorter one.
        for key in keys:
            go([key])
        done.models[model] = len(keys)
    return done


def check(source: Store, target: Store, prefix: str = "") -> None:
    """There is something to copy, and another place to copy it to.

    Raises:
        StoreRefused: the source holds nothing below the prefix, or one store lies in the other.
    """
    one, other = _place(source), _place(target)
    if one == other:
        raise StoreRefused("a store cannot be copied onto itself", object=source.url)
    if one.startswith(f"{other}/") or other.startswith(f"{one}/"):
        raise StoreRefused("one store lies in the other", object=source.url, got=target.url, hint="name another place")
    if all(key.startswith(LEFT_OUT) for key in source.list(prefix)):
        raise StoreRefused(
            "there is nothing to copy",
            object=f"{source.url}/{prefix}".rstrip("/"),
            expected="a store with something in it",
            hint="see that URL and --prefix are right",
        )


def _place(store: Store) -> str:
    """Where a store is: a folder by its real path, a bucket by its endpoint too."""
    if isinstance(store, FolderStore):
        return store.root.resolve().as_uri().rstrip("/")
    return f"{getattr(store, 'endpoint', '')} {store.url}"


def _ledgers(store: Store, prefix: str) -> dict[str, list[str]]:
    """The entries' keys of each model's ledger as it stands now, its chain checked."""
    found: dict[str, list[str]] = {}
    for key in store.list(prefix if prefix.startswith("models/") else "models/"):
        match = _LEDGER.fullmatch(key)
        if match and key.startswith(prefix):
            found.setdefault(match[1], []).append(key)
    for model in found:
        ledger.read(store, model)
    return found


def _same_history(source: Store, target: Store, model: str, keys: list[str]) -> None:
    """The target's ledger of a model, where it has one, is the beginning of the source's."""
    known = set(keys)
    for key in target.list(f"models/{model}/ledger/"):
        if key not in known or target.get(key) != source.get(key):
            raise StoreRefused(
                "the target has a history of its own",
                object=f"{target.url}/{key}",
                expected=f"nothing, or what {source.url} has there",
                got="another entry",
                hint="copy into an empty store or prefix",
            )


def _no_other_history(target: Store, known: dict[str, list[str]], prefix: str) -> None:
    """The target has no ledger of a model that the source has none of."""
    for key in target.list(prefix if prefix.startswith("models/") else "models/"):
        match = _LEDGER.fullmatch(key)
        if match and key.startswith(prefix) and match[1] not in known:
            raise StoreRefused(
                "the target has a model that the source has not",
                object=f"{target.url}/models/{match[1]}",
                hint="copy into an empty store or prefix",
            )


def _first(source: Store, prefix: str, commits: list[str]) -> Iterator[str]:
    """What is copied first; the manifests that commit the rest are put aside."""
    for key in source.list(prefix):
        if key.startswith(LEFT_OUT) or _LEDGER.fullmatch(key):
            continue
        if _COMMIT.fullmatch(key):
            commits.append(key)
        else:
            yield key


def _whole(source: Store, key: str, digests: dict[str, str]) -> None:
    """The files of a bundle, as copied, are those of its manifest."""
    if not key.startswith("models/"):
        return
    base = key.removesuffix(MANIFEST)
    for name, digest in open_envelope(source.get(key), None, f"{source.url}/{key}").files.items():
        found = digests.get(f"{base}{name}", "nothing")
        if found != digest:
            raise SignatureError(
                "a bundle's file is not what its manifest says",
                object=f"{source.url}/{base}{name}",
                expected=digest[:16],
                got=found[:16],
                hint="restore the version from another backup, or publish it again",
            )


Done = tuple[str, str, int, str]


def _parallel(source: Store, target: Store, keys: Iterable[str]) -> Iterator[Done]:
    """Copy several at a time; the first trouble ends it, once what is under way has ended."""
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="copy") as pool:
        running: set[Future[Done]] = set()
        try:
            for key in keys:
                running.add(pool.submit(_one, source, target, key))
                if len(running) >= WAITING:
                    ended, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (one.result() for one in ended)
            while running:
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (one.result() for one in ended)
        except TrimtabError:
            pool.shutdown(cancel_futures=True)
            raise


def _one(source: Store, target: Store, key: str) -> Done:
    """Copy one object: its key, what became of it, its bytes and sha256."""
    try:
        if key.startswith(LARGE):
            return _by_file(source, target, key)
        body = source.get(key)
    except NotFound:
        if key.startswith("models/"):
            raise
        return key, "gone", 0, ""
    return key, _write(target, key, body), len(body), hashlib.sha256(body).hexdigest()


def _by_file(source: Store, target: Store, key: str) -> Done:
    with tempfile.TemporaryDirectory(prefix="trimtab-copy-") as folder:
        path = Path(folder) / "object"
        source.download(key, path)
        size = path.stat().st_size
        if size <= LARGE_BYTES:
            body = path.read_bytes()
            return key, _write(target, key, body), size, hashlib.sha256(body).hexdigest()
        digest = _sha256(path)
        outcome = "present" if target.exists(key) else "copied"
        if outcome == "copied":
            target.upload(path, key)
        target.download(key, path)
        _check(target, key, digest, _sha256(path))
        return key, outcome, size, digest


def _write(target: Store, key: str, body: bytes) -> str:
    digest = hashlib.sha256(body).hexdigest()
    if key.startswith(DERIVED):
        target.put(key, body)
        return "copied"
    created = target.create(key, body)
    _check(target, key, digest, hashlib.sha256(target.get(key)).hexdigest())
    return "copied" if created else "present"


def _check(target: Store, key: str, digest: str, found: str) -> None:
    if digest != found:
        raise StoreRefused(
            "the target has something else there",
            object=f"{target.url}/{key}",
            expected=f"sha256 {digest[:16]}",
            got=found[:16],
            hint="copy into an empty store or prefix",
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
