"""kill -9 of a publish at 50 random moments: no version or a whole one, and the next publish works."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.core.bundles import write
from tests.servers.fixtures import S3

from trimtab.core import settings, signing
from trimtab.core.bundle import fetch_bundle, list_versions
from trimtab.core.store import Store, open_store
from trimtab.core.store.s3 import open_s3

MOMENTS = 50
SIZE = 100_000  # bytes a file: uploading takes a good part of the time


class Publisher:
    """The process of `publisher.py`."""

    def __init__(self, home: Path, environ: dict[str, str]) -> None:
        self.settings = settings.load({"TRIMTAB_HOME": str(home), **environ})
        signing.ensure_keypair(self.settings)
        root = Path(__file__).resolve().parents[2]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.publish.publisher"],
            cwd=root,
            env={**os.environ, "TRIMTAB_HOME": str(home), **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._answer() == "ready"

    def publish(self, folder: Path, kill_after: float | None = None) -> str:
        """The version, or `killed`."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{'-' if kill_after is None else f'{kill_after:.6f}'} {folder}\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self.process.communicate(timeout=20)

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


def whole(store: Store, publisher: Publisher, folder: Path) -> list[str]:
    """Every listed version is fetched and verified; gives the list."""
    trusted = signing.trusted_keys(publisher.settings.trusted_keys)
    versions = list_versions(store, "digits")
    for version in versions:
        if not (folder / version).exists():  # what was whole before stays whole: it is never written again
            fetch_bundle(store, "digits", version, folder / version, trusted)
    return versions


def timed(publisher: Publisher, folder: Path) -> float:
    """How long one publish takes, seconds."""
    started = time.monotonic()
    publisher.publish(folder)
    return time.monotonic() - started


def campaign(store: Store, publisher: Publisher, tmp_path: Path) -> None:
    chance = random.Random(4)
    takes = min(timed(publisher, write(tmp_path / "timed", 1000 + n, SIZE)) for n in range(5))
    killed = unfinished = n = 0
    while killed < MOMENTS:
        n += 1
        assert n < 5 * MOMENTS, "nearly every publish was over before it was killed"
        bundle = write(tmp_path / "bundle", n, SIZE)
        before = whole(store, publisher, tmp_path / "got")
        killed += publisher.publish(bundle, kill_after=chance.uniform(0, takes)) == "killed"
        after = whole(store, publisher, tmp_path / "got")
        assert len(after) - len(before) in {0, 1}
        unfinished += len(after) == len(before)
        version = publisher.publish(bundle)
        assert whole(store, publisher, tmp_path / "got")[-1] == version
        assert len(list_versions(store, "digits")) == len(before) + 1
        assert version.startswith(f"v{len(before) + 1}-")
    assert unfinished > MOMENTS // 4
    print(f"{killed} of {n} killed, {unfinished} of them before the commit; one publish takes {takes:.3f} s")


def test_on_a_folder(tmp_path: Path) -> None:
    url = (tmp_path / "store").as_uri()
    publisher = Publisher(tmp_path / "home", {"TRIMTAB_STORE": url})
    try:
        campaign(open_store(url), publisher, tmp_path)
    finally:
        publisher.close()


@pytest.mark.campaign
def test_on_s3(s3: S3, tmp_path: Path) -> None:
    url = s3.fresh()
    publisher = Publisher(tmp_path / "home", s3.environ(url))
    try:
        campaign(open_s3(url, s3.settings), publisher, tmp_path)
    finally:
        publisher.close()
