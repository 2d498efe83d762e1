"""1,000 rounds of two processes on `create`: exactly one wins each, and its bytes are what is there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.core.store.racers import body, race
from tests.servers.fixtures import S3

from trimtab.core.store import Store, open_store
from trimtab.core.store.s3 import open_s3

ROUNDS = 1000


def check(store: Store, won: list[list[int]], rounds: int) -> None:
    assert sorted(n for mine in won for n in mine) == list(range(rounds))
    owner = {n: who for who, mine in enumerate(won) for n in mine}
    keys = [f"race/{n % 7}/{n:08d}" for n in range(rounds)]
    for n, key in enumerate(keys):
        assert store.get(key) == body(owner[n], n)
    assert list(store.list("")) == sorted(keys)


def test_two_processes_on_a_folder(tmp_path: Path) -> None:
    url = (tmp_path / "store").as_uri()
    won = race(url, ROUNDS)
    check(open_store(url), won, ROUNDS)
    assert all(won), "one writer won every round: nothing was raced"
    assert list((tmp_path / "store" / "~tmp").iterdir()) == []


@pytest.mark.parametrize("rounds", [100, pytest.param(ROUNDS, marks=pytest.mark.campaign)])
def test_two_processes_on_s3(s3: S3, rounds: int) -> None:
    url = s3.fresh()
    won = race(url, rounds, s3.settings)
    check(open_s3(url, s3.settings), won, rounds)
    assert all(won), "one writer won every round: nothing was raced"


def test_many_threads_on_one_key(anystore: Store) -> None:
    with ThreadPoolExecutor(16) as pool:
        for n in range(20):
            won = list(pool.map(lambda who, n=n: anystore.create(f"k/{n}", body(who, n)), range(16)))
            assert sum(won) == 1
            assert anystore.get(f"k/{n}") == body(won.index(True), n)


def test_create_and_delete_side_by_side(tmp_path: Path) -> None:
    """Deleting the last key of a folder takes the folder away; a create there at that moment still works."""
    store = open_store((tmp_path / "store").as_uri())

    def come_and_go(who: int) -> int:
        for n in range(200):
            assert store.create(f"a/b/{who}/{n}", b"x")
            store.delete(f"a/b/{who}/{n}")
        return who

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(come_and_go, range(4))) == [0, 1, 2, 3]
    assert list(store.list("")) == []
