"""Rows read at once are the rows that the careful reader finds, or are left to it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.core.errors import RequestError
from trimtab.core.schema import Field, Schema, Target
from trimtab.serving.matrix import INPUT, Matrix, finite

NAMES = ("a", "b", "c")
TARGET = Target(name="y", kind="number")
SCHEMA = Schema(fields=(*(Field(name=n, kind="number", nullable=n == "c") for n in NAMES), Field(name="who", kind="id"),
                        Field(name="seen", kind="time")), target=TARGET)  # fmt: skip
NARROW = replace(SCHEMA, fields=tuple(replace(f, dtype="float32") if f.kind == "number" else f for f in SCHEMA.fields))
ALONE = Schema(fields=(Field(name="a", kind="number"),), target=TARGET)
NUMBER = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**63), 2**64 - 1),
    st.sampled_from([0, -0.0, 3.4028234e38, 3.4028235e38, 3.5e38, -1e39, 1e308, 5e-324]),
)
ODD = st.one_of(NUMBER, st.booleans(), st.none(), st.text(max_size=3), st.just([]), st.just({}))
PLAIN = st.lists(NUMBER, min_size=3, max_size=3)
ARRAY = st.one_of(PLAIN, PLAIN, st.lists(ODD, max_size=4))
OBJECT = st.fixed_dictionaries(dict.fromkeys(NAMES, NUMBER), optional={"who": ODD, "seen": st.just("2026-11-21")})
WRONG = st.dictionaries(st.sampled_from([*NAMES, "who", "other"]), ODD, max_size=5)
ROWS = st.one_of(
    st.lists(PLAIN, min_size=1, max_size=4),
    st.lists(ARRAY, min_size=1, max_size=3),
    st.lists(OBJECT, min_size=1, max_size=4),
    st.lists(st.one_of(OBJECT, WRONG, ARRAY, ODD), min_size=1, max_size=3),
)


def agree(schema: Schema, rows: list[Any]) -> bool:
    """Whether it was read at once; then it must be what the careful reader finds."""
    body = orjson.dumps({"instances": rows})
    instances = orjson.loads(body)["instances"]
    read = Matrix(schema).instances(instances, body)
    if read is None:
        return False
    records = schema.parse_instances(instances)  # raises where it should have been refused
    np.testing.assert_array_equal(read.values, schema.encode(records)["input"])
    assert read.values.dtype == np.float32
    assert np.isfinite(read.values).all()
    names = [field.name for field in schema.features]
    columns: dict[str, Any] = read.columns if isinstance(read.columns, dict) else {INPUT: read.columns}
    if isinstance(columns[INPUT], bytes):
        columns = {INPUT: Matrix(schema).unpacked(columns[INPUT])}
    received = np.array([[record[n] for n in names] for record in records], np.float64)
    kept = np.float32 if schema is NARROW else np.float64
    assert columns[INPUT].dtype == kept
    np.testing.assert_array_equal(columns[INPUT], received.astype(kept))
    for field in schema.fields:
        if field not in schema.features:
            assert columns.get(field.name, [None] * len(records)) == [record[field.name] for record in records]
    return True


@settings(max_examples=400, deadline=None, derandomize=True)
@given(ROWS, st.sampled_from([SCHEMA, NARROW]))
def test_what_is_read_at_once_is_what_the_careful_reader_finds(rows: list[Any], schema: Schema) -> None:
    agree(schema, rows)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.one_of(NUMBER, ODD, st.lists(ODD, max_size=2), st.dictionaries(st.just("a"), ODD)), min_size=1))
def test_the_same_for_a_single_feature(rows: list[Any]) -> None:
    agree(ALONE, rows)


@pytest.mark.parametrize("schema", [SCHEMA, NARROW], ids=["float64", "float32"])
@pytest.mark.parametrize(
    "rows",
    [
        [[1, 2.5, -3]],
        [[1, 2.5, -3]] * 3,
        [{"a": 1, "b": 2, "c": 3}],
        [{"c": 1, "b": 2, "a": 3, "who": 7}, {"c": 1, "b": 2, "a": 3, "seen": "2026-11-21T10:00:00Z"}],
        [[3.4028234e38, -3.4028234e38, 5e-324]],
    ],
)
def test_right_rows_are_read_at_once(rows: list[Any], schema: Schema) -> None:
    assert agree(schema, rows)


@pytest.mark.parametrize("odd", [True, None, "1", [1], {}, 3.5e38, 10**400])
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("schema", [SCHEMA, NARROW], ids=["float64", "float32"])
def test_odd_values_are_left_to_the_careful_reader(schema: Schema, n: int, odd: object) -> None:
    body = json.dumps({"instances": [[1.0, 2.0, odd]] * n}).encode()
    instances = json.loads(body)["instances"]
    assert Matrix(schema).instances(instances, body) is None
    flat = [value for row in instances for value in row]
    assert Matrix(schema).flat(flat, body) is None
    if odd not in (None, ""):
        with pytest.raises(RequestError):
            schema.parse_instances(instances)


@pytest.mark.parametrize("n", [4, 10_000])
@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_finite_sees_every_odd_value_and_no_large_one(n: int, odd: float) -> None:
    values = np.full(n, 3e38, np.float32)
    assert finite(values)
    values[n // 2] = odd
    assert not finite(values)
    values[n // 2 + 1] = -odd
    assert not finite(values)
