"""V1 and V2 as KServe's own client speaks them, and the answers to the letter."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from tests.serving.bundles import Place, Running, running
from tests.serving.raw import Raw, get, post

from trimtab.core.ids import parse_prediction_id, uuid7

IMAGES = [np.full((8, 8), fill, np.float32).tolist() for fill in (1.0, 9.0)]


def kserve(protocol: str, ask: Callable[[Any], Awaitable[Any]]) -> Any:
    from kserve import InferenceRESTClient
    from kserve.inference_client import RESTConfig

    async def run() -> Any:
        async with InferenceRESTClient(RESTConfig(protocol=protocol, timeout=60)) as client:
            return await ask(client)

    return asyncio.run(run())


def test_kserves_client_predicts_over_v1(digits: Running) -> None:
    answer = kserve("v1", lambda c: c.infer(digits.url, {"instances": IMAGES}, model_name="digits"))
    assert len(answer["predictions"]) == 2
    assert set(answer["predictions"]) <= set("0123456789")


def test_kserves_client_infers_over_v2(digits: Running) -> None:
    from kserve import InferInput, InferRequest

    one = InferInput("image", [2, 8, 8], "FP32", data=np.array(IMAGES).ravel().tolist())
    request = InferRequest("digits", [one], request_id="mine")
    answer = kserve("v2", lambda c: c.infer(digits.url, request, model_name="digits"))
    assert (answer.id, answer.model_name) == ("mine", "digits")
    outputs = {output.name: output for output in answer.outputs}
    assert outputs["label"].shape == [2]
    assert outputs["probabilities"].shape == [2, 10]
    probabilities = np.array(outputs["probabilities"].data).reshape(2, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert outputs["label"].data == [str(i) for i in probabilities.argmax(axis=1)]


def test_kserves_client_reads_health(digits: Running) -> None:
    for protocol in ("v1", "v2"):
        assert kserve(protocol, lambda c: c.is_server_live(digits.url))
        assert kserve(protocol, lambda c: c.is_model_ready(digits.url, "digits"))
    assert kserve("v2", lambda c: c.is_server_ready(digits.url))
    assert not kserve("v2", lambda c: c.is_model_ready(digits.url, "other"))


def test_metadata_names_inputs_outputs_and_versions(digits: Running, churn: Running, demand: Running) -> None:
    status, body = digits.get("/v2/models/digits")
    assert status == 200
    assert body["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 8, 8]}]
    assert [output["name"] for output in body["outputs"]] == ["label", "probabilities"]
    (version,) = body["versions"]
    assert digits.get(f"/v2/models/digits/versions/{version}")[1]["versions"] == [version]
    assert digits.get(f"/v2/models/digits/versions/{version}/ready")[0] == 200
    assert digits.get("/v2/models/digits/versions/v9-00000000/ready")[0] == 404
    assert [one["datatype"] for one in churn.get("/v2/models/churn")[1]["inputs"]] == ["FP32", "FP32", "BYTES"]
    body = demand.get("/v2/models/demand")[1]
    assert body["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 4]}]
    assert body["outputs"] == [{"name": "value", "datatype": "FP32", "shape": [-1, 1]}]


def test_server_metadata_and_lists(digits: Running) -> None:
    assert digits.get("/v1/models") == (200, {"models": ["digits"]})
    assert digits.get("/v2")[1]["name"] == "trimtab"
    assert digits.get("/")[1] == {"status": "alive"}
    assert digits.get("/healthz")[0] == 200
    with Raw(digits.url) as raw:
        raw.send(get("/healthz", "HEAD"))
        assert raw.file.readline().startswith(b"HTTP/1.1 200")


def test_both_protocols_give_the_same_answer(digits: Running) -> None:
    with Raw(digits.url) as raw:
        v1 = raw.ask(post("/v1/models/digits:predict", {"instances": IMAGES, "parameters": {"probabilities": True}}))
        tensor = {"name": "image", "shape": [2, 8, 8], "datatype": "FP64", "data": IMAGES}
        v2 = raw.ask(post("/v2/models/digits/infer", {"inputs": [tensor]}))
    outputs = {output["name"]: output["data"] for output in v2[2]["outputs"]}
    assert outputs["label"] == v1[2]["predictions"]
    np.testing.assert_allclose(outputs["probabilities"], np.ravel(v1[2]["probabilities"]), rtol=1e-6)
    assert v1[1]["x-model-version"] == v2[1]["x-model-version"] == v2[2]["model_version"]


def test_ids_are_made_returned_and_taken(digits: Running) -> None:
    own = f"{uuid7()}-0"
    with Raw(digits.url) as raw:
        body = {"instances": IMAGES}
        made = raw.ask(post("/v1/models/digits:predict", body))[1]["x-prediction-id"]
        assert parse_prediction_id(made) is not None
        assert raw.ask(post("/v1/models/digits:predict", body, X_Prediction_Id=own))[1]["x-prediction-id"] == own
        assert raw.ask(post("/v1/models/digits:predict", body, X_Prediction_Id=own[:-1] + "3"))[0] == 400


def test_v2_gives_the_outputs_that_were_asked_for(digits: Running) -> None:
    tensor = {"name": "image", "shape": [1, 64], "datatype": "UINT8", "data": [3] * 64}
    body = {"inputs": [{**tensor, "shape": [1, 8, 8]}], "outputs": [{"name": "label"}]}
    with Raw(digits.url) as raw:
        answer = raw.ask(post("/v2/models/digits/infer", body))[2]
    assert [output["name"] for output in answer["outputs"]] == ["label"]
    assert parse_prediction_id(answer["id"] + "-0") is not None


def test_numbers_come_in_one_tensor_or_by_field_and_null_is_imputed(demand: Running) -> None:
    rows: list[list[float | None]] = [[1.0, 2.0, 3.0, None], [1.0, 2.0, 3.0, 0.0]]
    one = {"name": "input", "shape": [2, 4], "datatype": "FP32", "data": rows}
    each = [
        {"name": name, "shape": [2, 1], "datatype": "FP32", "data": [row[i] for row in rows]}
        for i, name in enumerate("abcd")
    ]
    with Raw(demand.url) as raw:
        predictions = raw.ask(post("/v1/models/demand:predict", {"instances": rows}))[2]["predictions"]
        objects = [dict(zip("abcd", row, strict=True)) for row in rows]
        del objects[0]["d"]
        by_name = raw.ask(post("/v1/models/demand:predict", {"instances": objects}))[2]["predictions"]
        single = raw.ask(post("/v2/models/demand/infer", {"inputs": [one]}))[2]["outputs"][0]
        apart = raw.ask(post("/v2/models/demand/infer", {"inputs": each}))[2]["outputs"][0]
    assert predictions[0] == predictions[1]
    assert by_name == predictions
    assert single["data"] == apart["data"] == predictions
    assert single["shape"] == [2, 1]


def test_an_answer_that_is_no_number_is_refused_by_row(demand: Running) -> None:
    with Raw(demand.url) as raw:
        rows = [[0.0] * 4, [3e38] * 4]
        status, _, body = raw.ask(post("/v1/models/demand:predict", {"instances": rows}))
        assert status in {200, 422}
        if status == 422:
            assert "row 1" in body["error"]


def test_unseen_and_missing_categories_are_answered(churn: Running) -> None:
    instances = [{"age": 30, "plan": plan} for plan in ("basic", "never seen", None, "")]
    with Raw(churn.url) as raw:
        answer = raw.ask(
            post("/v1/models/churn:predict", {"instances": instances, "parameters": {"probabilities": True}})
        )[2]
    assert answer["probabilities"][1] == answer["probabilities"][2] == answer["probabilities"][3]
    assert answer["probabilities"][0] != answer["probabilities"][1]
    # The published threshold decides, not the larger probability.
    assert answer["predictions"] == ["yes" if p[1] >= 0.3 else "no" for p in answer["probabilities"]]


def test_large_batches_are_answered_row_by_row(digits: Running) -> None:
    images = np.random.default_rng(0).uniform(0, 16, (500, 8, 8)).round(2)
    with Raw(digits.url) as raw:
        together = raw.ask(post("/v1/models/digits:predict", {"instances": images.tolist()}))[2]["predictions"]
        alone = [
            raw.ask(post("/v1/models/digits:predict", {"instances": [one]}))[2]["predictions"][0]
            for one in images[:50].tolist()
        ]
    assert len(together) == 500
    assert together[:50] == alone


def test_a_server_without_a_model_says_so_and_picks_the_first_up(place: Place) -> None:
    with running(place, "digits", wait=False) as server:
        assert server.get("/v2/health/live")[0] == 200
        for path in ("/v2/health/ready", "/v2/models/digits/ready", "/v2/models/digits", "/v1/models/digits"):
            status, body = server.get(path)
            assert status == 503
            assert "no version of digits yet: waiting for its first" in body["error"]
        assert not kserve("v1", lambda c: c.is_model_ready(server.url, "digits"))
        with Raw(server.url) as raw:
            refused = raw.ask(post("/v1/models/digits:predict", {"instances": IMAGES}))
            assert refused[0] == 503
            assert refused[1]["retry-after"]
            version = place.serve("digits", "digits")
            server.until_ready()
            assert raw.ask(post("/v1/models/digits:predict", {"instances": IMAGES}))[1]["x-model-version"] == version


@pytest.mark.parametrize("accept", ["text/html,application/xhtml+xml"])
def test_the_page_needs_nothing_from_elsewhere(digits: Running, accept: str) -> None:
    status, page = digits.get("/", accept)
    assert status == 200
    assert page.startswith("<!doctype html>")
    own = {"html": page, **{name: digits.get(f"/page/{name}")[1] for name in re.findall(r'"page/([\w.]+)"', page)}}
    while fresh := {n for text in own.values() for n in re.findall(r'from "\./([\w.]+)"', text)} - own.keys():
        own |= {name: digits.get(f"/page/{name}")[1] for name in fresh}
    assert {"page.css", "page.js", "picture.js", "slider.js"} <= own.keys()
    for name, text in own.items():
        for word in ("http://", "https://", "//cdn", "@import", "url("):
            assert word not in text.replace("http://www.w3.org/2000/svg", ""), name
    status, facts = digits.get("/page.json")
    assert status == 200
    assert facts["model"] == "digits"
    assert [field["name"] for field in facts["schema"]["fields"]] == ["image_id", "image"]
    assert json.dumps(facts)
