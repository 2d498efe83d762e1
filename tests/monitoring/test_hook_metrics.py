"""What counts as a version taken back, from the ledger's entries."""

from __future__ import annotations

from typing import Any

import pytest

from trimtab.core.ledger import Entry
from trimtab.core.records import utcnow
from trimtab.monitoring.hook_metrics import TAKERS, taken_back

JUDGED: dict[str, Any] = {"key": "rollouts/toy/00000001/evidence-0002.json", "digest": "ab"}


def entries(*events: tuple[str, str] | tuple[str, str, dict[str, Any]]) -> list[Entry]:
    """A ledger that begins with v1 as champion."""
    told = [("promoted", "v1", None), *((e[0], e[1], e[2] if len(e) > 2 else None) for e in events)]
    return [
        Entry(n, event, version, 10 if event == "canaried" else 0, "test", "", basis, utcnow(), "", "")
        for n, (event, version, basis) in enumerate(told, start=1)
    ]


@pytest.mark.parametrize(
    ("ledger", "who"),
    [
        (entries(("shadowed", "v2"), ("canaried", "v2"), ("rejected", "v2", JUDGED)), "judge"),
        (entries(("shadowed", "v2"), ("canaried", "v2"), ("rolled_back", "v2")), "person"),
        (entries(("shadowed", "v2"), ("canaried", "v2"), ("refused", "v2")), "server"),
        (entries(("promoted", "v2"), ("rolled_back", "v2")), "person"),
        (entries(("promoted", "v2"), ("refused", "v2")), "server"),
        (entries(("canaried", "v2"), ("rejected", "v2", JUDGED), ("rolled_back", "v2")), "judge"),
        (entries(("shadowed", "v2"), ("rejected", "v2", JUDGED)), ""),
        (entries(("shadowed", "v2"), ("refused", "v2")), ""),
        (entries(("shadowed", "v2"), ("canaried", "v2"), ("rejected", "v2"), ("shadowed", "v3")), ""),
        (entries(("shadowed", "v2"), ("canaried", "v2"), ("promoted", "v2"), ("rejected", "v3")), ""),
    ],
    ids=[
        "canary-judged", "canary-by-hand", "canary-refused", "champion-by-hand", "champion-refused", "judged-asked",
        "lost-in-the-shadow", "refused-in-the-shadow", "superseded", "promoted",
    ],
)  # fmt: skip
def test_it_counts_once_and_only_what_answered_requests(ledger: list[Entry], who: str) -> None:
    assert dict(taken_back(ledger)) == ({who: 1} if who else {})
    assert set(taken_back(ledger)) <= set(TAKERS)
