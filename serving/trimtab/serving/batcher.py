"""Joins rows of several requests for a slow model: one run of sixteen rows costs far less than sixteen runs of one.

Adaptive, in the sense of Clipper (Crankshaw et al., 2017) and continuous batching: a run begins as soon as there is a
processor for it, with whatever waits by then. So a lone request is run at once, and the busier the server the larger
the batches, without a clock. Only where more rows were under way lately than are here now does a run wait for them,
and never longer than the version's `serving: batch_delay_ms`. Quick models never come here: for them a queue costs
more than the run.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.serving.admission import too_late

if TYPE_CHECKING:
    from trimtab.serving.hooks import Slot
    from trimtab.serving.model import LoadedModel, Tensors

Array = np.ndarray[Any, Any]

# A model whose row takes longer, in seconds, is slow: its runs leave the event loop.
SLOW_SECONDS = 0.002
# The part of the bound on latency that one run may take.
RUN = 0.3
# What is left after each run of the memory of how many rows were under way.
FADE = 0.9


class _Waiting:
    """One request's rows, on their way to a run."""

    __slots__ = ("answer", "n", "since", "tensors", "timer")

    def __init__(self, tensors: Tensors, n: int, answer: asyncio.Future[Array], since: float) -> None:
        self.tensors, self.n, self.answer, self.since = tensors, n, answer, since
        self.timer: asyncio.TimerHandle | None = None


class _Queue:
    """What waits for one version.

    Attributes:
        model: the version.
        items: requests that wait, oldest first.
        running: runs under way, and `rows`: the rows in them.
        peak: how many rows were waiting or running together lately.
        most: rows that a run may have; found by trying, since how much more a larger run takes is the model's own.
        timer: when the oldest will have waited long enough.
    """

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        self.items: deque[_Waiting] = deque()
        self.running, self.rows, self.peak = 0, 0, 0.0
        self.most = 0.0
        self.timer: asyncio.TimerHandle | None = None


class Batcher:
    """Runs slow models, rows of several requests together; for one event loop.

    Args:
        runs: how many runs may go on at once; with `threads` of ONNX Runtime each.
        latency_ms: overrides the project's bound on latency, of which a run takes a part at most.
        ran: told how many rows each run had.
    """

    def __init__(
        self, runs: int = 1, latency_ms: float | None = None, ran: Callable[[int], None] | None = None
    ) -> None:
        self._runs, self._latency_ms, self._ran = max(1, runs), latency_ms, ran
        self._queues: dict[LoadedModel, _Queue] = {}
        self._pool = ThreadPoolExecutor(max_workers=self._runs, thread_name_prefix="batch")

    def takes(self, model: LoadedModel, n: int) -> bool:
        """Whether a request of n rows goes through here: that of any slow model."""
        return model.row_seconds > SLOW_SECONDS and n > 0

    async def run(self, model: LoadedModel, tensors: Tensors, n: int, slot: Slot | None = None) -> Array:
        """The output for n rows, float32 [n, k] or [n, 1], computed alone or with the rows of others.

        Raises:
            Overloaded: 504, the deadline passed first.
        """
        loop = asyncio.get_running_loop()
        queue = self._queues.get(model)
        if queue is None:
            queue = self._queues[model] = _Queue(model)
            queue.most = min(model.limits.batch_rows, max(1.0, self._longest(model) / model.row_seconds))
        item = _Waiting(tensors, n, loop.create_future(), loop.time())
        if slot is not None:
            slot.check()
            item.timer = loop.call_later(max(0.0, slot.left()), self._give_up, queue, item)
        queue.items.append(item)
        queue.peak = max(queue.peak, queue.rows + sum(one.n for one in queue.items))
        self._dispatch(queue)
        try:
            return await item.answer
        finally:
            if item.timer is not None:
                item.timer.cancel()

    def close(self) -> None:
        """End the threads; runs under way are finished."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _dispatch(self, queue: _Queue) -> None:
        """Begin as many runs as there is room for and rows are worth."""
        if queue.timer is not None:
            queue.timer.cancel()
            queue.timer = None
        limits = queue.model.limits
        most = max(1, int(queue.most))
        loop = asyncio.get_running_loop()
        while queue.items and queue.running < self._runs:
            waiting = sum(item.n for item in queue.items)
            held = queue.items[0].since + limits.batch_delay_ms / 1000 - loop.time()
            if waiting < min(most, int(queue.peak) - queue.rows) and held > 0:
                queue.timer = loop.call_later(held, self._dispatch, queue)
                return
            free = self._runs - queue.running
            self._begin(queue, _take(queue.items, min(most, -(-waiting // free))))
        if not queue.items and not queue.running and queue.peak < 2:
            self._queues.pop(queue.model, None)

    def _longest(self, model: LoadedModel) -> float:
        """Seconds that one run may take."""
        latency_ms = model.limits.latency_ms if self._latency_ms is None else self._latency_ms
        return RUN * latency_ms / 1000

    def _learn(self, queue: _Queue, rows: int, seconds: float) -> None:
        """A run that took too long makes the next ones smaller, a full one that did not makes them larger."""
        if seconds > self._longest(queue.model):
            queue.most = max(1.0, 0.7 * queue.most)
        elif rows >= int(queue.most):
            queue.most = min(queue.model.limits.batch_rows, 1.5 * queue.most + 1)

    def _begin(self, queue: _Queue, items: list[_Waiting]) -> None:
        """Run these together, in a thread."""
        rows = sum(item.n for item in items)
        queue.running += 1
        queue.rows += rows
        loop = asyncio.get_running_loop()
        began = loop.time()
        run = loop.run_in_executor(self._pool, run_together, queue.model, [item.tensors for item in items])

        def done(finished: asyncio.Future[list[Array | Exception]]) -> None:
            queue.running -= 1
            queue.rows -= rows
            self._learn(queue, rows, loop.time() - began)
            queue.peak = max(queue.peak * FADE, queue.rows + sum(item.n for item in queue.items))
            if self._ran is not None:
                self._ran(rows)
            if finished.cancelled():  # the server is ending
                for item in items:
                    item.answer.cancel()
                return
            for item, output in zip(items, finished.result(), strict=True):
                if item.answer.done():
                    continue
                if isinstance(output, Exception):
                    item.answer.set_exception(output)
                else:
                    item.answer.set_result(output)
            # Those who have their answers now may ask again: look at the queue when they had their turn.
            loop.call_soon(self._dispatch, queue)

        run.add_done_callback(done)

    def _give_up(self, queue: _Queue, item: _Waiting) -> None:
        """The deadline passed: a request that still waits is not run."""
        if item.answer.done():
            return
        item.answer.set_exception(too_late())
        if item in queue.items:
            queue.items.remove(item)


def run_together(model: LoadedModel, parts: list[Tensors]) -> list[Array | Exception]:
    """One run for all parts, and each part's own output; where that fails each part is run by itself.

    So rows that the graph cannot take fail their own request and no other.
    """
    if len(parts) > 1:
        output = _try(model, *parts)
        ends = np.cumsum([len(next(iter(part.values()))) for part in parts])
        if not isinstance(output, Exception) and len(output) == ends[-1]:
            return list(np.split(output, ends[:-1]))
    return [_try(model, part) for part in parts]


def _try(model: LoadedModel, *parts: Tensors) -> Array | Exception:
    try:
        if len(parts) == 1:
            return model.run(parts[0])
        return model.run({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    except Exception as error:  # noqa: BLE001 (ONNX Runtime's have no base class; it is raised where it is awaited)
        return error


def _take(items: deque[_Waiting], rows: int) -> list[_Waiting]:
    """The oldest requests that hold so many rows together, one at least; requests are never split."""
    taken = [items.popleft()]
    size = taken[0].n
    while items and size + items[0].n <= rows:
        size += items[0].n
        taken.append(items.popleft())
    return taken
