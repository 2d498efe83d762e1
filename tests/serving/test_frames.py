"""Rows on their way to the log: whatever form they come in, the table is the same, and private values are not in it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.serving.bundles import DIGITS, MIXED, NUMBERS

from trimtab.core import predictions
from trimtab.core.ids import uuid7
from trimtab.core.schema import Field, Schema
from trimtab.serving import frames
from trimtab.serving.frames import Privacy
from trimtab.serving.rows import Answered
from trimtab.serving.tables import log_table

MICROS = 1_795_255_980_000_000
SECRET = replace(
    NUMBERS,
    fields=(
        replace(NUMBERS.fields[0], private="drop"),
        replace(NUMBERS.fields[1], private="hash"),
        *NUMBERS.fields[2:],
        Field(name="who", kind="id", private="hash"),
    ),
)


def row(version: str, records: Any, n: int, **more: Any) -> Answered:
    classes = np.linspace(0, 1, n * 2, dtype=np.float32).reshape(n, 2) if version == "mixed" else None
    outputs = ["no"] * n if version == "mixed" else [float(i) for i in range(n)]
    return Answered(version, uuid7(), MICROS, 1.5, 90, records, outputs, classes, **more)


def table_of(schema: Schema, rows: list[Answered], splits: int = 1) -> pa.Table:
    """The rows' table, written in several batches."""
    privacy = {rows[0].version: Privacy(schema, b"key")}
    cuts = np.linspace(0, len(rows), splits + 1).astype(int)
    body = b"".join(part for a, b in pairwise(cuts) if b > a for part in frames.encode(rows[a:b], privacy))
    read = list(frames.decode(body))
    assert not read or read[-1][1] == len(body)
    return log_table([frame for frame, _ in read], schema).sort_by("_id")


def _matrix(schema: Schema, records: Any) -> Any:
    names = [field.name for field in schema.features]
    return np.array([[np.nan if r[name] is None else r[name] for name in names] for r in records], np.float64)


def as_columns(schema: Schema, records: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {"input": _matrix(schema, records)}
    return found | {f.name: [r[f.name] for r in records] for f in schema.fields if f not in schema.features}


NUMBER = st.floats(-1e30, 1e30) | st.none()


@given(
    st.lists(
        st.lists(st.tuples(NUMBER, NUMBER, st.none() | st.text(max_size=5)), min_size=1, max_size=3),
        min_size=1,
        max_size=5,
    )
)
@settings(deadline=None, max_examples=40)
@pytest.mark.parametrize("schema", [NUMBERS, SECRET], ids=["open", "private"])
def test_objects_and_columns_give_the_same_table(schema: Schema, requests: list[list[Any]]) -> None:
    named = "who" in schema.by_name
    made = [
        [{"a": 1.5, "b": b, "c": 0.1, "d": d, **({"who": who} if named else {})} for b, d, who in one]
        for one in requests
    ]
    objects = [row("v", records, len(records)) for records in made]
    columns = [one._replace(records=as_columns(schema, made[i])) for i, one in enumerate(objects)]
    table = table_of(schema, objects)
    assert table.equals(table_of(schema, columns, splits=2))
    assert table.equals(table_of(schema, [*objects[::2], *columns[1::2]]))
    if not named:
        matrices = [one._replace(records=_matrix(schema, made[i])) for i, one in enumerate(objects)]
        assert table.equals(table_of(schema, matrices))
        assert table.equals(table_of(schema, [*matrices[::2], *columns[1::2]]))
    assert table.schema.equals(predictions.log_schema(schema))
    assert sorted(filter(None, table["d"].to_pylist())) == sorted(d for one in requests for _, d, _ in one if d)


def test_private_values_are_not_among_the_bytes() -> None:
    matrix = np.array([[1234.5, 77.25, 3.0, np.nan]])
    privacy = {"v": Privacy(SECRET, b"key")}
    body = b"".join(frames.encode([row("v", {"input": matrix, "who": ["Ann Smith"]}, 1)], privacy))
    for value in (1234.5, 77.25):
        assert np.float64(value).tobytes() not in body
        assert str(value).encode() not in body
    assert b"Ann" not in body
    (found,) = table_of(SECRET, [row("v", {"input": matrix, "who": ["Ann Smith"]}, 1)]).to_pylist()
    assert "a" not in found
    assert len(found["b"]) == len(found["who"]) == 32
    assert (found["c"], found["d"]) == (3.0, None)


def test_every_kind_of_field_comes_back_as_it_was() -> None:
    seen = datetime(2026, 11, 21, 10, tzinfo=UTC)
    record = {"age": 40.0, "income": None, "plan": "new", "name": "x", "email": "y", "customer": "c1", "seen": seen}
    columns = {
        "age": np.array([[40.0]], np.float32),
        "income": np.array([np.nan]),
        "plan": np.array([["new"]], object),
        "name": ["x"],
        "email": ["y"],
        "customer": ["c1"],
        "seen": [seen],
    }
    plain = row("mixed", [record], 1, request="r-1", trace="t-1")
    first, second = table_of(MIXED, [plain]), table_of(MIXED, [plain._replace(records=columns)])
    assert first.equals(second)
    (found,) = first.to_pylist()
    assert (found["age"], found["income"], found["plan"], found["seen"]) == (40.0, None, "new", seen)
    assert "name" not in found
    assert found["email"] not in {"y", None}
    assert found["_probabilities"] == [0.0, 1.0]


def test_images_are_flat_lists_and_what_was_left_out_is_null() -> None:
    image = np.arange(128, dtype=np.float32).reshape(2, 8, 8)
    objects = row("v", [{"image": one, "image_id": None} for one in image], 2)
    digits = replace(DIGITS, target=NUMBERS.target)
    columns = objects._replace(records={"image": image})
    assert table_of(digits, [objects]).equals(table_of(digits, [columns]))
    found = table_of(digits, [columns]).to_pylist()
    assert [one["image"] for one in found] == [list(map(float, range(64))), list(map(float, range(64, 128)))]
    assert [one["image_id"] for one in found] == [None, None]


def test_requests_ids_are_kept_where_there_are_any() -> None:
    kept = table_of(
        NUMBERS, [row("v", {"input": np.zeros((2, 4))}, 2, request="abc"), row("v", {"input": np.zeros((1, 4))}, 1)]
    )
    if "_request" in kept.column_names:
        assert sorted(kept["_request"].to_pylist(), key=str) == [None, "abc", "abc"]
    body = b"".join(frames.encode([row("v", {"input": np.zeros((1, 4))}, 1)], {"v": Privacy(NUMBERS, b"")}))
    head = next(frames.decode(body))[0].head
    assert not {"q", "w"} & set(head)


def test_a_column_of_another_length_is_refused_and_a_torn_frame_left_out() -> None:
    privacy = {"v": Privacy(NUMBERS, b"key")}
    with pytest.raises(ValueError, match="holds 3 rows of 2"):
        frames.encode([row("v", {"input": np.zeros((3, 4))}, 2)], privacy)
    body = b"".join(frames.encode([row("v", {"input": np.zeros((2, 4))}, 2)], privacy))
    for cut in range(len(body)):
        assert list(frames.decode(body[:cut])) == []
        assert [frame.rows for frame, _ in frames.decode(body + body[:cut])] == [2]
