"""The remembering store: immutable records are read once, what may change is read each time."""

from __future__ import annotations

import pytest
from tests.monitoring.world import Dying

from trimtab.core.errors import NotFound
from trimtab.core.store import Store
from trimtab.monitoring.remember import LARGEST, Remembering


def test_a_record_is_read_once_and_a_report_each_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []

    class Counting(Dying):
        def get(self, key: str) -> bytes:
            reads.append(key)
            return super().get(key)

    remembering = Remembering(Counting(store))
    with pytest.raises(NotFound):
        remembering.get("campaigns/a/1.json")
    assert remembering.create("campaigns/a/1.json", b"one")
    store.put("reports/a.html", b"r")
    store.put("models/a/large", b"x" * (LARGEST + 1))
    for _ in range(3):
        assert remembering.get("campaigns/a/1.json") == b"one"
        remembering.get("reports/a.html")
        remembering.get("models/a/large")
    assert [reads.count(k) for k in ("campaigns/a/1.json", "reports/a.html", "models/a/large")] == [2, 3, 3]
    assert list(remembering.list("campaigns/")) == ["campaigns/a/1.json"]


def test_it_holds_no_more_than_it_may(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.monitoring.remember.KEPT", 2)
    remembering = Remembering(store)
    for i in range(5):
        remembering.create(f"campaigns/a/{i}", b"%d" % i)
        remembering.get(f"campaigns/a/{i}")
    assert len(remembering._known) == 2
