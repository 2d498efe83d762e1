"""Single rows of numbers, packed where they are answered: the table is that of any other rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.serving.bundles import MIXED, NUMBERS
from tests.serving.test_frames import MICROS, NUMBER, SECRET

from trimtab.core.ids import uuid7
from trimtab.core.schema import Schema
from trimtab.serving import frames, singles
from trimtab.serving.frames import Privacy
from trimtab.serving.rows import Answered
from trimtab.serving.singles import Singles
from trimtab.serving.tables import log_table

CLASSED = replace(NUMBERS, target=MIXED.target)


def put(rows: Singles, answered: Answered) -> None:
    """As `PredictionLog.append_single` does."""
    scores = b"" if answered.probabilities is None else answered.probabilities.tobytes()
    (output,) = answered.outputs
    place = output if answered.probabilities is None else rows.places[output]
    values: bytes = answered.records.tobytes()  # type: ignore[union-attr]
    assert (len(values), len(scores)) == (rows.values, rows.scores)
    chunk = rows.chunk
    told = answered.uuid.encode(), answered.share, answered.micros, answered.latency_ms, place, values, scores
    rows.pack(chunk.body, chunk.rows * rows.size, *told)
    chunk.rows += 1
    if chunk.rows == rows.capacity:
        rows.renew()


def answered(values: list[float | None], schema: Schema = NUMBERS) -> Answered:
    """A row as it goes the other way."""
    matrix = np.array([[np.nan if value is None else value for value in values]])
    if schema.target.kind == "category":
        label, scores = schema.target.classes[1], np.array([[0.25, 0.75]], np.float32)
        return Answered("v", uuid7(), MICROS, 1.5, 90, matrix, [label], scores)
    return Answered("v", uuid7(), MICROS, 1.5, 90, matrix, [2.5], None)


def written(rows: Singles, privacy: Privacy, at_least: int = 1_000_000) -> bytes:
    """What the writing thread makes of what is new."""
    taken = rows.take(at_least)
    body = b"".join(rows.frame(taken, privacy))
    rows.free(taken)
    return body


@given(
    st.lists(st.tuples(NUMBER, NUMBER), min_size=1, max_size=30),
    st.integers(1, 7),
    st.lists(st.integers(1, 5), max_size=8),
)
@settings(deadline=None, max_examples=40)
@pytest.mark.parametrize("schema", [NUMBERS, CLASSED, SECRET], ids=["value", "label", "private"])
def test_packed_rows_give_the_same_table(
    schema: Schema, values: list[tuple[float | None, float | None]], capacity: int, pauses: list[int]
) -> None:
    """Whatever a chunk holds, and whenever the thread comes by."""
    rows = [answered([1.5, b, 0.1, d], schema) for b, d in values]
    privacy = Privacy(schema, b"key")
    packed = Singles("v", schema)
    packed.capacity = capacity
    bodies, left = [], list(pauses)
    for row in rows:
        put(packed, row)
        if left and left[0] <= 1:
            left.pop(0)
            bodies.append(written(packed, privacy, 2))
        elif left:
            left[0] -= 1
    while packed.take(0) or any(chunk.rows > chunk.taken for chunk in packed._chunks):
        bodies.append(written(packed, privacy, 3))
    assert packed.take(1) == []
    found = [frame for frame, _ in frames.decode(b"".join(bodies))]
    assert sum(frame.rows for frame in found) == len(rows)
    other = [frame for frame, _ in frames.decode(b"".join(frames.encode(rows, {"v": privacy})))]
    table, expected = (log_table(these, schema).sort_by("_id") for these in (found, other))
    assert table.equals(expected)
    mixed = log_table([*found, *other], schema)  # two forms, one table
    assert mixed.num_rows == 2 * len(rows)


def test_private_values_are_not_among_the_bytes() -> None:
    packed = Singles("v", SECRET)
    put(packed, answered([1234.5, 77.25, 3.0, None]))
    body = written(packed, Privacy(SECRET, b"key"))
    assert np.float64(1234.5).tobytes() not in body
    assert np.float64(77.25).tobytes() not in body
    ((frame, _),) = frames.decode(body)
    (found,) = log_table([frame], SECRET).to_pylist()
    assert "a" not in found
    assert len(found["b"]) == 32
    assert (found["c"], found["d"]) == (3.0, None)


def test_memory_is_filled_again_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = Singles("v", NUMBERS)
    packed.capacity = 2
    first = packed.chunk.body
    for value in range(3):
        put(packed, answered([float(value)] * 4))
    taken = packed.take(100)
    second = packed.chunk.body
    assert second is not first
    put(packed, answered([3.0] * 4))  # while the others are being written
    assert packed.chunk.body is not first
    packed.free(taken)
    assert [view for view in packed._spare if view is first] == [first]
    written(packed, Privacy(NUMBERS, b""))
    assert packed.take(1) == []
    assert not packed._spare  # nobody asks: nothing is kept
    monkeypatch.setattr(singles, "CHUNK_BYTES", 10)
    assert Singles("v", NUMBERS).capacity == 1


def test_a_torn_frame_is_left_out_and_what_is_no_row_refused() -> None:
    packed = Singles("v", NUMBERS)
    for _ in range(2):
        put(packed, answered([0.0] * 4))
    body = written(packed, Privacy(NUMBERS, b""))
    for cut in range(len(body)):
        assert list(frames.decode(body[:cut])) == []
    assert [frame.rows for frame, _ in frames.decode(body)] == [2]
    head, lengths = body[frames.LENGTHS.size :][: frames.LENGTHS.unpack_from(body)[0]], frames.LENGTHS
    with pytest.raises(ValueError, match="multiple"):
        list(frames.decode(lengths.pack(len(head), 7) + head + b"1234567"))
    with pytest.raises(ValueError, match="no field of name i"):
        list(frames.decode(lengths.pack(len(head), 0) + head.replace(b'"i"', b'"?"')))
