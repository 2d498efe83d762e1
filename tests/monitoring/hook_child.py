"""A hook's process, to be killed: alerts itself all the time."""

from __future__ import annotations

import functools
from pathlib import Path

from tests.monitoring.nursery import Telling
from tests.monitoring.test_campaign import FOLLOWED
from tests.monitoring.world import MODEL, Place, Runs, World

from trimtab.core.store import open_store
from trimtab.monitoring.hook_service import HookService


@functools.cache
def _service(url: str, folder: str, told: int) -> HookService:
    world = World(open_store(url), Path(folder), FOLLOWED)
    return HookService(Telling(url, told), Runs(world), Place(), [MODEL], 0.001)


def work(url: str, folder: str, told: int) -> None:
    """Answer an alert and step once."""
    hook = _service(url, folder, told)
    hook.answer(MODEL, "drift")
    hook.round()
