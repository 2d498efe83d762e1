"""V2's binary tensors, as Triton's and KServe's own clients send and read them, and what is refused of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.serving.bundles import Running
from tests.serving.raw import Raw, post
from tests.serving.test_protocols import kserve

from trimtab.serving.v2_binary import Tail, read, split, text

IMAGES = np.stack([np.full((8, 8), fill, np.float32) for fill in (1.0, 9.0)])
ROWS = np.array([[1.0, 2.0, 3.0, 0.5], [-1.0, 0.0, 1e-3, 7.0]], np.float32)


def body(head: dict[str, Any], *chunks: bytes) -> tuple[bytes, dict[str, str]]:
    """A request in the extension, and its headers."""
    encoded = json.dumps(head).encode()
    return encoded + b"".join(chunks), {"Inference_Header_Content_Length": str(len(encoded))}


def one(chunk: bytes, shape: list[int], name: str = "image", kind: str = "FP32", **more: Any) -> dict[str, Any]:
    tensor = {"name": name, "shape": shape, "datatype": kind, "parameters": {"binary_data_size": len(chunk)}}
    return {"inputs": [{**tensor, **more}]}


def infer(server: Running, head: dict[str, Any], *chunks: bytes, model: str = "digits") -> tuple[int, Any, Any]:
    sent, headers = body(head, *chunks)
    with Raw(server.url) as raw:
        return raw.ask(post(f"/v2/models/{model}/infer", sent, "application/octet-stream", **headers))


@pytest.fixture(scope="module")
def triton(digits: Running) -> Iterator[Any]:
    import tritonclient.http as http

    client = http.InferenceServerClient(digits.url.removeprefix("http://"))
    yield client
    client.close()


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("received", [True, False])
def test_tritons_client_infers(triton: Any, sent: bool, received: bool) -> None:
    import tritonclient.http as http

    tensor = http.InferInput("image", [2, 8, 8], "FP32")
    tensor.set_data_from_numpy(IMAGES, binary_data=sent)
    outputs = [http.InferRequestedOutput(name, binary_data=received) for name in ("label", "probabilities")]
    result = triton.infer("digits", [tensor], outputs=outputs, request_id="mine")
    probabilities = result.as_numpy("probabilities")
    assert probabilities.shape == (2, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    labels = [v.decode() if isinstance(v, bytes) else v for v in result.as_numpy("label").tolist()]
    assert labels == [str(i) for i in probabilities.argmax(axis=1)]
    assert result.get_response()["id"] == "mine"


def test_tritons_client_without_outputs_gets_all_as_bytes(triton: Any) -> None:
    import tritonclient.http as http

    for n in (1, 2):
        tensor = http.InferInput("image", [n, 8, 8], "FP32")
        tensor.set_data_from_numpy(IMAGES[:n])
        result = triton.infer("digits", [tensor])
        assert result.as_numpy("label").shape == (n,)
        assert result.as_numpy("probabilities").shape == (n, 10)
        assert result.get_output("probabilities")["parameters"]["binary_data_size"] == n * 40


def test_tritons_client_reads_health_and_metadata(triton: Any) -> None:
    from tritonclient.utils import InferenceServerException

    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("digits")
    assert not triton.is_model_ready("other")
    assert "binary_tensor_data" in triton.get_server_metadata()["extensions"]
    metadata = triton.get_model_metadata("digits")
    assert metadata["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 8, 8]}]
    with pytest.raises(InferenceServerException, match="'other' is not served here"):
        triton.get_model_metadata("other")


def test_kserves_client_infers_in_bytes(digits: Running, demand: Running) -> None:
    from kserve import InferInput, InferRequest
    from kserve.protocol.infer_type import RequestedOutput

    tensor = InferInput("image", [2, 8, 8], "FP32")
    tensor.set_data_from_numpy(IMAGES, binary_data=True)
    outputs = [RequestedOutput(name, {"binary_data": True}) for name in ("label", "probabilities")]
    request = InferRequest("digits", [tensor], request_id="mine", request_outputs=outputs)
    answer = kserve("v2", lambda c: c.infer(digits.url, request, model_name="digits"))
    found = {output.name: output.as_numpy() for output in answer.outputs}
    assert answer.id == "mine"
    assert [str(v) for v in found["label"]] == [str(i) for i in found["probabilities"].argmax(axis=1)]

    matrix = InferInput("input", [2, 4], "FP32")
    matrix.set_data_from_numpy(ROWS, binary_data=True)
    request = InferRequest("demand", [matrix])
    value = kserve("v2", lambda c: c.infer(demand.url, request, model_name="demand")).outputs[0]
    with Raw(demand.url) as raw:
        said = raw.ask(post("/v1/models/demand:predict", {"instances": ROWS.tolist()}))[2]["predictions"]
    np.testing.assert_allclose(value.as_numpy().ravel(), said, rtol=1e-5)


@pytest.mark.parametrize("kind", ["FP16", "FP32", "FP64", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT32"])
def test_every_number_type_means_the_same_rows(demand: Running, kind: str) -> None:
    from trimtab.serving.v2_binary import DTYPES

    rows = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    data = rows.astype(DTYPES[kind]).tobytes()
    status, _, answer = infer(demand, one(data, [2, 4], "input", kind), data, model="demand")
    assert status == 200
    with Raw(demand.url) as raw:
        said = raw.ask(post("/v1/models/demand:predict", {"instances": rows.tolist()}))[2]["predictions"]
    assert answer["outputs"][0]["data"] == said


def test_texts_numbers_and_json_in_one_request(churn: Running) -> None:
    age, plan = np.array([30, 40], "<f4").tobytes(), text(["basic", "never seen"])
    head = {
        "inputs": [
            {"name": "age", "shape": [2, 1], "datatype": "FP32", "parameters": {"binary_data_size": len(age)}},
            {"name": "income", "shape": [2, 1], "datatype": "FP32", "data": [None, 3]},
            {"name": "plan", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(plan)}},
        ],
        "outputs": [{"name": "label", "parameters": {"binary_data": True}}, {"name": "probabilities"}],
    }
    status, headers, raw_answer = infer(churn, head, age, plan, model="churn")
    assert status == 200
    length = int(headers["inference-header-content-length"])
    said, tail = json.loads(raw_answer[:length]), raw_answer[length:]
    label, probabilities = said["outputs"]
    assert label["parameters"]["binary_data_size"] == len(tail)
    labels = read(memoryview(tail), "BYTES", [2], "label").tolist()
    instances = [{"age": 30, "plan": "basic"}, {"age": 40, "income": 3, "plan": "never seen"}]
    with Raw(churn.url) as raw:
        question = {"instances": instances, "parameters": {"probabilities": True}}
        v1 = raw.ask(post("/v1/models/churn:predict", question))[2]
    assert labels == v1["predictions"]
    np.testing.assert_allclose(probabilities["data"], np.ravel(v1["probabilities"]), rtol=1e-6)


def test_nan_is_null_where_null_is_allowed(demand: Running) -> None:
    rows = ROWS.copy()
    rows[0, 3] = np.nan  # `d` is nullable
    data = rows.tobytes()
    status, _, answer = infer(demand, one(data, [2, 4], "input"), data, model="demand")
    assert status == 200
    with Raw(demand.url) as raw:
        nulls = [[None if v != v else v for v in row] for row in rows.tolist()]
        said = raw.ask(post("/v1/models/demand:predict", {"instances": nulls}))[2]["predictions"]
    np.testing.assert_allclose(answer["outputs"][0]["data"], said, rtol=1e-6)
    rows[1, 0] = np.nan
    data = rows.tobytes()
    status, _, answer = infer(demand, one(data, [2, 4], "input"), data, model="demand")
    assert (status, answer["object"]) == (400, "a")
    assert "row 1" in answer["error"]


IMAGE = IMAGES[:1].tobytes()
BAD: dict[str, tuple[dict[str, Any], bytes, str]] = {
    "too few bytes": (one(IMAGE, [1, 8, 8]), IMAGE[:-4], "at most the 252 bytes that are left"),
    "too many bytes": (one(IMAGE, [1, 8, 8]), IMAGE + b"x", "1 bytes more"),
    "another shape": (one(IMAGE, [1, 8, 7]), IMAGE, "expected 224 bytes for FP32 of shape [1, 8, 7], got 256 bytes"),
    "a huge shape": (one(IMAGE, [1, 2**31 - 1, 2**31 - 1]), IMAGE, "got 256 bytes"),
    "negative size": (one(IMAGE, [1, 8, 8], parameters={"binary_data_size": -1}), IMAGE, "got -1"),
    "size is text": (one(IMAGE, [1, 8, 8], parameters={"binary_data_size": "256"}), IMAGE, "got '256'"),
    "size is true": (one(IMAGE, [1, 8, 8], parameters={"binary_data_size": True}), IMAGE, "got true"),
    "parameters": (one(IMAGE, [1, 8, 8], parameters=7), IMAGE, "`parameters` is no object"),
    "both": (one(IMAGE, [1, 8, 8], data=[0.0] * 64), IMAGE, "got both"),
    "neither": (one(IMAGE, [1, 8, 8], parameters={}), b"", "has no data"),
    "unknown type": (one(IMAGE, [1, 8, 8], kind="BF16"), IMAGE, "unknown datatype"),
    "text for an image": (one(text(["a"]), [1], kind="BYTES"), text(["a"]), "expected FP32"),
    "infinite": (one(IMAGE, [1, 8, 8]), np.full((1, 8, 8), np.inf, np.float32).tobytes(), "infinite"),
    "no rows": (one(b"", [0, 8, 8]), b"", "no rows"),
    "rows": (one(IMAGE * 1001, [1001, 8, 8]), IMAGE * 1001, "at most 1000 rows"),
    "output": ({**one(IMAGE, [1, 8, 8]), "outputs": [{"name": "label", "parameters": {"binary_data": 1}}]}, IMAGE,
               "neither true nor false"),
    "outputs": ({**one(IMAGE, [1, 8, 8]), "parameters": {"binary_data_output": "yes"}}, IMAGE,
                "neither true nor false"),
    "classification": (
        {**one(IMAGE, [1, 8, 8]), "outputs": [{"name": "probabilities", "parameters": {"classification": 3}}]},
        IMAGE, "classification is no parameter here",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_binary_data_is_refused_in_words(digits: Running, case: str) -> None:
    head, data, words = BAD[case]
    sent, headers = body(head, data)
    good, good_headers = body(one(IMAGE, [1, 8, 8]), IMAGE)
    with Raw(digits.url) as raw:
        status, _, answer = raw.ask(post("/v2/models/digits/infer", sent, None, **headers))
        assert status == (413 if case == "rows" else 400), answer
        assert words in answer["error"]
        assert raw.ask(post("/v2/models/digits/infer", good, None, **good_headers))[0] == 200


@pytest.mark.parametrize("length", ["0", "-1", "x", "9999999", "99999999999999999999", ""])
def test_a_wrong_length_of_the_json_is_refused(digits: Running, length: str) -> None:
    sent, _ = body(one(IMAGE, [1, 8, 8]), IMAGE)
    with Raw(digits.url) as raw:
        status, _, answer = raw.ask(post("/v2/models/digits/infer", sent, None, Inference_Header_Content_Length=length))
    assert (status, answer["object"]) == (400, "Inference-Header-Content-Length")
    assert f"from 1 to the body's {len(sent)} bytes" in answer["expected"]


def test_bytes_without_the_header_are_refused(digits: Running) -> None:
    with Raw(digits.url) as raw:
        status, _, answer = raw.ask(post("/v2/models/digits/infer", one(IMAGE, [1, 8, 8])))
    assert (status, answer["object"]) == (400, "Inference-Header-Content-Length")


def test_split_and_tail_hand_out_every_byte_once() -> None:
    json_part, tail = split(b"{}abcdef", {b"inference-header-content-length": b"2"})
    assert json_part == b"{}"
    assert isinstance(tail, Tail)
    assert [bytes(tail.take(n, "x")) for n in (1, 0, 5)] == [b"a", b"", b"bcdef"]
    tail.end()
    assert split(b"{}", {}) == (b"{}", None)
