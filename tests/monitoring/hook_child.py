"""A hook in a process of its own, to be killed: `python hook_child.py STORE FOLDER`; alerts itself all the time."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.monitoring.test_campaign import ROLLOUT
from tests.monitoring.world import MODEL, Place, Runs, World

from trimtab.core.store import open_store
from trimtab.monitoring.hook_service import HookService


def main(url: str, folder: str) -> None:
    """Answer alerts and step until killed."""
    store = open_store(url)
    blocks = {"rollout": ROLLOUT, "campaign": {"follow_ups": 1, "follow_up_windows": 1}}
    service = HookService(store, Runs(World(store, Path(folder), blocks)), Place(), [MODEL], 0.001)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        service.answer(MODEL, "drift")
        service.round()
        time.sleep(0.001)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
