"""A hook's process, to be killed: alerts itself all the time."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from tests.monitoring.nursery import Telling
from tests.monitoring.test_campaign import FOLLOWED
from tests.monitoring.world import MODEL, Place, Runs, World

from trimtab.core.store import open_store
from trimtab.monitoring.hook_service import HookService


@functools.cache
def _service(url: str, folder: str, told: int) -> HookService:
    # Files on their way into the store are this process's own: two hooks would read what the other has half written.
    own = Path(folder) / str(os.getpid())
    own.mkdir()
    world = World(open_store(url), own, FOLLOWED)
    return HookService(Telling(url, told), Runs(world), Place(), [MODEL], 0.001)


def work(url: str, folder: str, told: int) -> None:
    """Answer an alert and step once."""
    hook = _service(url, folder, told)
    hook.answer(MODEL, "drift")
    hook.round()
