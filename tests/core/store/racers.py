"""Two writers on the same keys, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.synchronize import Barrier
from typing import TYPE_CHECKING

from trimtab.core.settings import S3Settings, load

if TYPE_CHECKING:
    from multiprocessing.queues import Queue


def race(url: str, rounds: int, s3: S3Settings | None = None, writers: int = 2) -> list[list[int]]:
    """Let writers create the same keys, round by round, all at once.

    Args:
        url: the store.
        rounds: how many keys.
        s3: how to reach S3.
        writers: how many processes.

    Returns:
        The rounds that each writer was told it had won.
    """
    context = multiprocessing.get_context("spawn")
    barrier, told = context.Barrier(writers), context.Queue()
    processes = [
        context.Process(target=_write, args=(url, rounds, s3, who, barrier, told), daemon=True)
        for who in range(writers)
    ]
    for process in processes:
        process.start()
    won = dict(told.get(timeout=240) for _ in processes)
    for process in processes:
        process.join(20)
        assert process.exitcode == 0
    return [won[who] for who in range(writers)]


def body(who: int, n: int) -> bytes:
    """What a writer writes in a round."""
    return f"{who} {n} ".encode() * 200


def _write(
    url: str, rounds: int, s3: S3Settings | None, who: int, barrier: Barrier, told: Queue[tuple[int, list[int]]]
) -> None:

    from trimtab.core.store import open_store

    settings = load({"HOME": "/nonexistent"})
    store = open_store(url, settings._replace(s3=s3) if s3 else settings)
    won = []
    for n in range(rounds):
        barrier.wait(60)
        # Every fourth round one of them comes late, so that each wins some, whatever the machine makes of the race.
        if n % 8 == 4 * who:
            time.sleep(0.01)
        if store.create(f"race/{n % 7}/{n:08d}", body(who, n)):
            won.append(n)
    told.put((who, won))
