"""The folder beside the store in which local runs keep artifacts, cache and logs.

It stays the same for a store, so that a run that was killed finds what it had finished.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from trimtab.core.settings import Settings
    from trimtab.core.store import Store


def work_folder(store_url: str, settings: Settings) -> Path:
    """Where local runs on a store work.

    Beside a folder store (`work` beside `store`, else `<name>.work`); for S3 below the user's configuration folder.
    """
    scheme, separator, rest = store_url.partition("://")
    if separator and scheme != "file":
        return settings.home / "work" / hashlib.sha256(store_url.encode()).hexdigest()[:12]
    store = Path(unquote("/" + rest.partition("/")[2])) if separator else Path(store_url).absolute()
    return store.parent / ("work" if store.name == "store" else f"{store.name}.work")


def artifacts(work: Path) -> Path:
    """KFP's pipeline root."""
    return work / "artifacts"


def cache(work: Path) -> Path:
    """KFP's cache of finished tasks."""
    return work / "cache"


def run_folder(work: Path, key: str) -> Path:
    """Logs and launch record of one run."""
    return work / "runs" / key


def discard_if_stale(work: Path, store: Store) -> None:
    """Forget the cache when the store holds no run: it was emptied, and cached results point into it."""
    if cache(work).is_dir() and next(iter(store.list("runs/")), None) is None:
        shutil.rmtree(cache(work), ignore_errors=True)
