"""Work that is shared: by those who asked before it began, and by nobody else."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from trimtab.monitoring.shared_work import SharedWork


class Gate:
    """Work that tells when it begins, and ends when it is let go."""

    def __init__(self) -> None:
        self.runs = 0
        self.begun = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def work(self) -> int:
        self.runs += 1
        mine = self.runs
        self.begun.release()
        self.go.acquire()
        return mine


def ask(shared: SharedWork[int], work: Callable[[], int], got: list[int]) -> threading.Thread:
    """Ask in a thread of its own; back once it has asked."""
    before = shared.asked
    thread = threading.Thread(target=lambda: got.append(shared.result(work)))
    thread.start()
    while shared.asked == before:
        pass
    return thread


def test_those_who_ask_while_it_is_done_share_the_next_one() -> None:
    shared, gate = SharedWork[int](), Gate()
    first: list[int] = []
    threads = [ask(shared, gate.work, first)]
    gate.begun.acquire()
    # What is at work already may not have seen what these come after: they get the next.
    later: list[int] = []
    threads += [ask(shared, gate.work, later) for _ in range(20)]
    gate.go.release(2)
    for thread in threads:
        thread.join()
    assert (first, later) == ([1], [2] * 20)
    assert gate.runs == 2


def test_one_after_the_other_share_nothing() -> None:
    shared = SharedWork[int]()
    counts = iter(range(5))
    assert [shared.result(lambda: next(counts)) for _ in range(5)] == [0, 1, 2, 3, 4]


def test_an_error_is_everybodys_and_the_next_one_starts_anew() -> None:
    shared = SharedWork[int]()

    def away() -> int:
        raise OSError("away")

    with pytest.raises(OSError, match="away"):
        shared.result(away)
    assert shared.result(lambda: 1) == 1
