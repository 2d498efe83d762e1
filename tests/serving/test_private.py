"""Private values reach neither spool nor log, store, metrics, page, document nor the server's own lines."""

from __future__ import annotations

import io
import json
import struct
import urllib.request
from dataclasses import replace
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.serving import bundles
from tests.serving.bundles import MIXED, NUMBERS, Place, Running, running
from tests.serving.malformed.v2_binary import request as binary
from tests.serving.raw import Raw, post

from trimtab.core.privacy import hash_key, keyed_hash
from trimtab.core.schema import Field

NAME, EMAIL, WHO = "Xanthippe-Sentinel", "sentinel@xanthippe.example", "patient-sentinel-4711"


PAGES = ("/", "/page.json", "/page/examples.json", "/openapi.json", "/docs", "/v2/models/churn")


def shown(server: Running) -> bytes:
    """All that a server says: its log lines, its metrics, its pages and documents."""
    pages = [str(server.get(path, "text/html")).encode() for path in PAGES]
    with urllib.request.urlopen(server.metrics_url, timeout=60) as answer:
        return b"\n".join([server.log.read_bytes(), answer.read(), *pages])


def on_disk(place: Place) -> bytes:
    """Spool and store, Parquet unpacked."""
    parts = []
    for folder in (place.settings.spool, place.root / "store" / "predictions", place.root / "store" / "labels"):
        for path in sorted(folder.rglob("*")) if folder.exists() else []:
            if path.suffix == ".parquet":
                parts.append(json.dumps(pq.read_table(path).to_pylist(), default=str).encode())
            elif path.is_file() and "bundles" not in path.parts:
                parts.append(path.read_bytes())
    return b"\n".join(parts)


def rows_of(place: Place, model: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for key in place.store.list(f"predictions/{model}/"):
        found += pq.read_table(io.BytesIO(place.store.get(key))).to_pylist()
    return found


def test_kept_private_fields_are_dropped_or_hashed_in_every_protocol(place: Place) -> None:
    version = place.publish("churn", "mixed", threshold=0.3)
    place.say("churn", "promoted", version)
    row = {"age": 40, "plan": "basic", "name": NAME, "email": EMAIL, "customer": "c1"}
    texts = [("plan", "basic"), ("name", NAME), ("email", EMAIL), ("customer", "c1")]
    age: dict[str, Any] = {"name": "age", "shape": [1], "datatype": "FP32", "data": [40]}
    as_json = [{"name": n, "shape": [1], "datatype": "BYTES", "data": [text]} for n, text in texts]
    as_bytes = [
        {"name": n, "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(text) + 4}}
        for n, text in texts
    ]
    tail = b"".join(struct.pack("<I", len(text)) + text.encode() for _, text in texts)
    infer = "/v2/models/churn/infer"
    asked = [
        post("/v1/models/churn:predict", {"instances": [row, row]}),
        post(infer, {"inputs": [age, *as_json]}),
        binary(infer, {"inputs": [age, *as_bytes]}, tail),
    ]
    wrong = post("/v1/models/churn:predict", {"instances": [{**row, "age": None}]})
    # The spool is looked at while the rows are on their way through it.
    with running(place, "churn", "--flush-seconds", "3600") as server, Raw(server.url) as raw:
        assert [raw.ask(one)[0] for one in (*asked, wrong)] == [200, 200, 200, 400]
        server.until(lambda: server.metric("trimtab_log_rows_total", outcome="spooled") == 4)
        hashed = keyed_hash(hash_key(place.settings.home), EMAIL)
        spooled = on_disk(place) + shown(server)
        assert hashed.encode() in spooled
        assert NAME.encode() not in spooled
        assert EMAIL.encode() not in spooled
    shipped = on_disk(place)
    assert hashed.encode() in shipped
    assert NAME.encode() not in shipped
    assert EMAIL.encode() not in shipped
    rows = rows_of(place, "churn")
    assert len(rows) == 4
    assert {row["email"] for row in rows} == {hashed}
    assert all("name" not in row for row in rows)
    assert {row["customer"] for row in rows} == {"c1"}


def test_private_features_are_used_and_not_kept(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = [*NUMBERS.fields[:2], Field(name="c", kind="number", private="drop")]
    fields += [
        Field(name="d", kind="number", private="hash", nullable=True),
        Field(name="who", kind="id", private="hash"),
    ]
    schema = replace(NUMBERS, fields=tuple(fields))
    monkeypatch.setitem(bundles.SCHEMAS, "hidden", schema)
    place.serve("demand", "hidden")
    secret, other = 8231.4711, 9917.0815
    tensor = {"name": "input", "shape": [1, 4], "datatype": "FP64", "data": [1, 2, secret, other]}
    four = struct.pack("<4d", 1, 2, secret, other)
    sized = {**{k: v for k, v in tensor.items() if k != "data"}, "parameters": {"binary_data_size": 32}}
    infer = "/v2/models/demand/infer"
    asked = [
        post("/v1/models/demand:predict", {"instances": [[1, 2, secret, other]] * 3}),
        post("/v1/models/demand:predict", {"instances": [{"a": 1, "b": 2, "c": secret, "d": other, "who": WHO}]}),
        post(infer, {"inputs": [tensor]}),
        binary(infer, {"inputs": [sized]}, four),
    ]
    token_file = place.settings.token_file
    with running(place, "demand", "--flush-seconds", "3600") as server, Raw(server.url) as raw:
        answers = [raw.ask(one) for one in asked]
        assert [status for status, _, _ in answers] == [200] * 4
        bearer = f"Bearer {token_file.read_text().strip()}"
        labels = {"labels": [{"key": WHO, "value": 3.5}]}
        assert raw.ask(post("/feedback", labels, Authorization=bearer))[0] == 202
        server.until(lambda: server.metric("trimtab_log_rows_total", outcome="spooled") == 6)
        spooled = on_disk(place)
    shipped = on_disk(place)
    for kept in (spooled, shipped):
        for value in (secret, other):
            forms = [repr(value).encode(), struct.pack("<d", value), struct.pack("<f", value)]
            assert [form for form in forms if form in kept] == []
        assert WHO.encode() not in kept
    rows = rows_of(place, "demand")
    key = hash_key(place.settings.home)
    assert all("c" not in row for row in rows)
    assert {row["d"] for row in rows} == {keyed_hash(key, other)}
    assert {row["who"] for row in rows} == {None, keyed_hash(key, WHO)}
    assert {row["a"] for row in rows} == {1.0}
    assert keyed_hash(key, WHO).encode() in shipped


def test_the_page_and_the_document_show_no_private_examples(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = [
        replace(field, example=NAME if field.name == "name" else EMAIL) if field.private else field
        for field in MIXED.fields
    ]
    monkeypatch.setitem(bundles.SCHEMAS, "mixed", replace(MIXED, fields=tuple(fields)))
    place.serve("churn", "mixed")
    with running(place, "churn") as server:
        said = shown(server)
    assert b"churn" in said
    assert NAME.encode() not in said
    assert EMAIL.encode() not in said
