"""Numbers in the prediction log: as they were received, in the type that the schema keeps them in."""

from __future__ import annotations

import itertools
import json
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from tests.serving.bundles import Place, running

from trimtab.core import predictions
from trimtab.core.ids import uuid7

VALUES = [[0.1, -2.5, 1 / 3, 1e-3], [16_777_217, 3.3, 0.0, 7.25], [5e7 + 0.5, 1, 2, 3.7]]


def post(url: str, form: str, rows: list[list[float]], headers: dict[str, str]) -> httpx.Response:
    """Rows in one of the forms in which a client may send them."""
    if form == "arrays":
        return httpx.post(f"{url}/v1/models/demand:predict", json={"instances": rows}, headers=headers)
    if form == "objects":
        named = [dict(zip("abcd", row, strict=True)) for row in rows]
        return httpx.post(f"{url}/v1/models/demand:predict", json={"instances": named}, headers=headers)
    tensor: dict[str, Any] = {"name": "input", "shape": [len(rows), 4], "datatype": "FP32"}
    place = f"{url}/v2/models/demand/infer"
    if form == "tensor":
        data = list(itertools.chain.from_iterable(rows))
        return httpx.post(place, json={"inputs": [{**tensor, "data": data}]}, headers=headers)
    body = np.array(rows, np.float32).tobytes()
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": len(body)}}]}).encode()
    length = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    return httpx.post(place, content=head + body, headers={**headers, **length})


@pytest.mark.parametrize(("kind", "dtype"), [("numbers", np.float64), ("narrow", np.float32)])
def test_each_way_of_asking_leaves_what_was_received(place: Place, kind: str, dtype: Any) -> None:
    version = place.serve("demand", kind)
    sent: dict[str, tuple[str, list[float]]] = {}
    with running(place, "demand") as server:
        forms = ["arrays", "objects", "tensor", "binary"]
        for form, n, traced in itertools.product(forms, [1, 3], [False, True]):
            name = uuid7()
            headers = {"X-Prediction-Id": f"{name}-0"} | ({"X-Request-Id": "order-1"} if traced else {})
            answer = post(server.url, form, VALUES[:n], headers)
            assert answer.status_code == 200, answer.text
            sent |= {f"{name}-{i}": (form, row) for i, row in enumerate(VALUES[:n])}
    table = predictions.read_files(place.store, predictions.list_files(place.store, "demand", version))
    assert {str(table.schema.field(name).type) for name in "abcd"} == {str(pa.from_numpy_dtype(dtype))}
    found = {row["_id"]: [row[name] for name in "abcd"] for row in table.to_pylist()}
    assert found.keys() == sent.keys()
    for name, (form, row) in sent.items():
        received = np.array(row, np.float32 if form == "binary" else np.float64)
        assert found[name] == received.astype(dtype).tolist(), form


def test_missing_numbers_stay_missing_in_either_type(place: Place) -> None:
    version = place.serve("demand", "narrow")
    rows = [[1.5, 2, 3, None], {"a": 0.1, "b": 2, "c": 3}]
    with running(place, "demand") as server:
        for row in rows:
            answer = httpx.post(f"{server.url}/v1/models/demand:predict", json={"instances": [row]})
            assert answer.status_code == 200, answer.text
        wrong = httpx.post(f"{server.url}/v1/models/demand:predict", json={"instances": [[1, 2, 3, 1e39]]})
        assert wrong.status_code == 400
    table = predictions.read_files(place.store, predictions.list_files(place.store, "demand", version))
    assert table["d"].to_pylist() == [None, None]
    assert table["a"].to_pylist() == [1.5, float(np.float32(0.1))]
