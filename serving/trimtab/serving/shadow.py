"""The version in the shadow: it answers what others were asked, beside them, and only the comparison is kept.

It was fetched, verified and warmed like any other, so a version that this server cannot run is refused before it gets
a live request; and what it says of live rows is counted (`trimtab_server_shadow_rows_total`). Its answers are not
logged: the judge has the version answer the log, labels included and nothing shed (`monitoring.replay`).

Answers come first. Rows are offered after they were answered, a full queue sheds them, a thread of low priority runs
them a batch at a time and rests between, and while the server refuses requests or a slow model has more than one to
answer, all of them are shed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from trimtab.serving.metrics import Metrics
    from trimtab.serving.model import LoadedModel, Tensors

logger = logging.getLogger(__name__)

# What may wait; more is shed.
QUEUE_ROWS, QUEUE_BYTES = 512, 8 << 20
BATCH_ROWS = 64
# Rows gather for so long: a run of many rows costs little more than a run of one.
GATHER_SECONDS = 0.05
# After a batch the thread rests so many times as long as that took: a fifth of one processor at most.
REST = 4.0
NICE = 10
# Numbers count as the same within this part of the larger one.
SAME = 0.01
# A version whose row takes longer than this many seconds keeps a processor from others.
SLOW_SECONDS = 0.002

Adapter = Callable[["Tensors"], "Tensors"]


class Offered(NamedTuple):
    """Rows that a version answered."""

    shadow: LoadedModel
    model: LoadedModel
    tensors: Tensors
    outputs: Sequence[Any]


class Load(Protocol):
    """What is known of the server's load: requests in flight, and how many were refused for want of room."""

    in_flight: int
    shed: int


class Shadow:
    """Has a version in the shadow answer what was answered, when there is time.

    Args:
        metrics: counts rows that agreed, differed, failed, or were shed.
        admission: knows whether the server has better things to do.

    Attributes:
        model: the version in the shadow; None without. Any thread may set it.
    """

    def __init__(self, metrics: Metrics, admission: Load) -> None:
        self.model: LoadedModel | None = None
        self._metrics, self._admission = metrics, admission
        self._refused = 0
        self._queue: deque[Offered] = deque()
        # What was put in and what was taken out, rows and bytes; each written by one thread alone.
        self._put, self._put_bytes = 0, 0
        self._took, self._took_bytes = 0, 0
        self._adapters: dict[tuple[int, int], tuple[LoadedModel, LoadedModel, Adapter | None]] = {}
        self._said = ""
        self._wake, self._ending = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def offer(self, model: LoadedModel, tensors: Tensors, outputs: Sequence[Any]) -> None:
        """Rows that `model` answered with `outputs`; on the event loop, never waits."""
        shadow = self.model
        if shadow is None or shadow is model:
            return
        rows, size = len(outputs), _bytes(tensors)
        full = self._put - self._took + rows > QUEUE_ROWS or self._put_bytes - self._took_bytes + size > QUEUE_BYTES
        if full:
            self._metrics.shadowed(shadow.version, "shed", rows)
            return
        self._put += rows
        self._put_bytes += size
        self._queue.append(Offered(shadow, model, tensors, outputs))
        if not self._wake.is_set():
            self._wake.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End the thread; what waits is let go."""
        self._ending.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(5)

    def _work(self) -> None:
        with contextlib.suppress(OSError):  # Linux: of this thread alone
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        while not self._ending.is_set():
            self._wake.wait()
            self._ending.wait(GATHER_SECONDS)
            self._wake.clear()
            while self._queue and not self._ending.is_set():
                began = time.perf_counter()
                self.step()
                self._ending.wait(REST * (time.perf_counter() - began))

    def step(self) -> None:
        """Answer one batch of what waits, or shed all of it where the server is busy."""
        batch = self._take(len(self._queue) if self._busy() else 0)
        if not batch:
            return
        shadow, model, *_ = batch[0]
        rows = sum(len(one.outputs) for one in batch)
        adapter = self._adapter(shadow, model)
        if adapter is None:
            self._metrics.shadowed(shadow.version, "failed", rows)
            return
        try:
            tensors = {name: np.concatenate([one.tensors[name] for one in batch]) for name in batch[0].tensors}
            output = shadow.run(adapter(tensors))
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's exceptions have no base class of their own
            self._say(shadow, f"it cannot answer: {error}"[:500])
            self._metrics.shadowed(shadow.version, "failed", rows)
            return
        answered = [value for one in batch for value in one.outputs]
        finite = np.isfinite(output).reshape(rows, -1).all(axis=1)
        same = _same(shadow, output, answered) & finite
        agreed, failed = int(same.sum()), int((~finite).sum())
        for outcome, n in (("agreed", agreed), ("failed", failed), ("differed", rows - agreed - failed)):
            if n:
                self._metrics.shadowed(shadow.version, outcome, n)

    def _busy(self) -> bool:
        """Whether requests were refused since the last look, or a slow model has others to answer."""
        load, model = self._admission, self.model
        refused, self._refused = self._refused, load.shed
        return load.shed != refused or (model is not None and model.row_seconds > SLOW_SECONDS and load.in_flight > 1)

    def _take(self, shed: int) -> list[Offered]:
        """The next rows of one pair of versions, after letting so many requests go, and those of a shadow that left."""
        queue, rows = self._queue, 0
        batch: list[Offered] = []
        while queue:
            first = queue[0]
            gone = first.shadow is not self.model
            if not gone and shed <= 0 and batch:
                other = batch[0].model is not first.model or batch[0].shadow is not first.shadow
                if other or rows + len(first.outputs) > BATCH_ROWS:
                    break
            queue.popleft()
            n = len(first.outputs)
            self._took += n
            self._took_bytes += _bytes(first.tensors)
            if gone:
                continue
            if shed > 0:
                shed -= 1
                self._metrics.shadowed(first.shadow.version, "shed", n)
                if shed == 0:
                    break
                continue
            batch.append(first)
            rows += n
        return batch

    def _adapter(self, shadow: LoadedModel, model: LoadedModel) -> Adapter | None:
        key = (id(shadow), id(model))
        if key not in self._adapters:
            if len(self._adapters) > 8:
                self._adapters.clear()
            self._adapters[key] = (shadow, model, adapt(model, shadow))
        adapter = self._adapters[key][2]
        if adapter is None:
            self._say(shadow, f"requests for {model.version} do not hold what it takes")
        return adapter

    def _say(self, shadow: LoadedModel, what: str) -> None:
        """Log a lasting problem once."""
        if self._said != shadow.version + what:
            self._said = shadow.version + what
            logger.warning("%s in the shadow: %s", shadow.version, what)


def adapt(model: LoadedModel, shadow: LoadedModel) -> Adapter | None:
    """What makes one version's inputs another's; None where they lack something."""
    ours, theirs = model.schema, shadow.schema
    names, wanted = [field.name for field in ours.features], [field.name for field in theirs.features]
    if not set(wanted) <= set(names):
        return None
    if ours.single_input and theirs.single_input:
        if names == wanted:
            return lambda tensors: tensors
        order = [names.index(name) for name in wanted]
        return lambda tensors: {"input": np.ascontiguousarray(tensors["input"][:, order])}
    kinds = {field.name: (field.kind, field.shape) for field in ours.features}
    if any(kinds[field.name] != (field.kind, field.shape) for field in theirs.features):
        return None
    if theirs.single_input:
        return lambda tensors: {"input": np.concatenate([tensors[name] for name in wanted], axis=1)}
    return lambda tensors: {name: tensors[name] for name in wanted}


def _same(
    shadow: LoadedModel, output: np.ndarray[Any, Any], answered: list[Any]
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which rows the version in the shadow answers as they were answered."""
    if shadow.classifies:
        return np.array([a == b for a, b in zip(shadow.labels(output), answered, strict=True)], bool)
    ours = output[:, 0].astype(np.float64)
    theirs = np.array([value if isinstance(value, (int, float)) else np.nan for value in answered], np.float64)
    near = np.abs(ours - theirs) <= SAME * np.maximum(np.abs(ours), np.abs(theirs))
    return np.asarray(near & np.isfinite(theirs), bool)


def _bytes(tensors: Tensors) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())
