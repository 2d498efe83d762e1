"""The rows of the replay, and what the first version alone answers to them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trimtab.core import bundle
from trimtab.core.schema import Schema
from trimtab.core.settings import Settings
from trimtab.core.signing import trusted_keys
from trimtab.core.store import Store
from trimtab.demo.replay import Row
from trimtab.ingest.stage import IngestConfig, ingest


def make_rows(
    store: Store, model: str, version: str, settings: Settings, source: Callable[[int, int], dict[str, Any]], start: int
) -> list[Row]:
    """Read the rows that are replayed and score them with the first version.

    Args:
        store: the demo's store.
        model: the model's name.
        version: its first version.
        settings: for the trusted keys.
        source: gives the source of a stretch of rows.
        start: first row of the replay; it goes to the end.
    """
    raise NotImplementedError
