"""Requests become records, records become tensors, and what is wrong is refused by field and row."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from trimtab.core.errors import DataError, RequestError
from trimtab.core.schema import Field, Schema, Target, TensorSpec

MIXED = Schema(
    fields=(
        Field(name="age", kind="number", unit="years", nullable=True),
        Field(name="height", kind="number"),
        Field(name="city", kind="category", categories=("Oslo", "True"), nullable=True),
        Field(name="plan", kind="category"),
        Field(name="order", kind="id"),
        Field(name="at", kind="time"),
        Field(name="note", kind="text"),
    ),
    target=Target(name="churn", kind="category"),
    ignored=("old",),
)
NUMBERS = Schema(
    fields=(Field(name="a", kind="number", nullable=True), Field(name="b", kind="number")),
    target=Target(name="y", kind="number"),
)
IMAGE = Schema(
    fields=(Field(name="image", kind="image", shape=(2, 3)), Field(name="key", kind="id")),
    target=Target(name="digit", kind="category"),
)
NESTED = [[1, 2, 3], [4, 5, 6]]


def test_shape_of_the_graphs_inputs() -> None:
    assert NUMBERS.tensors() == [TensorSpec("input", "FP32", (-1, 2))]
    assert MIXED.tensors() == [
        TensorSpec("age", "FP32", (-1, 1)),
        TensorSpec("height", "FP32", (-1, 1)),
        TensorSpec("city", "BYTES", (-1, 1)),
        TensorSpec("plan", "BYTES", (-1, 1)),
    ]
    assert IMAGE.tensors() == [TensorSpec("image", "FP32", (-1, 2, 3))]


def test_objects_and_arrays_give_the_same_record() -> None:
    row = {"age": None, "height": 2, "city": "", "plan": 3, "order": 17, "at": "2026-11-21T15:00:00+01:00"}
    record = MIXED.parse_instances([row])[0]
    assert record == {
        "age": None,
        "height": 2.0,
        "city": None,
        "plan": "3",
        "order": "17",
        "at": datetime(2026, 11, 21, 14, tzinfo=UTC),
        "note": None,
    }
    array = MIXED.parse_instances([[None, 2, "", 3]])[0]
    assert array == {**record, "order": None, "at": None}
    assert MIXED.parse_instances([]) == []


def test_truth_values_meet_the_category_that_was_learned() -> None:
    row = {"height": 1, "plan": True, "city": True}
    record = MIXED.parse_instances([row])[0]
    assert (record["plan"], record["city"]) == ("true", "True")


def test_an_image_comes_bare_wrapped_flat_or_by_name() -> None:
    for instance in (NESTED, [NESTED], {"image": NESTED}, {"image": [1, 2, 3, 4, 5, 6]}, [1, 2, 3, 4, 5, 6]):
        record = IMAGE.parse_instances([instance])[0]
        assert record["image"].dtype == np.float32
        assert record["image"].tolist() == NESTED
        assert record["key"] is None


def test_one_number_comes_bare() -> None:
    one = Schema(fields=(Field(name="a", kind="number"),), target=Target(name="y", kind="number"))
    assert one.parse_instances([1.5, [2], {"a": 3}]) == [{"a": 1.5}, {"a": 2.0}, {"a": 3.0}]


BAD: list[tuple[Schema, Any, tuple[str, ...]]] = [
    (MIXED, 5, ("no list", "5")),
    (MIXED, {"age": 1}, ("no list", "an object")),
    (MIXED, [{"plan": "x"}], ("'height'", "missing or null", "row 0")),
    (MIXED, [{"height": 1, "plan": ""}], ("'plan'", "missing")),
    (MIXED, [{"height": "tall", "plan": "x"}], ("'height'", "a finite number", "'tall'")),
    (MIXED, [{"height": True, "plan": "x"}], ("'height'", "got true")),
    (MIXED, [{"height": float("inf"), "plan": "x"}], ("'height'", "inf")),
    (MIXED, [{"height": 1e39, "plan": "x"}], ("'height'", "1e+39")),
    (MIXED, [{"height": 10**400, "plan": "x"}], ("'height'",)),
    (MIXED, [{"height": float("nan"), "plan": "x"}], ("'height'", "NaN")),
    (MIXED, [{"height": [1], "plan": "x"}], ("'height'", "an array of 1")),
    (MIXED, [{"height": 1, "plan": ["x"]}], ("'plan'", "text")),
    (MIXED, [{"height": 1, "plan": float("inf")}], ("'plan'",)),
    (MIXED, [{"height": 1, "plan": "x", "heihgt": 1}], ("no field 'heihgt'", "'height'")),
    (MIXED, [{"height": 1, "plan": "x", "churn": "no"}], ("'churn' is what the model predicts",)),
    (MIXED, [{"height": 1, "plan": "x", "at": "soon"}], ("'at'", "RFC 3339", "'soon'")),
    (MIXED, [{"height": 1, "plan": "x", "order": "x" * 201}], ("'order'", "at most 200")),
    (MIXED, [{"height": 1, "plan": "x"}, {"height": 2, "plan": None}], ("'plan'", "row 1")),
    (MIXED, [[1, 2, 3]], ("an array of 4", "age, height, city, plan", "an array of 3")),
    (MIXED, ["x"], ("an object", "'x'")),
    (MIXED, [None], ("null",)),
    (IMAGE, [{"image": [[1, 2], [3, 4]]}], ("'image'", "shape [2, 3]", "shape [2, 2]")),
    (IMAGE, [{"image": [[1, 2, 3], [4, 5]]}], ("'image'", "ragged")),
    (IMAGE, [{"image": [["1", "2", "3"], ["4", "5", "6"]]}], ("'image'", "not numbers")),
    (IMAGE, [{"image": [[1, 2, 3], [4, 5, None]]}], ("'image'",)),
    (IMAGE, [{"image": [[1, 2, 3], [4, 5, float("nan")]]}], ("'image'", "NaN")),
    (IMAGE, [{"image": [[True, False, True], [True, True, True]]}], ("'image'",)),
    (IMAGE, [{"image": None}], ("'image'", "missing")),
    (IMAGE, [{}], ("'image'", "missing")),
    (IMAGE, [{"image": {"a": 1}}], ("'image'",)),
]


@pytest.mark.parametrize(("schema", "instances", "words"), BAD)
def test_bad_instances_are_refused_by_name(schema: Schema, instances: Any, words: tuple[str, ...]) -> None:
    with pytest.raises(RequestError) as caught:
        schema.parse_instances(instances)
    assert caught.value.status == 400
    for word in words:
        assert word in caught.value.sentence(), caught.value.sentence()


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*MIXED.by_name, "x"]), inner),
    max_leaves=12,
)


@given(JSON, st.sampled_from([MIXED, NUMBERS, IMAGE]))
def test_whatever_json_comes_is_a_record_or_a_refusal(instances: Any, schema: Schema) -> None:
    try:
        records = schema.parse_instances(instances)
    except RequestError:
        return
    for name, array in schema.encode(records).items():
        assert array.shape[0] == len(instances), name
        assert array.dtype == object or (np.isfinite(array) | np.isnan(array)).all()


def test_tensors_give_the_same_records_as_instances() -> None:
    tensors = {
        "age": np.array([30.0, np.nan]),
        "height": np.array([[1], [2]], dtype=np.int64),
        "city": np.array([b"Oslo", b""], dtype=object),
        "plan": np.array([["x"], ["y"]], dtype=object),
        "order": np.array(["k1", "k2"], dtype=object),
    }
    rows = [{"age": 30, "height": 1, "city": "Oslo", "plan": "x", "order": "k1"}, [None, 2, None, "y"]]
    want = MIXED.parse_instances(rows)
    want[1]["order"] = "k2"
    assert MIXED.from_tensors(tensors) == want


def test_a_single_input_is_all_numbers_in_order() -> None:
    array = np.array([[1, 2], [np.nan, 4]], dtype=np.float32)
    assert NUMBERS.from_tensors({"input": array}) == [{"a": 1.0, "b": 2.0}, {"a": None, "b": 4.0}]
    both = NUMBERS.from_tensors({"a": np.array([1.0]), "b": np.array([[2.0]])})
    assert both == [{"a": 1.0, "b": 2.0}]
    one = IMAGE.from_tensors({"input": np.arange(6, dtype=np.float64).reshape(1, 2, 3), "key": np.array(["k"], object)})
    assert one[0]["key"] == "k"
    assert one[0]["image"].tolist() == [[0, 1, 2], [3, 4, 5]]


BAD_TENSORS: list[tuple[Schema, dict[str, np.ndarray], tuple[str, ...]]] = [
    (NUMBERS, {}, ("no inputs", "a, b")),
    (NUMBERS, {"input": np.ones((1, 3))}, ("'input'", "[n, 2]", "[1, 3]")),
    (NUMBERS, {"input": np.ones(2)}, ("'input'", "[n, 2]", "[2]")),
    (NUMBERS, {"input": np.array([[1, np.inf]])}, ("'b'", "inf", "row 0")),
    (NUMBERS, {"input": np.array([[1, 2], [1, np.nan]])}, ("'b'", "NaN", "row 1")),
    (NUMBERS, {"input": np.array([["1", "2"]], dtype=object)}, ("'a'", "a finite number", "'1'")),
    (NUMBERS, {"a": np.ones(2), "b": np.ones(3)}, ("'b'", "2 rows", "3")),
    (NUMBERS, {"a": np.ones(2)}, ("'b'", "missing")),
    (NUMBERS, {"a": np.ones((2, 2)), "b": np.ones(2)}, ("'a'", "[n, 1]", "[2, 2]")),
    (NUMBERS, {"a": np.float32(1), "b": np.float32(1)}, ("'a'", "rows")),  # type: ignore[dict-item]
    (NUMBERS, {"a": np.array([True]), "b": np.ones(1)}, ("'a'", "true")),
    (NUMBERS, {"c": np.ones(1)}, ("no field 'c'",)),
    (MIXED, {"input": np.ones((1, 4))}, ("no field 'input'",)),
    (IMAGE, {"image": np.ones((2, 3, 2))}, ("'image'", "[n, 2, 3]", "[2, 3, 2]")),
    (IMAGE, {"image": np.full((2, 2, 3), "x", dtype=object)}, ("'image'", "FP32")),
    (IMAGE, {"image": np.array([np.ones((2, 3)), np.full((2, 3), np.nan)])}, ("'image'", "NaN", "row 1")),
]


@pytest.mark.parametrize(("schema", "tensors", "words"), BAD_TENSORS)
def test_bad_tensors_are_refused_by_name(
    schema: Schema, tensors: dict[str, np.ndarray], words: tuple[str, ...]
) -> None:
    with pytest.raises(RequestError) as caught:
        schema.from_tensors(tensors)
    assert caught.value.status == 400
    for word in words:
        assert word in caught.value.sentence(), caught.value.sentence()


def test_records_and_tables_encode_alike() -> None:
    records = MIXED.parse_instances([[None, 2, "", "x"], [30, 3, "Oslo", "y"]])
    encoded = MIXED.encode(records)
    assert np.isnan(encoded["age"][0, 0])
    assert encoded["city"].tolist() == [[""], ["Oslo"]]
    table = pa.table(
        {
            f.name: pa.array([r[f.name] for r in records], t.type)
            for f, t in zip(MIXED.fields, MIXED.arrow_fields(), strict=True)
        }
    )
    from_table = MIXED.encode_table(table)
    assert set(from_table) == set(encoded)
    for name, array in encoded.items():
        assert array.dtype == from_table[name].dtype
        np.testing.assert_array_equal(array, from_table[name])
    numbers = NUMBERS.encode([{"a": None, "b": 2.0}])["input"]
    assert numbers.dtype == np.float32
    assert np.isnan(numbers[0, 0])
    np.testing.assert_array_equal(numbers, NUMBERS.encode_table(pa.table({"a": [None], "b": [2]}))["input"])
    images = IMAGE.encode(IMAGE.parse_instances([NESTED]))["image"]
    np.testing.assert_array_equal(images, IMAGE.encode_table(pa.table({"image": [[1, 2, 3, 4, 5, 6]]}))["image"])
    with pytest.raises(DataError, match=r"another size.*6 values.*got 2"):
        IMAGE.encode_table(pa.table({"image": [[1, 2]]}))
    with pytest.raises(DataError, match="missing"):
        NUMBERS.encode_table(pa.table({"a": [1]}))


def test_no_rows_encode_to_no_rows() -> None:
    for schema in (MIXED, NUMBERS, IMAGE):
        for spec in schema.tensors():
            assert schema.encode([])[spec.name].shape == (0, *spec.shape[1:])


def test_private_fields_and_the_log() -> None:
    schema = replace(
        MIXED,
        fields=(
            Field(name="age", kind="number", private="drop"),
            Field(name="mail", kind="number", private="hash"),
            Field(name="x", kind="number"),
        ),
    )
    assert [f.name for f in schema.arrow_fields()] == ["age", "mail", "x"]
    assert [(f.name, f.type) for f in schema.arrow_fields(logged=True)] == [("mail", pa.string()), ("x", pa.float64())]


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"name": "_id", "kind": "number"}, "no field name"),
        ({"name": "ä", "kind": "number"}, "no field name"),
        ({"name": "x", "kind": "image"}, "shape"),
        ({"name": "x", "kind": "image", "shape": (3,)}, "shape"),
        ({"name": "x", "kind": "image", "shape": (3, 3), "nullable": True}, "nullable"),
        ({"name": "x", "kind": "number", "shape": (3, 3)}, "shape"),
        ({"name": "x", "kind": "number", "categories": ("a",)}, "categories"),
        ({"name": "x", "kind": "category", "categories": ("a", "a")}, "different"),
        ({"name": "x", "kind": "category", "categories": ("a", "")}, "empty"),
        ({"name": "x", "kind": "category", "range": (0, 1)}, "range"),
        ({"name": "x", "kind": "number", "range": (1, 1)}, "smaller"),
        ({"name": "x", "kind": "numbers"}, "kind.*number, category"),
        ({"name": 1, "kind": "number"}, "name"),
        ({"name": "x", "kind": "number", "unit": 3}, "unit"),
        ({"name": "x", "kind": "number", "nullable": "yes"}, "nullable"),
        ({"name": "x", "kind": "number", "range": (0,)}, "range"),
        ({"name": "x", "kind": "number", "range": ("a", 1)}, "range"),
        ({"name": "x", "kind": "number", "range": (0, float("inf"))}, "finite"),
        ({"name": "x", "kind": "number", "range": (float("nan"), None)}, "finite"),
        ({"name": "x", "kind": "number", "range": (0, 10**400)}, "finite"),
        ({"name": "x", "kind": "number", "example": {"x": 1}}, "example"),
        ({"name": "x", "kind": "image", "shape": (2.5, 3)}, "shape"),
        ({"name": "x", "kind": "category", "categories": "abc"}, "categories"),
        ({"name": "x", "kind": "text", "private": "yes"}, "private"),
        ({"name": "x", "kind": "number", "dtype": "float16"}, "dtype.*float64, float32"),
        ({"name": "x", "kind": "category", "dtype": "float32"}, "numbers"),
    ],
)
def test_fields_that_make_no_sense(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Field(**settings)


def test_schemas_that_make_no_sense() -> None:
    number = Field(name="a", kind="number")
    with pytest.raises(ValueError, match="named twice: a"):
        Schema(fields=(number, number), target=Target(name="y", kind="number"))
    with pytest.raises(ValueError, match="is the target"):
        Schema(fields=(number,), target=Target(name="a", kind="number"))
    with pytest.raises(ValueError, match="no field of kind id"):
        Schema(fields=(number,), target=Target(name="y", kind="number"), key="a")


def test_the_key_names_the_id_field_and_a_copy_forgets_what_was_derived() -> None:
    ids = (Field(name="customer", kind="id"), Field(name="order", kind="id"), Field(name="x", kind="number"))
    schema = Schema(fields=ids, target=Target(name="y", kind="number"), key="order")
    assert schema.id_field is ids[1]
    copy = replace(schema, key="")
    assert copy.id_field is ids[0]
    assert Schema.from_json(schema.to_json()) == schema


def test_a_number_says_in_which_type_it_is_kept() -> None:
    fields = (Field(name="a", kind="number", dtype="float32"), Field(name="b", kind="number"))
    schema = Schema(fields=fields, target=Target(name="y", kind="number"))
    assert [one.get("dtype") for one in schema.to_facts()["fields"]] == ["float32", None]
    assert Schema.from_json(schema.to_json()) == TypeAdapter(Schema).validate_python(schema.to_facts()) == schema
    for logged in (False, True):
        assert [str(one.type) for one in schema.arrow_fields(logged=logged)] == ["float", "double"]
    hashed = replace(schema, fields=(replace(fields[0], private="hash"),))
    assert [str(one.type) for one in hashed.arrow_fields(logged=True)] == ["string"]


def test_a_schema_s_json_is_strict_and_the_same_as_pydantic_s() -> None:
    """A project file is read by pydantic, a bundle's schema is not: both give the same, to the byte."""
    field = {"name": "x", "kind": "image", "shape": [2, 3], "range": [0, 16], "example": [[1, 2, 3], [4, 5, 6]]}
    whole = {"fields": [field, {"name": "c", "kind": "category", "categories": ["a", 1]}], "key": "",
             "target": {"name": "y", "kind": "category", "classes": [1, 2.5]}, "ignored": ["old"]}  # fmt: skip
    schema = Schema.from_facts(whole)
    assert schema == TypeAdapter(Schema).validate_python(whole)
    facts = TypeAdapter(Schema).dump_python(schema, mode="json")
    assert [one.pop("dtype") for one in facts["fields"]] == ["float64"] * 2  # which goes without saying
    assert schema.to_facts() == facts
    assert json.dumps(schema.to_facts()["fields"][0]["range"]) == "[0.0, 16.0]"
    assert (schema.fields[1].categories, schema.target.classes) == (("a", "1"), ("1", "2.5"))
    for wrong, word in [
        ({**whole, "more": 1}, "has no more"),
        ({"fields": []}, "needs target"),
        ({**whole, "fields": [{**field, "kind_": 1}]}, "has no kind_"),
        ({**whole, "fields": {}}, "a list"),
        ({**whole, "fields": [{"name": "x"}]}, "needs kind"),
        ({**whole, "target": None}, "an object"),
        ({**whole, "ignored": [1]}, "ignored"),
        ([], "an object"),
    ]:
        with pytest.raises(ValueError, match=word):
            Schema.from_facts(wrong)
    with pytest.raises(ValueError, match="nested too deeply"):
        Schema.from_json("[" * 100_000)
