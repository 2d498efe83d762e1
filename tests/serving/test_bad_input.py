"""Bad input: 4xx that names field, expected and got, never a 5xx, and the connection stays usable."""

from __future__ import annotations

import gzip
import json
from typing import Any

import numpy as np
import pytest
from tests.serving.bundles import Running
from tests.serving.raw import Raw, chunked, get, post

from trimtab.core.errors import RequestError
from trimtab.core.schema import Field, Schema, Target
from trimtab.serving.explain import check_text_tensors, check_texts, text_categories

V1, V2 = "/v1/models/digits:predict", "/v2/models/digits/infer"
IMAGE = [[0.0] * 8] * 8
GOOD = post(V1, {"instances": [IMAGE]})


def tensor(**changes: Any) -> dict[str, Any]:
    one = {"name": "image", "shape": [1, 8, 8], "datatype": "FP32", "data": IMAGE, **changes}
    return {"inputs": [{name: value for name, value in one.items() if value is not ...}]}


def number(text: str) -> bytes:
    """A body whose first pixel is this JSON text."""
    return json.dumps({"instances": [IMAGE]}).replace("0.0", text, 1).encode()


CASES: dict[str, tuple[bytes, int, str]] = {
    "no json": (post(V1, b"hello"), 400, "no JSON"),
    "empty": (post(V1, b""), 400, "no JSON"),
    "truncated": (post(V1, b'{"instances": [[1, 2'), 400, "no JSON"),
    "not utf-8": (post(V1, b'{"instances": ["\xff"]}'), 400, "no JSON"),
    "nan": (post(V1, number("NaN")), 400, "no JSON: it holds NaN"),
    "infinity": (post(V1, number("Infinity")), 400, "no JSON: it holds Infinity"),
    "-infinity": (post(V1, number("-Infinity")), 400, "no JSON: it holds Infinity"),
    "1e400": (post(V1, number("1e400")), 400, "too large"),
    "1e39": (post(V1, number("1e39")), 400, "too large for 32 bits: expected a number from -3.4e38"),
    "null in an image": (post(V1, number("null")), 400, "not numbers"),
    "text in an image": (post(V1, number('"x"')), 400, "not numbers"),
    "boolean image": (post(V1, {"instances": [[[True] * 8] * 8]}), 400, "not numbers"),
    "array": (post(V1, []), 400, "no JSON object"),
    "no instances": (post(V1, {"rows": []}), 400, "no `instances`"),
    "instances no list": (post(V1, {"instances": {"a": 1}}), 400, "a list of rows"),
    "no rows": (post(V1, {"instances": []}), 400, "no rows"),
    "wrong shape": (post(V1, {"instances": [[[0.0] * 7] * 8]}), 400, "expected an array of shape [8, 8]"),
    "ragged": (post(V1, {"instances": [[[0.0] * 8] * 7 + [[0.0]]]}), 400, "ragged"),
    "missing field": (post(V1, {"instances": [{"image_id": "x"}]}), 400, "'image' is missing"),
    "unknown field": (post(V1, {"instances": [{"image": IMAGE, "imag_id": 1}]}), 400, "no field 'imag_id'"),
    "second row": (post(V1, {"instances": [IMAGE, [[1]]]}), 400, "row 1"),
    "parameters": (post(V1, {"instances": [IMAGE], "parameters": 3}), 400, "`parameters` is no object"),
    "parameter": (
        post(V1, {"instances": [IMAGE], "parameters": {"probabilities": "yes"}}), 400, "neither true nor false"
    ),
    "deep": (post(V1, b'{"instances":' + b"[" * 5000 + b"]" * 5000 + b"}"), 400, ""),
    "nested image": (post(V1, {"instances": [[[[[[[0.0]]]]]]]}), 400, "shape"),
    "content type": (post(V1, {}, "text/csv"), 415, "expected application/json, got text/csv"),
    "charset": (post(V1, {}, "application/json; charset=utf-16"), 415, "UTF-8"),
    "gzip": (post(V1, gzip.compress(b"{}"), Content_Encoding="gzip"), 415, "content encodings are not supported"),
    "called gzip": (post(V1, {}, Content_Encoding="gzip"), 415, "expected a plain body"),
    "too many rows": (post(V1, {"instances": [IMAGE] * 1001}), 413, "expected at most 1000 rows, got 1001 rows"),
    "v2 too many rows": (post(V2, tensor(shape=[1001, 8, 8])), 413, "expected at most 1000 rows, got 1001 rows"),
    "binary": (post(V2, b"\0" * 100, "application/octet-stream"), 415, "application/json"),
    "prediction id": (post(V1, {"instances": [IMAGE]}, X_Prediction_Id="7"), 400, "prediction id is malformed"),
    "too long": (post(V1, b" " * (1 << 20) + b"{}"), 413, "at most 1048576 bytes"),
    "too long, chunked": (chunked(V1, [b" " * 100_000] * 30), 413, "at most 1048576 bytes"),
    "chunked and bad": (chunked(V1, [b'{"insta', b'nces": 3}']), 400, "a list of rows"),
    "other model": (post("/v1/models/other:predict", {}), 404, "'other' is not served here: expected digits"),
    "other model v2": (post("/v2/models/other/infer", {}), 404, "'other' is not served here"),
    "other version": (post("/v2/models/digits/versions/v9-00000000/infer", {}), 404, "version does not serve here"),
    "no path": (get("/nothing"), 404, "nothing at this path"),
    "odd path": (get("/v1/models/%ff%00"), 404, "is not served here"),
    "method": (get(V1), 405, "expected POST, got GET"),
    "method on health": (post("/v2/health/live", {}), 405, "expected GET"),
    "explain": (post("/v1/models/digits:explain", {}), 404, "nothing at this path"),
    "v2 no inputs": (post(V2, {"instances": [IMAGE]}), 400, "no list of `inputs`"),
    "v2 empty inputs": (post(V2, {"inputs": []}), 400, "no inputs"),
    "v2 input no object": (post(V2, {"inputs": [3]}), 400, "inputs[0]"),
    "v2 no name": (post(V2, tensor(name=...)), 400, "inputs[0].name"),
    "v2 unknown name": (post(V2, tensor(name="imag")), 400, "Did you mean 'image'"),
    "v2 twice": (post(V2, {"inputs": tensor()["inputs"] * 2}), 400, "comes twice"),
    "v2 no shape": (post(V2, tensor(shape=...)), 400, "has no shape"),
    "v2 negative shape": (post(V2, tensor(shape=[-1, 8, 8])), 400, "got [-1, 8, 8]"),
    "v2 huge shape": (post(V2, tensor(shape=[2**31, 8, 8])), 400, "got [2147483648, 8, 8]"),
    "v2 shape of booleans": (post(V2, tensor(shape=[True, 8, 8])), 400, "got [true, 8, 8]"),
    "v2 lying shape": (post(V2, tensor(shape=[2, 8, 8])), 400, "expected 128 values for shape [2, 8, 8], got 64"),
    "v2 other shape": (post(V2, tensor(shape=[8, 8])), 400, "shape"),
    "v2 no rows": (post(V2, tensor(shape=[0, 8, 8], data=[])), 400, "no rows"),
    "v2 no datatype": (post(V2, tensor(datatype=...)), 400, "unknown datatype"),
    "v2 datatype": (post(V2, tensor(datatype="FP33")), 400, "unknown datatype"),
    "v2 bytes": (post(V2, tensor(datatype="BYTES")), 400, "no BYTES data"),
    "v2 text for an image": (post(V2, tensor(datatype="BYTES", data=["x"] * 64)), 400, "'image'"),
    "v2 no data": (post(V2, tensor(data=...)), 400, "no data"),
    "v2 text": (post(V2, tensor(data=["1"] * 64)), 400, "no FP32 data"),
    "v2 mixed": (post(V2, tensor(data=[1] * 63 + ["1"])), 400, "no FP32 data"),
    "v2 objects": (post(V2, tensor(data=[{}] * 64)), 400, "no FP32 data"),
    "v2 1e39": (post(V2, tensor(data=[1e39] * 64)), 400, "too large for 32 bits"),
    "v2 null": (post(V2, tensor(data=[None] * 64)), 400, "NaN or an infinite value"),
    "v2 ragged": (post(V2, tensor(data=[[1, 2], [3]])), 400, "rows of different lengths"),
    "v2 booleans": (post(V2, tensor(data=[True] * 64)), 400, "no FP32 data"),
    "v2 integers": (post(V2, tensor(datatype="INT8", data=[300] * 64)), 400, "INT8 cannot hold"),
    "v2 halves": (post(V2, tensor(datatype="INT32", data=[0.5] * 64)), 400, "INT32 cannot hold"),
    "v2 outputs": (post(V2, {**tensor(), "outputs": [{"name": "lable"}]}), 400, "expected label or probabilities"),
    "v2 outputs no list": (post(V2, {**tensor(), "outputs": 3}), 400, "`outputs` is no list"),
    "v2 id": (post(V2, {**tensor(), "id": 3}), 400, "`id` is no text"),
    "feedback without token": (post("/feedback", {}), 401, "TRIMTAB_TOKEN_FILE names"),
    "feedback, wrong token": (post("/feedback", {}, Authorization="Bearer x"), 401, "got another token"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused_in_a_sentence_and_the_connection_stays(digits: Running, name: str) -> None:
    request, status, message = CASES[name]
    with Raw(digits.url) as raw:
        got, headers, body = raw.ask(request)
        assert (got, set(body) >= {"error"}) == (status, True), body
        assert message in body["error"]
        assert headers["content-type"] == "application/json"
        if status == 405:
            assert headers["allow"]
        assert raw.ask(GOOD)[0] == 200


def test_no_case_was_answered_with_a_5xx(digits: Running) -> None:
    with Raw(digits.url) as raw:
        for request, _, _ in CASES.values():
            assert raw.ask(request)[0] < 500
    assert digits.metric("trimtab_server_requests_total", code="400") > 0
    assert digits.metric("trimtab_server_requests_total", code="500") == 0
    assert "Traceback" not in digits.log.read_text()


def test_numbers_and_categories_name_their_field(churn: Running) -> None:
    path = "/v1/models/churn:predict"
    good = {"age": 40, "plan": "basic"}
    cases = [
        ({"plan": "basic"}, "'age' is missing or null: expected a finite number (years)"),
        ({**good, "age": "40"}, "'age' is not a finite number (years): expected a finite number (years), got '40'"),
        ({**good, "age": None}, "'age' is missing or null"),
        ({**good, "age": True}, "'age'"),
        ({**good, "age": [40]}, "'age'"),
        ({**good, "plan": {"a": 1}}, "'plan' is not text"),
        ({**good, "age": 1e300}, "'age' holds a number too large for 32 bits: expected a number from -3.4e38"),
        ([1e300, 1, "basic"], "'age' holds a number too large for 32 bits"),
        ({**good, "plan": 3}, "'plan' is a category: expected text, got 3"),
        ([40, 1, 3.5], "'plan' is a category: expected text, got 3.5"),
        ({**good, "seen": "yesterday"}, "'seen' is not RFC 3339 time"),
        ({**good, "churn": "yes"}, "'churn' is what the model predicts"),
        ([40], "expected an object, or an array of 3 in the order age, income, plan"),
        ("x", "expected an object"),
    ]
    with Raw(churn.url) as raw:
        for instance, message in cases:
            status, _, body = raw.ask(post(path, {"instances": [good, instance]}))
            assert status == 400
            assert message in body["error"]
            assert "row 1" in body["error"]
        assert raw.ask(post(path, {"instances": [good]}))[0] == 200


def test_a_number_beyond_32_bits_is_named_in_a_matrix_too(demand: Running) -> None:
    one = {"name": "input", "shape": [2, 4], "datatype": "FP64", "data": [1, 2, 3, None, 5, -1e300, 7, 8]}
    with Raw(demand.url) as raw:
        status, _, body = raw.ask(post("/v2/models/demand/infer", {"inputs": [one]}))
        assert (status, body["object"], body["got"]) == (400, "b", "-1e+300")
        assert "'b' holds a number too large for 32 bits" in body["error"]
        assert "row 1" in body["error"]


def test_a_number_is_a_category_where_the_known_ones_are_numbers() -> None:
    words = Field(name="plan", kind="category", categories=("basic", "plus"))
    codes = Field(name="cabin", kind="category", categories=("1", "2", "none"))
    target = Target(name="y", kind="number")
    texts = text_categories(Schema(fields=(codes, words), target=target))
    assert texts == (("plan", 1),)
    check_texts([{"plan": "basic", "cabin": 2}, [1, "plus"], {"plan": None}, {"plan": True}], texts, 2)
    with pytest.raises(RequestError, match=r"row 1\b"):
        check_texts([["1", "plus"], ["1", 7]], texts, 2)
    check_text_tensors({"cabin": np.ones(1), "plan": np.array(["plus"], dtype=object)}, texts)
    with pytest.raises(RequestError, match="BYTES"):
        check_text_tensors({"plan": np.ones(1)}, texts)


def test_a_client_that_leaves_in_the_middle_hurts_nobody(digits: Running) -> None:
    for _ in range(20):
        with Raw(digits.url) as raw:
            raw.send(GOOD[:200])
    with Raw(digits.url) as raw:
        assert raw.ask(GOOD)[0] == 200
    digits.until(lambda: digits.metric("trimtab_server_in_flight") == 0)


def test_requests_in_one_packet_are_all_answered(digits: Running) -> None:
    with Raw(digits.url) as raw:
        raw.send(GOOD * 5 + CASES["wrong shape"][0] + GOOD)
        assert [raw.answer()[0] for _ in range(7)] == [200] * 5 + [400, 200]
