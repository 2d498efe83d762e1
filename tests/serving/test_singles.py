"""Single rows of numbers, packed where they are answered: the table is that of any other rows."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.serving.bundles import MIXED, NARROW, NUMBERS
from tests.serving.test_frames import MICROS, NUMBER, SECRET

from trimtab.core.ids import uuid7
from trimtab.core.schema import Field, Schema
from trimtab.serving import frames, singles
from trimtab.serving.frames import Privacy
from trimtab.serving.log import PredictionLog
from trimtab.serving.rows import Answered
from trimtab.serving.singles import Singles
from trimtab.serving.tables import log_table

CLASSED = replace(NUMBERS, target=MIXED.target)
# Numbers alone are features; what else belongs to a row is left out by who asks so.
BESIDE = replace(CLASSED, fields=(*NUMBERS.fields, Field(name="who", kind="id"), Field(name="seen", kind="time")))


def narrow(schema: Schema, names: str) -> Schema:
    """The same with some fields in float32."""
    return replace(schema, fields=tuple(replace(f, dtype="float32") if f.name in names else f for f in schema.fields))


class Taking(PredictionLog):
    """The log's event loop side alone."""

    def __init__(self, rows: Singles) -> None:
        self._singles, self._room, self.accepted = {"v": rows}, 1_000_000, 0
        self._queue: deque[Answered] = deque()
        self.chunks: list[singles.Chunk] = []
        accept: Any = self.count
        self._accept = accept

    def count(self, n: int) -> None:
        """In place of the tally, which must know of a row before the writing thread can see it."""
        assert self.accepted == self.visible
        self.accepted += n

    @property
    def visible(self) -> int:
        """How many rows there are for the writing thread."""
        return len(self._queue) + sum(len(rows) for rows in self.seen())

    def seen(self) -> list[range]:
        """The rows of each chunk that was ever filled."""
        chunk = self._singles["v"].chunk
        if chunk.body and chunk not in self.chunks:
            self.chunks.append(chunk)
        return [range(one.rows) for one in self.chunks]

    def put(self, row: Answered) -> None:
        """A row as `Exchange.record` hands it over."""
        values = np.asarray(row.records).astype(self._singles["v"].dtype).tobytes()
        told = row.uuid, row.micros, row.latency_ms, row.share
        self.append_single(row.version, *told, values, row.outputs[0], row.probabilities)


def answered(values: list[float | None], schema: Schema = NUMBERS, label: int = 1) -> Answered:
    """A row as it goes the other way."""
    matrix = np.array([[np.nan if value is None else value for value in values]])
    if schema.target.kind == "category":
        scores = np.array([[0.25, 0.75]], np.float32)
        return Answered("v", uuid7(), MICROS, 1.5, 90, matrix, [schema.target.classes[label]], scores)
    return Answered("v", uuid7(), MICROS, 1.5, 90, matrix, [2.5 + label], None)


def written(rows: Singles, privacy: Privacy, at_least: int = 1_000_000) -> bytes:
    """What the writing thread makes of what is new."""
    taken = rows.take(at_least)
    if not taken:
        return b""
    body = b"".join(rows.frame(taken, privacy))
    rows.free(taken)
    return body


@given(
    st.lists(st.tuples(NUMBER, NUMBER, st.integers(0, 1)), min_size=1, max_size=30),
    st.integers(1, 7),
    st.sets(st.integers(0, 30)),
)
@settings(deadline=None, max_examples=40)
@pytest.mark.parametrize(
    "schema",
    [NUMBERS, CLASSED, BESIDE, SECRET, NARROW, narrow(CLASSED, "ad"), narrow(SECRET, "abcd")],
    ids=["value", "label", "beside", "private", "float32", "some float32", "private float32"],
)
def test_packed_rows_give_the_same_table(
    schema: Schema, values: list[tuple[float | None, float | None, int]], capacity: int, visits: set[int]
) -> None:
    """Whatever a chunk holds, and whenever the thread comes by."""
    rows = [answered([1.5, b, 0.1, d], schema, label) for b, d, label in values]
    privacy = Privacy(schema, b"key")
    packed = Singles("v", schema)
    packed.capacity = packed.chunk.rows = capacity
    log, bodies = Taking(packed), []
    for i, row in enumerate(rows):
        log.put(row)
        if i in visits:
            bodies.append(written(packed, privacy, 2))
    while body := written(packed, privacy, 3):
        bodies.append(body)
    assert (log.accepted, len(log._queue)) == (len(rows), 0)
    found = [frame for frame, _ in frames.decode(b"".join(bodies))]
    assert sum(frame.rows for frame in found) == len(rows)
    other = [frame for frame, _ in frames.decode(b"".join(frames.encode(rows, {"v": privacy})))]
    table, expected = (log_table(these, schema).sort_by("_id") for these in (found, other))
    assert table.equals(expected)
    for both in ([*found, *other], [*other, *found]):  # two forms in one segment
        twice = log_table(both, schema).sort_by("_id")
        assert twice.take(list(range(0, 2 * len(rows), 2))).equals(expected)
        assert twice.take(list(range(1, 2 * len(rows), 2))).equals(expected)


def test_private_values_are_not_among_the_bytes() -> None:
    packed = Singles("v", SECRET)
    Taking(packed).put(answered([1234.5, 77.25, 3.0, None]))
    body = written(packed, Privacy(SECRET, b"key"))
    assert np.float64(1234.5).tobytes() not in body
    assert np.float64(77.25).tobytes() not in body
    ((frame, _),) = frames.decode(body)
    (found,) = log_table([frame], SECRET).to_pylist()
    assert "a" not in found
    assert len(found["b"]) == 32
    assert (found["c"], found["d"]) == (3.0, None)


def test_an_odd_row_goes_the_other_way_and_is_counted_once() -> None:
    log = Taking(Singles("v", CLASSED))
    good = answered([0.0] * 4, CLASSED)
    odd = [
        good._replace(records=np.zeros((1, 3))),
        good._replace(probabilities=np.zeros((1, 3), np.float32)),
        good._replace(outputs=["no such class"]),
        good._replace(share=2**40),
        good._replace(version="unknown"),
    ]
    for row in odd:
        log.put(row)
    assert [(row.outputs, row.share, row.version) for row in log._queue] == [
        (row.outputs, row.share, row.version) for row in odd
    ]
    assert log.accepted == len(odd)
    assert log._singles["v"].take(1) == []
    log.put(good)
    assert log.accepted == len(odd) + 1
    assert len(log._singles["v"].take(1)) == 1


def test_memory_is_filled_again_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = Singles("v", NUMBERS)
    assert len(packed.chunk.body) == 0  # nobody asked yet
    packed.capacity = packed.chunk.rows = 2
    log, privacy = Taking(packed), Privacy(NUMBERS, b"")
    for value in range(3):
        log.put(answered([float(value)] * 4))
    taken = packed.take(100)
    (first, _), (second, _) = taken
    log.put(answered([3.0] * 4))
    log.put(answered([4.0] * 4))  # while the others are being written
    assert packed.chunk.body is not first.body
    packed.free(taken)
    assert [body is first.body for body in packed._spare] == [True]
    assert packed.take(0) == []
    assert packed._spare  # it was not looked
    written(packed, privacy)
    log.put(answered([5.0] * 4))
    log.put(answered([6.0] * 4))
    assert packed.chunk.body is first.body
    for _ in range(4 * singles.SPARE):
        log.put(answered([7.0] * 4))
    written(packed, privacy)
    assert len(packed._spare) == singles.SPARE
    assert packed.take(1) == []
    assert not packed._spare  # nobody asks any more
    assert second.taken == 2
    monkeypatch.setattr(singles, "CHUNK_BYTES", 10)
    assert Singles("v", NUMBERS).capacity == 1


def test_a_torn_frame_is_left_out_and_what_is_no_row_refused() -> None:
    packed = Singles("v", CLASSED)
    log = Taking(packed)
    for _ in range(2):
        log.put(answered([0.0] * 4, CLASSED))
    body = written(packed, Privacy(CLASSED, b""))
    for cut in range(len(body)):
        assert list(frames.decode(body[:cut])) == []
    assert [frame.rows for frame, _ in frames.decode(body)] == [2]
    head, lengths = body[frames.LENGTHS.size :][: frames.LENGTHS.unpack_from(body)[0]], frames.LENGTHS
    with pytest.raises(ValueError, match="multiple"):
        list(frames.decode(lengths.pack(len(head), 7) + head + b"1234567"))
    with pytest.raises(ValueError, match="no field of name i"):
        list(frames.decode(lengths.pack(len(head), 0) + head.replace(b'"i"', b'"?"')))
    place = len(body) - packed.size + 36 + 4 + 8 + 8
    for damaged in (2, -1):
        broken = body[:place] + damaged.to_bytes(8, "little", signed=True) + body[place + 8 :]
        with pytest.raises(ValueError, match="none of the 2 classes"):
            list(frames.decode(broken))
