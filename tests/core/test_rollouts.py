"""Rollout requests: asked once, decided by the ledger, evidence frozen."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from trimtab.core import ledger, rollouts
from trimtab.core.errors import RolloutError
from trimtab.core.store import Store

A, B = "v1-aaaaaaaa", "v2-bbbbbbbb"


def ask(store: Store, version: str = A, kind: rollouts.Kind = "serve", **extra: object) -> int:
    return rollouts.request(store, "m", version, kind=kind, who="w", why="y", **extra)  # type: ignore[arg-type]


def append(store: Store, event: str, version: str, percent: int = 0) -> None:
    state = ledger.state(store, "m")
    assert ledger.append(store, "m", event, version, expect=state, who="c", why="d", percent=percent)


def test_asking_twice_while_undecided_is_asking_once(store: Store) -> None:
    assert ask(store) == ask(store) == 1
    assert ask(store, B) == 2
    assert ask(store, kind="promote") == 3
    assert ask(store, campaign=1) == 4
    assert ask(store, run_key="0123456789abcdef") == 5
    found = rollouts.requests(store, "m")
    assert [(r.n, r.version, r.kind, r.campaign) for r in found[:4]] == [
        (1, A, "serve", None), (2, B, "serve", None), (3, A, "promote", None), (4, A, "serve", 1),
    ]  # fmt: skip
    assert [r.n for r in rollouts.requests(store, "m", after=3)] == [4, 5]


@pytest.mark.parametrize("final", sorted(rollouts.FINAL))
def test_a_final_event_decides(store: Store, final: str) -> None:
    append(store, "rejected", A)  # an earlier life of the version decides nothing
    assert ask(store) == 1
    append(store, "canaried", A, 10)
    assert [r.n for r in rollouts.undecided(store, "m")] == [1]
    append(store, final, B)
    assert [r.n for r in rollouts.undecided(store, "m")] == [1]
    append(store, final, A)
    assert rollouts.undecided(store, "m") == []
    assert ask(store) == 2


def test_many_who_ask_at_once(store: Store) -> None:
    """The same thing is one request; different things are different numbers."""
    start = threading.Barrier(8)

    def go(n: int) -> int:
        start.wait(10)
        return ask(store, campaign=n % 4)

    for _ in range(10):
        with ThreadPoolExecutor(8) as pool:
            asked = list(pool.map(go, range(8)))
        assert sorted(set(asked)) == [1, 2, 3, 4]
        assert asked[:4] == asked[4:]


def test_evidence_is_frozen(store: Store) -> None:
    n = ask(store)
    assert rollouts.write_evidence(store, "m", n, 1, {"errors": 0, "rows": 100})
    assert not rollouts.write_evidence(store, "m", n, 1, {"errors": 50, "rows": 100})
    assert rollouts.write_evidence(store, "m", n, 10, {"rows": 1000})
    assert rollouts.write_evidence(store, "m", n, 2, {"rows": 200})
    found = rollouts.evidence(store, "m", n)
    assert [(e.k, e.figures["rows"]) for e in found] == [(1, 100), (2, 200), (10, 1000)]
    assert found[0].digest == hashlib.sha256(store.get(found[0].key)).hexdigest()
    assert rollouts.evidence(store, "m", n + 1) == []
    assert [r.n for r in rollouts.requests(store, "m")] == [n]


def test_a_server_refuses_once(store: Store) -> None:
    rollouts.refuse(store, "m", A, "host-1", "model.onnx was changed")
    rollouts.refuse(store, "m", A, "host-1", "something else")
    rollouts.refuse(store, "m", A, "host-2", "no memory")
    assert [(r.server, r.reason) for r in rollouts.refusals(store, "m", A)] == [
        ("host-1", "model.onnx was changed"),
        ("host-2", "no memory"),
    ]
    assert rollouts.refusals(store, "m", B) == []


def test_no_such_kind(store: Store) -> None:
    with pytest.raises(RolloutError, match="serve, rollback, promote"):
        ask(store, kind="crown")  # type: ignore[arg-type]
    assert rollouts.requests(store, "m") == []
