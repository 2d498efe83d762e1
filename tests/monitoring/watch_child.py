"""A watch's process, to be killed; its clock is the file `now` in its folder."""

from __future__ import annotations

import functools
from pathlib import Path

from tests.monitoring.nursery import Telling
from tests.monitoring.stream import MODEL

from trimtab.core.records import parse_time
from trimtab.monitoring.watch import Watch


@functools.cache
def _watch(url: str, folder: str, told: int) -> Watch:
    now = Path(folder) / "now"
    return Watch(Telling(url, told), MODEL, clock=lambda: parse_time(now.read_text()))


def work(url: str, folder: str, told: int) -> None:
    """Look once."""
    _watch(url, folder, told).step()
