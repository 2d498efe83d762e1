"""The plan, alone: whatever is there, it comes to what the ledger says, and never takes a share from nobody's pods."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from trimtab.monitoring.kserve.plan import Live, Seen, Track, Want, next_move, replacing_move

A, B, C = "v1-aaaaaaaa", "v2-bbbbbbbb", "v3-cccccccc"


def track(version: str, replicas: int = 1, percent: int = 0) -> Track:
    return Track(version, version, replicas, percent)


class Cluster:
    """Follows what is written at once, or a step later; keeps the share of requests that would have met no pod."""

    def __init__(self, live: Live, slow: bool = False) -> None:
        self.live, self.slow = live, slow
        self.shares: dict[str, int] = {}
        self.pods: dict[str, int] = {}
        self.trace: list[str] = []
        self.follow()

    def follow(self) -> None:
        stable, canary = self.live.stable, self.live.canary
        if stable is None:
            return
        taken = canary.replicas if canary is not None else 0
        self.pods = {stable.version: max(stable.replicas - taken, 1)}
        self.shares = {stable.version: 100}
        if canary is not None:
            self.pods[canary.version] = canary.replicas
            self.shares = {stable.version: 100 - canary.percent, canary.version: canary.percent}

    def seen(self) -> Seen:
        return Seen(self.pods, self.shares or None, settled=True)

    def write(self, to: Live) -> None:
        had = [t for t in (self.live.stable, self.live.canary) if t is not None and self.shares.get(t.version)]
        self.live = to
        names = [t.name for t in (to.stable, to.canary) if t is not None]
        assert len(set(names)) == len(names)
        lost = [t.name for t in had if t.name not in names]
        assert not lost, f"{lost} had a share and is gone"
        assert to.canary is None or to.stable is not None
        if to.canary is not None and to.stable is not None:
            assert to.canary.replicas <= to.stable.replicas or to.stable.replicas == 1
        self.follow()


def run(cluster: Cluster, want: Want, replicas: dict[str, int]) -> None:
    for _ in range(40):
        move = next_move(want, cluster.live, cluster.seen(), replicas)
        if move.kind == "done":
            return
        assert move.kind == "write", move.words
        assert move.to is not None
        cluster.trace.append(move.words)
        cluster.write(move.to)
    raise AssertionError(f"it does not end: {cluster.trace}")


LIVES = [
    Live(track(A)),
    Live(track(A, 2)),
    Live(track(A), track(B)),
    Live(track(A, 4), track(B, 2, 50)),
    Live(track(A, 4), track(B, 2, 100)),
    Live(track(B, 2), track(A, 1, 10)),
    Live(track(C, 3), track(B, 1, 10)),
    Live(replace(track(A), version=C)),
    Live(Track(A, "", 2)),
]
WANTS = [Want(A), Want(A, B), Want(A, B, 10), Want(A, B, 50), Want(B), Want(B, A, 10), Want(C), Want(A, C, 10)]


@pytest.mark.parametrize(("live", "want", "n"), list(itertools.product(LIVES, WANTS, (1, 3))))
def test_from_everywhere_to_everywhere(live: Live, want: Want, n: int) -> None:
    cluster = Cluster(live)
    run(cluster, want, dict.fromkeys((A, B, C), n))
    assert cluster.live.stable is not None
    assert cluster.live.stable.version == want.champion
    canary = cluster.live.canary
    assert (canary.version if canary else None) == want.tried
    assert (canary.percent if canary else 0) == want.percent
    assert cluster.pods[want.champion or ""] == n, "the champion keeps its pods beside a canary"
    assert canary is None or want.percent == 0 or cluster.pods[canary.version] == n


def test_the_way_up_and_the_way_back_in_words() -> None:
    cluster, two = Cluster(Live(track(A, 2))), {A: 2, B: 2}
    run(cluster, Want(A, B), two)
    run(cluster, Want(A, B, 10), two)
    run(cluster, Want(B), two)
    assert cluster.trace == [
        f"{B} is started in the dark, 1 pod",
        f"{B} gets 2 pods",
        f"{B} gets 10 % of the requests",
        f"{B} gets all requests",
        f"{B} is promoted, its pods stay as they are",
    ]
    cluster.trace.clear()
    run(cluster, Want(B, A, 10), two)
    run(cluster, Want(B), two)
    assert cluster.trace[-3:] == [f"{A} goes: 0 % first", f"{A} is removed", f"{B} has 2 pods"]


def test_a_share_waits_for_pods_weights_and_proxies() -> None:
    live = Live(track(A), track(B))
    assert "0 of 1 pod available" in next_move(Want(A, B, 10), live, Seen({A: 1}, {A: 100}), {A: 1, B: 1}).words
    full = Live(track(A), track(B, 1, 100))
    some = Seen({A: 1, B: 1}, {A: 90, B: 10}, settled=True)
    assert next_move(Want(B), full, some, {A: 1, B: 1}).words == f"{B} is to get 100 %, the route gives it 10 %"
    lagging = Seen({A: 1, B: 1}, {A: 0, B: 100})
    assert next_move(Want(B), full, lagging, {A: 1, B: 1}).kind == "wait"
    leaving = Seen({A: 1, B: 1}, {A: 100, B: 0})
    assert next_move(Want(A), Live(track(A), track(B)), leaving, {A: 1, B: 1}).kind == "wait"
    assert (
        next_move(Want(B), full, Seen({A: 1, B: 1}), {A: 1, B: 1}).words == f"{B}: there is no HTTPRoute with weights"
    )


def test_nothing_is_written_before_a_promotion() -> None:
    assert next_move(Want(None), Live(), Seen(), {}).kind == "done"
    assert replacing_move(Want(None), Live(), Seen(), {}).kind == "done"


def test_without_shares_one_change_replaces_the_version() -> None:
    two = {A: 2, B: 2}
    first = replacing_move(Want(A), Live(), Seen(), two)
    assert first.to == Live(Track(A, "", 2))
    assert first.to is not None
    change = replacing_move(Want(B), first.to, Seen({A: 2}), two)
    assert change.to == Live(Track(B, "", 2))
    assert replacing_move(Want(B), Live(Track(B, "", 2)), Seen({B: 1}), two).kind == "wait"
    assert replacing_move(Want(B), Live(Track(B, "", 2)), Seen({B: 2}), two).kind == "done"
    # A canary from before, when requests could be split, goes first.
    left = replacing_move(Want(A), Live(track(A, 2), track(B, 1, 10)), Seen({A: 2, B: 1}, {A: 90, B: 10}), two)
    assert left.words == f"{B} goes: 0 % first"
