"""Sticky shares: the same key, the same version; shares as large as the ledger says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest

from trimtab.core.errors import RequestError
from trimtab.core.ids import uuid7
from trimtab.serving.model import LoadedModel
from trimtab.serving.traffic import Traffic, bucket


@dataclass
class Named:
    version: str


def named(version: str) -> LoadedModel:
    return cast("LoadedModel", Named(version))


KEYS = [uuid7().encode() for _ in range(5000)] + [f"customer-{i}".encode() for i in range(5000)]


@pytest.mark.parametrize("percent", [0, 1, 10, 50, 99, 100])
def test_the_canary_gets_its_share(percent: int) -> None:
    traffic = Traffic(named("v1"), named("v2"), percent)
    chosen = [traffic.choose(key) for key in KEYS]
    share = sum(model.version == "v2" for model, _ in chosen) / len(KEYS)
    assert abs(share - percent / 100) < 0.02
    assert (share > 0) == (percent > 0)
    assert {(m.version, s) for m, s in chosen} <= {("v1", 100 - percent), ("v2", percent)}


def test_a_key_stays_where_it_was_as_the_share_grows() -> None:
    inside: set[bytes] = set()
    for percent in (10, 50, 100):
        now = {key for key in KEYS if bucket("v2", key) < percent * 100}
        assert inside <= now
        inside = now


def test_different_canaries_try_different_keys() -> None:
    first = {key for key in KEYS if bucket("v2", key) < 1000}
    second = {key for key in KEYS if bucket("v3", key) < 1000}
    assert len(first & second) < 0.3 * len(first)


def test_without_canary_everything_goes_to_the_champion() -> None:
    assert Traffic(named("v1")).choose(b"x")[1] == 100
    assert Traffic(named("v1"), None, 10).choose(b"x")[1] == 100


def test_what_does_not_serve_is_refused() -> None:
    with pytest.raises(RequestError, match="is not ready: starting") as caught:
        Traffic(why="starting").choose(b"x")
    assert caught.value.status == 503
    traffic = Traffic(named("v1"), named("v2"), 10)
    assert traffic.named("v2")[1] == 10
    with pytest.raises(RequestError, match="expected v1 or v2") as caught:
        traffic.named("v3")
    assert caught.value.status == 404
