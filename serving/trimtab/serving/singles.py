"""Single rows of numbers, which most requests are: packed where they are answered, written as they lie.

A version's rows have one length each, so that one call of `struct` puts a row behind the last one, and nothing of the
request stays in memory. The event loop fills chunks; the writing thread takes what is new in them. Neither locks
anything: a row is counted after its bytes are there, by the event loop alone, and a chunk is given up when it is full.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING, Any

from trimtab.serving import frames
from trimtab.serving.rows import logged_dtype

if TYPE_CHECKING:
    from trimtab.core.schema import Schema
    from trimtab.serving.frames import Part, Privacy

# Bytes of a chunk, about.
CHUNK_BYTES = 64_000
# So many chunks at most are kept to be filled again.
SPARE = 32
# A request's UUID as text.
_UUID = 36


class Chunk:
    """Memory for some rows.

    Attributes:
        body: theirs.
        rows: how many it holds; only the event loop sets it.
        taken: how many of them were taken; only the writing thread sets it.
    """

    __slots__ = ("body", "rows", "taken")

    def __init__(self, body: bytearray) -> None:
        self.body = body
        self.rows = self.taken = 0


class Singles:
    """One version's single rows that are not written yet.

    Args:
        version: its name.
        schema: with `single_input`: k features, all numbers, and c classes.

    Attributes:
        size: bytes of a row.
        dtype: of its features, as NumPy writes it.
        values: their bytes, [k].
        scores: bytes of its probabilities, float32 [c]; 0 for regression.
        pack: puts a row into a chunk: UUID, share, microseconds, latency, place of its label or number, features,
            probabilities (`frames` says what they are).
        places: of each label.
        chunk: the one that is being filled.
        capacity: how many rows it holds.
    """

    __slots__ = (
        "_chunks",
        "_head",
        "_spare",
        "capacity",
        "chunk",
        "dtype",
        "pack",
        "places",
        "scores",
        "size",
        "values",
    )

    def __init__(self, version: str, schema: Schema) -> None:
        classes = schema.target.classes
        features = len(schema.features)
        self.dtype = logged_dtype(schema)
        self.values, self.scores = int(self.dtype[-1]) * features, 4 * len(classes)
        row = struct.Struct(f"<{_UUID}siqd{'q' if classes else 'd'}{self.values}s{self.scores}s")
        self.size, self.pack = row.size, row.pack_into
        self.places = {label: place for place, label in enumerate(classes)}
        columns: list[list[Any]] = [
            ["i", f"S{_UUID}"], ["s", "<i4"], ["t", "<i8"], ["l", "<f8"], ["y", "<i8" if classes else "<f8"],
            ["x", self.dtype, [features]], ["p", "<f4", [len(classes)]],
        ]  # fmt: skip
        self._head = frames.rows_head(version, columns, classes)
        self.capacity = max(1, CHUNK_BYTES // self.size)
        self._spare: deque[bytearray] = deque(maxlen=SPARE)
        self._chunks: deque[Chunk] = deque()
        self.chunk = Chunk(bytearray())  # a version that is never asked takes no memory
        self.chunk.rows = self.capacity

    def renew(self) -> Chunk:
        """Another chunk to be filled, since the last one is full; called on the event loop."""
        try:
            body = self._spare.popleft()
        except IndexError:
            body = bytearray(self.capacity * self.size)
        self.chunk = chunk = Chunk(body)
        self._chunks.append(chunk)
        return chunk

    def take(self, rows: int) -> list[tuple[Chunk, memoryview]]:
        """What is new, so many rows at least where there are; called by the writing thread.

        To be given to `free` when it is written.
        """
        found: list[tuple[Chunk, memoryview]] = []
        if rows <= 0:
            return found
        while rows > 0 and self._chunks:
            chunk = self._chunks[0]
            known = chunk.rows
            if known > chunk.taken:
                found.append((chunk, memoryview(chunk.body)[chunk.taken * self.size : known * self.size]))
                rows -= known - chunk.taken
                chunk.taken = known
            if known < self.capacity:
                break
            self._chunks.popleft()
        if not found:  # a version that is not asked any more keeps no more than the last one
            self._spare.clear()
        return found

    def frame(self, taken: list[tuple[Chunk, memoryview]], privacy: Privacy) -> list[Part]:
        """What was taken as a frame."""
        return frames.of_rows(self._head, [view for _, view in taken], privacy)

    def free(self, taken: list[tuple[Chunk, memoryview]]) -> None:
        """What was taken is written: its memory may be filled again."""
        for chunk, view in taken:
            view.release()
            if chunk.taken == self.capacity:
                self._spare.append(chunk.body)
