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

    def publish(self, folder: Path, kill_at: int = 0, going_on: float | None = None) -> str:
        """The version and the operations it took; or `killed`, at an operation or so many seconds later."""
        assert self.process.stdin is not None
        how = "stop 0" if going_on is None else f"go {going_on:.6f}"
        self.process.stdin.write(f"{kill_at} {how} {folder}\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self.process.communicate(timeout=120)

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


def campaign(store: Store, publisher: Publisher, tmp_path: Path) -> None:
    """Kills at operations drawn at random: every other one while the publish stands still, the rest while it goes on.

    How many of the second kind come too late depends on the machine; so it is the first kind that is counted on.
    """
    chance = random.Random(4)
    started = time.monotonic()
    operations = int(publisher.publish(write(tmp_path / "first", 1000, SIZE)).split()[1])
    takes = (time.monotonic() - started) / operations
    killed = unfinished = 0
    for n in range(1, MOMENTS + 1):
        bundle = write(tmp_path / "bundle", n, SIZE)
        before = whole(store, publisher, tmp_path / "got")
        going_on = chance.uniform(0, 2 * takes) if n % 2 else None
        said = publisher.publish(bundle, chance.randint(1, operations), going_on)
        assert said == "killed" or going_on is not None
        killed += said == "killed"
        after = whole(store, publisher, tmp_path / "got")
        assert len(after) - len(before) in {0, 1}
        unfinished += len(after) == len(before)
        version = publisher.publish(bundle).split()[0]
        assert whole(store, publisher, tmp_path / "got")[-1] == version
        assert len(list_versions(store, "digits")) == len(before) + 1
        assert version.startswith(f"v{len(before) + 1}-")
    # Standing still before an operation is before the commit, whatever the machine.
    assert unfinished >= MOMENTS // 4
    print(f"{killed} of {MOMENTS} killed, {unfinished} of them before the commit; an operation takes {takes:.4f} s")


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
