"""The ledger: one writer wins, the chain shows every change, and state is a fold."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from trimtab.core import ledger
from trimtab.core.errors import RecordError, RolloutError
from trimtab.core.ledger import State
from trimtab.core.store import Store

A, B, C = "v1-aaaaaaaa", "v2-bbbbbbbb", "v3-cccccccc"


def write(store: Store, *events: tuple[str, str] | tuple[str, str, int]) -> State:
    state = ledger.state(store, "m")
    for event, version, *percent in events:
        after = ledger.append(
            store, "m", event, version, expect=state, who="test", why="because", percent=percent[0] if percent else 0
        )
        assert after is not None
        state = after
    assert state == ledger.state(store, "m")
    return state


def test_the_life_of_a_version(store: Store) -> None:
    state = write(store, ("published", A), ("promoted", A), ("published", B), ("shadowed", B))
    assert (state.champion, state.shadow, state.canary) == (A, B, None)
    state = write(store, ("canaried", B, 10))
    assert (state.champion, state.shadow, state.canary, state.canary_percent) == (A, None, B, 10)
    state = write(store, ("canaried", B, 50))
    assert state.canary_percent == 50
    state = write(store, ("promoted", B))
    assert (state.champion, state.canary, state.canary_percent, state.promoted) == (B, None, 0, (A, B))


def test_a_canary_that_loses(store: Store) -> None:
    write(store, ("promoted", A))
    for event in ("rejected", "rolled_back", "refused"):
        state = write(store, ("canaried", B, 10), (event, B))
        assert (state.champion, state.canary, state.canary_percent) == (A, None, 0)
        assert B in (state.rolled_back if event == "rolled_back" else state.rejected)


def test_a_rollback_returns_to_the_last_promoted_that_is_good(store: Store) -> None:
    state = write(store, ("promoted", A), ("promoted", B), ("promoted", C))
    assert state.before(C) == B
    assert write(store, ("rolled_back", C)).champion == B
    state = write(store, ("rolled_back", B))
    assert state.champion == A
    assert state.rolled_back == {B, C}
    assert write(store, ("rolled_back", A)).champion is None
    state = write(store, ("promoted", C))  # by hand: it comes back
    assert state.champion == C
    assert state.rolled_back == {A, B}
    assert write(store, ("rolled_back", C)).champion is None


def test_a_champion_that_comes_again_is_the_latest(store: Store) -> None:
    state = write(store, ("promoted", A), ("promoted", B), ("promoted", A))
    assert state.promoted == (B, A)
    assert write(store, ("rolled_back", A)).champion == B


def test_an_append_on_an_old_state_loses(store: Store) -> None:
    old = write(store, ("promoted", A))
    write(store, ("canaried", B, 10))
    assert ledger.append(store, "m", "rejected", B, expect=old, who="x", why="y") is None
    assert [e.event for e in ledger.read(store, "m")] == ["promoted", "canaried"]


def test_of_two_who_append_at_once_one_wins(store: Store) -> None:
    """200 rounds of four writers on the same head; the chain holds."""
    state = State()

    def go(who: int) -> State | None:
        return ledger.append(store, "m", "published", A, expect=state, who=f"w{who}", why="race")

    with ThreadPoolExecutor(4) as pool:
        for _ in range(200):
            won = [after for after in pool.map(go, range(4)) if after is not None]
            assert len(won) == 1
            state = won[0]
    assert ledger.state(store, "m") == state
    assert state.seq == 200


def test_who_polls_reads_only_what_is_new(store: Store) -> None:
    known = write(store, ("promoted", A), ("canaried", B, 10))
    assert ledger.refresh(store, "m", known) is known
    now = write(store, ("promoted", B))
    assert ledger.refresh(store, "m", known) == now
    assert [e.seq for e in ledger.read(store, "m", after_seq=2)] == [3]
    assert ledger.refresh(store, "none", State()) == State()


def test_what_served_then(store: Store) -> None:
    first = write(store, ("promoted", A))
    second = write(store, ("promoted", B))
    assert first.at is not None
    assert second.at is not None
    assert ledger.state_at(store, "m", first.at).champion == A
    assert ledger.state_at(store, "m", second.at).champion == B
    assert ledger.state_at(store, "m", first.at - timedelta(seconds=1)).champion is None


def test_time_does_not_run_backwards(store: Store) -> None:
    """A writer whose clock is an hour ahead goes before us."""
    state = write(store, ("promoted", A))
    assert state.at is not None
    ahead = State(seq=state.seq, head=state.head, at=state.at + timedelta(hours=1))
    assert ledger.append(store, "m", "promoted", B, expect=ahead, who="x", why="y") is not None
    last = write(store, ("promoted", C))
    assert last.at == ahead.at


@pytest.mark.parametrize("seq", [1, 2, 3])
def test_every_changed_byte_breaks_the_chain(store: Store, seq: int) -> None:
    write(store, ("promoted", A), ("promoted", B), ("promoted", C), ("published", C))
    key = f"models/m/ledger/{seq:08d}.json"
    whole = store.get(key)
    store.put(key, whole.replace(b'"why":"because"', b'"why":"becausf"'))
    with pytest.raises(RecordError, match=f"entry {seq + 1} does not follow from entry {seq}"):
        ledger.read(store, "m")
    for at in range(0, len(whole), 7):
        store.put(key, whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(RecordError):
            ledger.read(store, "m")
    store.put(key, whole)
    assert ledger.state(store, "m").champion == C


def test_a_missing_entry_is_seen(store: Store) -> None:
    known = write(store, ("promoted", A))
    write(store, ("promoted", B), ("promoted", C))
    store.delete("models/m/ledger/00000002.json")
    with pytest.raises(RecordError, match="entry 2 is missing"):
        ledger.state(store, "m")
    with pytest.raises(RecordError, match="entry 2 is missing"):
        ledger.refresh(store, "m", known)


def test_entries_swapped_are_seen(store: Store) -> None:
    write(store, ("promoted", A), ("promoted", B), ("promoted", C))
    one, two = (f"models/m/ledger/0000000{n}.json" for n in (1, 2))
    first, second = store.get(one), store.get(two)
    store.put(one, second)
    store.put(two, first)
    with pytest.raises(RecordError, match="not what its key says"):
        ledger.read(store, "m")


def test_what_is_no_event_is_refused(store: Store) -> None:
    for event, percent in (("crowned", 0), ("canaried", 101), ("canaried", -1), ("promoted", 5)):
        with pytest.raises(RolloutError):
            ledger.append(store, "m", event, A, expect=State(), who="x", why="y", percent=percent)
    assert ledger.read(store, "m") == []
