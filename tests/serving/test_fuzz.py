"""The decoders take whatever comes: a body becomes finite tensors of the schema's shapes, or is refused with a 4xx."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.serving.bundles import Place

from trimtab.core import bundle, signing
from trimtab.core.errors import RequestError
from trimtab.core.ids import uuid7
from trimtab.serving import v1, v2
from trimtab.serving.calls import Call, Codec, Decoded, read_output
from trimtab.serving.http import error_body
from trimtab.serving.model import LoadedModel, load_model
from trimtab.serving.trace import read_parent

IMAGE = [[0.0] * 8] * 8
KINDS = {"digits": "digits", "demand": "numbers", "churn": "mixed"}
LENGTH = b"inference-header-content-length"
SETTINGS = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**45), 10**45) | st.booleans()
LEAVES = st.none() | NUMBERS | st.text(max_size=5) | st.sampled_from(["basic", "input", "image", "a", "FP32"])
PLACES = ("instances", "parameters", "probabilities", "inputs", "name", "shape", "datatype", "data", "outputs", "id")
FIELDS = ("image", "image_id", "a", "b", "c", "d", "age", "income", "plan", "seen", "binary_data_size", "binary_data")
KEYS = st.sampled_from([*PLACES, *FIELDS])
VALUES: st.SearchStrategy[Any] = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=12
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedModel]:
    root = tmp_path_factory.mktemp("fuzz")
    place = Place(root)
    trusted = {}
    loaded = {}
    for name, kind in KINDS.items():
        version = place.publish(name, kind)
        trusted = signing.trusted_keys(place.settings.trusted_keys)
        folder: Path = root / "fetched" / name
        loaded[name] = load_model(folder, bundle.fetch_bundle(place.store, name, version, folder, trusted))
    return loaded


def take(codec: Codec, model: LoadedModel, body: bytes, headers: dict[bytes, bytes] | None = None) -> Decoded | None:
    """What a codec makes of a body, run and encoded to the end; None where it is refused as it should be."""
    call = Call(uuid7(), headers or {})
    try:
        decoded = codec.decode(model, body, call)
        specs = {spec.name: spec for spec in model.schema.tensors()}
        assert decoded.tensors.keys() == specs.keys()
        for name, tensor in decoded.tensors.items():
            assert tensor.shape == (decoded.n, *specs[name].shape[1:])
            if specs[name].dtype == "FP32":
                assert tensor.dtype == np.float32
                assert not np.isinf(tensor).any()
        assert 1 <= decoded.n <= model.limits.max_rows
        said = read_output(model, model.run(decoded.tensors))
        assert len(said.outputs) == decoded.n
        codec.encode(model, call, decoded, said)
    except RequestError as error:
        refusal = error
    else:
        return decoded
    assert refusal.status in {400, 413, 422}
    facts = json.loads(error_body(refusal))
    assert {"error", "object", "expected", "got"} <= facts.keys(), facts
    return None


def codec_of(protocol: str) -> Codec:
    return v1.CODEC if protocol == "v1" else v2.CODEC


def goods(name: str) -> dict[str, bytes]:
    """A good body of each protocol."""
    row = {"digits": IMAGE, "demand": [1, 2, 3, 4], "churn": {"age": 40, "plan": "basic", "seen": "2026-11-21"}}[name]
    tensors = {
        "digits": [{"name": "image", "shape": [1, 8, 8], "datatype": "FP32", "data": IMAGE}],
        "demand": [{"name": "input", "shape": [1, 4], "datatype": "FP64", "data": [1, 2, 3, 4]}],
        "churn": [
            {"name": "age", "shape": [1, 1], "datatype": "INT32", "data": [40]},
            {"name": "plan", "shape": [1], "datatype": "BYTES", "data": ["basic"]},
        ],
    }[name]
    return {"v1": json.dumps({"instances": [row]}).encode(), "v2": json.dumps({"inputs": tensors}).encode()}


@pytest.mark.parametrize("name", KINDS)
def test_good_bodies_are_decoded(models: dict[str, LoadedModel], name: str) -> None:
    for protocol, body in goods(name).items():
        assert take(codec_of(protocol), models[name], body) is not None


@pytest.mark.parametrize("protocol", ["v1", "v2"])
@pytest.mark.parametrize("name", KINDS)
def test_any_json_is_decoded_or_refused(models: dict[str, LoadedModel], name: str, protocol: str) -> None:
    places = [
        "@",
        '{"instances": @}',
        '{"instances": [@]}',
        '{"instances": [@, @]}',
        '{"inputs": @}',
        '{"inputs": [@]}',
    ]
    good = goods(name)[protocol].decode()
    parts = ["1", "40", '"basic"', "0.0", "[1, 4]", '"FP32"', '"FP64"', '"BYTES"', "[1]", "[1, 8, 8]", '"input"']
    places += [good.replace(part, "@", 1) for part in parts if part in good]

    @SETTINGS
    @given(st.sampled_from(places), VALUES)
    @example(places[1], [[1, 2, 3, 1e39]])
    @example(places[1], [[True, 2, 3, 4]])
    def check(place: str, value: Any) -> None:
        take(codec_of(protocol), models[name], place.replace("@", json.dumps(value)).encode())

    check()


@pytest.mark.parametrize("protocol", ["v1", "v2"])
@pytest.mark.parametrize("name", KINDS)
def test_damaged_bodies_are_decoded_or_refused(models: dict[str, LoadedModel], name: str, protocol: str) -> None:
    good = goods(name)[protocol]

    @SETTINGS
    @given(st.lists(st.tuples(st.integers(0, len(good)), st.integers(0, 4), st.binary(max_size=4)), max_size=4))
    def check(damages: list[tuple[int, int, bytes]]) -> None:
        body = good
        for at, cut, put in damages:
            body = body[:at] + put + body[at + cut :]
        take(codec_of(protocol), models[name], body)

    check()


@pytest.mark.parametrize("name", KINDS)
def test_any_bytes_behind_the_json_are_decoded_or_refused(models: dict[str, LoadedModel], name: str) -> None:
    inputs = json.loads(goods(name)["v2"])["inputs"]
    kinds = st.sampled_from(["FP32", "FP64", "FP16", "INT8", "INT64", "UINT16", "BOOL", "BYTES"])
    sizes = st.none() | st.sampled_from([0, 1, 4, 8, 16, 32, 64, 256, 512]) | VALUES
    tails = st.binary(max_size=300) | st.lists(st.floats(width=32), max_size=64).map(
        lambda values: struct.pack(f"<{len(values)}f", *values)
    )
    texts = st.lists(st.binary(max_size=5), max_size=3).map(
        lambda chunks: b"".join(struct.pack("<I", len(chunk)) + chunk for chunk in chunks)
    )

    @SETTINGS
    @given(st.lists(kinds, min_size=len(inputs), max_size=len(inputs)), st.data(), tails | texts, st.integers(-3, 3))
    def check(chosen: list[str], data: st.DataObject, tail: bytes, off: int) -> None:
        sent = []
        for one, kind in zip(inputs, chosen, strict=True):
            size = data.draw(sizes | st.just(len(tail)))
            sent.append({"name": one["name"], "shape": one["shape"], "datatype": kind})
            sent[-1]["parameters"] = {"binary_data_size": size}
        head = json.dumps({"inputs": sent}).encode()
        length = len(head) + (off if data.draw(st.booleans()) else 0)
        take(v2.CODEC, models[name], head + tail, {LENGTH: str(length).encode()})

    check()


def test_the_quick_reader_and_the_careful_one_agree(models: dict[str, LoadedModel]) -> None:
    model = models["demand"]
    cells = st.floats(-3e38, 3e38) | st.integers(-(10**30), 10**30)
    last = cells | st.none()
    rows = st.lists(st.tuples(cells, cells, cells, last).map(list), min_size=1, max_size=4)

    @SETTINGS
    @given(rows, st.booleans())
    def check(instances: list[list[Any]], named: bool) -> None:
        sent: list[Any] = [dict(zip("abcd", row, strict=True)) for row in instances] if named else instances
        careful = model.schema.encode(model.schema.parse_instances(sent))["input"]
        try:
            decoded = v1.CODEC.decode(model, json.dumps({"instances": sent}).encode(), Call(uuid7(), {}))
        except RequestError as error:
            pytest.fail(f"refused: {error}")
        np.testing.assert_array_equal(decoded.tensors["input"], careful)

    check()


@SETTINGS
@given(
    st.binary(max_size=80) | st.from_regex(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-x)?", fullmatch=True)
)
def test_any_trace_context_is_read_or_passed_over(header: bytes) -> None:
    trace, parent, flags = read_parent(header)
    assert flags in {"00", "01"}
    assert (len(trace), len(parent)) in {(0, 0), (32, 16)}
