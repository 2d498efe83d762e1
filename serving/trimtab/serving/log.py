"""The prediction log's first half: from the request path, which never waits, to the spool on disk."""

from __future__ import annotations

import logging
import struct
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.serving import frames
from trimtab.serving.rows import Answered
from trimtab.serving.singles import Singles
from trimtab.serving.spool import SegmentWriter, size_of
from trimtab.serving.tally import Tally, claim

if TYPE_CHECKING:
    from trimtab.core.schema import Schema
    from trimtab.serving.config import ServerConfig
    from trimtab.serving.metrics import Metrics

logger = logging.getLogger(__name__)

# How long answered rows gather before they are written together: a write costs more than a row.
GATHER_SECONDS = 0.05
# After so many rows at most it is looked whether there is room for more.
LOOK_ROWS = 64
# How often the spool is measured, in seconds, and at least so many times as long as measuring takes.
SIZE_SECONDS, SIZE_REST = 1.0, 50.0
# What is written at once, and what may wait, at most: rows of large images are few.
BATCH_ROWS, BATCH_BYTES = 4000, 4_000_000
QUEUE_BYTES = 64_000_000
# What a row takes in memory beside its numbers, about.
ROW_BYTES = 600


class PredictionLog:
    """A bounded queue, and a thread that writes it to the spool.

    A full queue or a full spool drops rows and counts them; it never delays an answer. Rows that a killed server had
    here are counted after the restart (`tally`). With a queue for no rows there is no log at all.

    Args:
        config: limits and flush settings.
        metrics: rows spooled and dropped, bytes waiting.
        hash_key: the key of hashed private fields.
    """

    def __init__(self, config: ServerConfig, metrics: Metrics, hash_key: bytes) -> None:
        self._config, self._metrics, self.hash_key = config, metrics, hash_key
        self.folder: Path = config.home / config.name
        self._tally = Tally(self.folder)
        self._accept = self._tally.accept
        self._log = SegmentWriter(self.folder / "log", config.flush_seconds, config.flush_rows, tally=self._tally)
        # Feedback shares the flush settings, and its lines are synced before the call is answered.
        self.labels = SegmentWriter(self.folder / "labels", config.flush_seconds, config.flush_rows, sync=True)
        self._queue: deque[Answered] = deque()
        self._singles: dict[str, Singles] = {}  # by version
        self._room = 0  # so many rows may come before it is looked whether there is room for more
        self._privacy: dict[str, frames.Privacy] = {}
        self.full = False
        self._limit, self._batch = config.queue_rows, BATCH_ROWS
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="prediction-log", daemon=True)
        self._next_size = 0.0
        self._refused = 0

    def start(self) -> None:
        """Start the writing thread."""
        self._thread.start()

    def add_version(self, version: str, schema: Schema) -> None:
        """Make a version known before its first row: the shipper types its columns by this schema."""
        folder = self.folder / "schemas"
        folder.mkdir(parents=True, exist_ok=True)
        fresh = folder / f".{version}.new"
        fresh.write_text(schema.to_json())
        fresh.replace(folder / f"{version}.json")
        self._privacy[version] = frames.Privacy(schema, self.hash_key)
        if self._limit and schema.single_input and version not in self._singles:
            self._singles[version] = Singles(version, schema)
        row_bytes = ROW_BYTES + 8 * sum(field.size for field in schema.fields)
        if self._limit:
            self._limit = min(self._limit, max(1, QUEUE_BYTES // row_bytes))
        self._batch = min(self._batch, max(1, BATCH_BYTES // row_bytes))

    def append(self, row: Answered) -> None:
        """Take one answered request; called on the event loop, never blocks."""
        n = len(row.outputs)
        if n > self._room and not self._has_room(n):
            return
        self._room -= n
        self._accept(n)
        self._queue.append(row)

    def append_single(
        self,
        version: str,
        uuid: str,
        micros: int,
        latency_ms: float,
        share: int,
        values: bytes,
        output: Any,
        scores: np.ndarray[Any, Any] | None,
    ) -> None:
        """The same for one row of numbers alone; a method of its own, for it is called most.

        Args:
            version: the version that answered, which was added.
            uuid: the request's UUID, 36 characters.
            micros: when it was answered, microseconds since 1970.
            latency_ms: from the request's arrival to its answer.
            share: percent of the traffic that the version had.
            values: the bytes of the features, [k] of `rows.logged_dtype`.
            output: label or number.
            scores: float32 [1, c]; None for regression.
        """
        room = self._room
        if room <= 0:  # below, where it was set to nothing while a request took its part
            if not self._has_room(1):
                return
            room = self._room
        try:
            single = self._singles[version]
            said, place = (b"", output) if scores is None else (scores.tobytes(), single.places[output])
            if len(values) != single.values or len(said) != single.scores:
                raise ValueError("`struct` would cut it, or fill it up")
            chunk, at = single.chunk, single.chunk.rows
            if at == single.capacity:
                chunk, at = single.renew(), 0
            single.pack(chunk.body, at * single.size, uuid.encode(), share, micros, latency_ms, place, values, said)
        except (struct.error, KeyError, ValueError):  # an odd row goes the other way
            known = self._singles.get(version)  # the rows of a version that was never added are dropped later on
            matrix = np.frombuffer(values, np.uint8 if known is None else known.dtype).reshape(1, -1)
            self.append(Answered(version, uuid, micros, latency_ms, share, matrix, [output], scores))
            return
        self._room = room - 1
        self._accept(1)  # before the thread can see the row
        chunk.rows = at + 1

    def _has_room(self, n: int) -> bool:
        """Whether n rows more are taken, now that as many came as had room."""
        limit = self._limit
        if not limit:
            return False
        waiting = self._tally.waiting
        # What is in one request is in memory already: alone, it is taken whatever its size.
        if self.full or (waiting and waiting + n > limit):
            self._metrics.log_dropped(n)
            return False
        self._room = max(n, min(LOOK_ROWS, limit - waiting))
        return True

    def close(self) -> None:
        """Write what waits, finish the segments, end the thread."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()
        self._drain()  # also what came while the thread wrote for the last time
        self._log.finish()
        self.labels.finish()
        self._tally.close()

    def _work(self) -> None:
        # Rows are looked for, since being told of them takes longer than answering some: often while there are any.
        tick, wait = min(0.25, max(0.02, self._config.flush_seconds / 4)), 0.0
        while not self._ending.wait(wait):
            wait = min(tick, GATHER_SECONDS) if self._drain() else tick
            self._tick()
        self._drain()

    def _tick(self) -> None:
        for writer in (self._log, self.labels):
            try:
                writer.tick()
            except OSError as error:
                logger.error("a spool segment cannot be finished: %s", error)
        if time.monotonic() >= self._next_size:
            began = time.monotonic()
            for server, rows in claim(self._config.home).items():
                self._metrics.log_lost(rows)
                logger.error("%d answered rows were in the memory of %s when it was killed, and are lost", rows, server)
            waiting = size_of(self._config.home)
            self._metrics.spool_bytes(waiting)
            if self.full != (waiting > self._config.spool_bytes):
                self.full, self._room = not self.full, 0
                logger.warning("the spool is %s", "full: rows are dropped" if self.full else "no longer full")
            # After a day without the store there are many segments to look at.
            ended = time.monotonic()
            self._next_size = ended + max(SIZE_SECONDS, SIZE_REST * (ended - began))

    def _drain(self) -> int:
        """Write everything that waits, in batches that bound memory; returns how many rows that was.

        What comes meanwhile waits for the next time: writing row after row would take turns with answering them.
        """
        total, waiting = 0, self._tally.waiting
        while total < waiting:
            rows = self._drain_singles(self._batch)
            batch: list[Answered] = []
            while self._queue and rows < self._batch:
                batch.append(self._queue.popleft())
                rows += len(batch[-1].outputs)
            if not rows:  # one is being taken just now
                break
            parts: list[frames.Part] = []
            kept = self._encode(batch, parts)
            lost = sum(len(one.outputs) for one in batch) - kept
            if lost:
                self._drop(lost)
            if parts:
                self._write(parts, kept)
            total += rows
        return total

    def _drain_singles(self, limit: int) -> int:
        """Write single rows, so many at least where there are; returns how many rows that was."""
        total = 0
        for version, single in list(self._singles.items()):
            taken = single.take(limit - total)
            if not taken:
                continue
            rows = sum(len(view) for _, view in taken) // single.size
            try:
                parts = single.frame(taken, self._privacy[version])
            except Exception:  # these rows must not end the log of all others
                logger.exception("rows cannot be written and are dropped")
                self._drop(rows)
            else:
                self._write(parts, rows)
            single.free(taken)
            total += rows
        return total

    def _drop(self, rows: int) -> None:
        """Count rows that were accepted and are not written."""
        self._metrics.log_dropped(rows)
        self._tally.settle(rows)

    def _write(self, parts: list[frames.Part], rows: int) -> None:
        """Frames to the spool; what it does not take is counted as dropped."""
        try:
            self._log.append(parts, rows)
        except OSError as error:
            self._metrics.log_dropped(rows)
            if not self._refused:
                logger.error("the spool does not take rows, they are dropped: %s", error)
            self._refused += rows
        else:
            self._metrics.log_spooled(rows)
            if self._refused:
                logger.error("the spool takes rows again; %d were dropped", self._refused)
                self._refused = 0
        self._tally.settle(rows)

    def _encode(self, batch: Sequence[Answered], parts: list[frames.Part]) -> int:
        """Add frames of these requests; returns how many of their rows could be written."""
        if not batch:
            return 0
        try:
            parts += frames.encode(batch, self._privacy)
        except Exception:  # one odd row must not end the log of all others
            if len(batch) == 1:
                logger.exception("rows cannot be written and are dropped")
                return 0
            return sum(self._encode([one], parts) for one in batch)
        return sum(len(one.outputs) for one in batch)
