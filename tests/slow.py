"""When slow tests run: in which order, and until when."""

from __future__ import annotations

import os
import time

import pytest

# Seconds since the epoch after which no slow test begins; those that ran are counted, the others are listed.
END = "TRIMTAB_TESTS_END"
FIRST = ("cluster", "images")


def place(item: pytest.Item) -> int:
    """Where a test stands: ordinary tests and containers first, then fault campaigns, then simulations."""
    if any(item.get_closest_marker(name) for name in FIRST):
        return 0
    if item.get_closest_marker("campaign") is None:
        return 0
    return 2 if item.nodeid.startswith("tests/monitoring/") else 1


def begin(item: pytest.Item) -> None:
    """Report a slow test as not run where the time for such tests is over."""
    end = os.environ.get(END)
    slow = any(item.get_closest_marker(name) for name in (*FIRST, "campaign"))
    if end and slow and time.time() > float(end):
        pytest.skip(f'not run, the time that {END} gives was over: make test-slow PYTEST_ARGS="{item.nodeid}"')
