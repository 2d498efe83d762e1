"""Where one demo keeps its things: a prefix of the store, and a local folder beside it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlparse

from trimtab.core.records import utcnow
from trimtab.core.settings import Settings


@dataclass(frozen=True)
class Workspace:
    """One demo's places.

    Attributes:
        name: its start time, e.g. `20261121T140500Z`.
        folder: keys, token, spool, logs of the processes, results.
        store_url: its own prefix of the user's store.
    """

    name: str
    folder: Path
    store_url: str

    @property
    def logs(self) -> Path:
        """Folder of the processes' logs."""
        return self.folder / "logs"

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of the demo's processes: this workspace's store, keys and tokens, one thread each."""
        home = self.folder / "home"
        return {
            **os.environ,
            "TRIMTAB_STORE": self.store_url,
            "TRIMTAB_HOME": str(home),
            "TRIMTAB_SIGNING_KEY": str(home / "signing.pem"),
            "TRIMTAB_TRUSTED_KEYS": str(home / "trusted"),
            "TRIMTAB_TOKENS": str(home / "tokens.json"),
            "TRIMTAB_TOKEN_FILE": str(home / "token"),
            "TRIMTAB_SPOOL": str(self.folder / "spool"),
            "DO_NOT_TRACK": "1",
            "OMP_NUM_THREADS": "1",
            **more,
        }


def local_root(store_url: str) -> Path:
    """The folder for local things: beside a folder store, else `.trimtab` here."""
    parts = urlparse(store_url)
    return Path(unquote(parts.path)).parent if parts.scheme == "file" else Path.cwd() / ".trimtab"


def make_workspace(settings: Settings) -> Workspace:
    """A new workspace; two demos that start in the same second get different ones."""
    start = utcnow().strftime("%Y%m%dT%H%M%SZ")
    root = local_root(settings.store) / "demos"
    root.mkdir(parents=True, exist_ok=True)
    for n in range(1, 1000):
        name = start if n == 1 else f"{start}-{n}"
        try:
            (root / name).mkdir()
        except FileExistsError:
            continue
        (root / name / "logs").mkdir()
        (root / name / "home").mkdir(mode=0o700)
        return Workspace(name, root / name, f"{settings.store.rstrip('/')}/demos/{name}")
    raise FileExistsError(root / start)
