"""The OpenAPI document says what the server does: real fields, working examples, nothing private."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.serving.bundles import DIGITS, MIXED, NUMBERS, Place, Running, running
from tests.serving.raw import Raw, post

from trimtab.core.schema import Field, Schema, Target
from trimtab.serving.forms import example_row, field_form, instance_form, label_form
from trimtab.serving.manual import render
from trimtab.serving.openapi import document
from trimtab.serving.traffic import Traffic

CONFIG = Path(__file__).with_name("schemathesis.toml")


def fields(doc: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = doc["components"]["schemas"]["Row"]["anyOf"][0]
    return found


@pytest.mark.parametrize("model", ["digits", "demand", "churn"])
def test_the_documents_examples_are_answered(model: str, request: pytest.FixtureRequest) -> None:
    server: Running = request.getfixturevalue(model)
    status, doc = server.get("/openapi.json")
    assert (status, doc["openapi"], doc["info"]["title"]) == (200, "3.1.0", model)
    asked = 0
    with Raw(server.url) as raw:
        for path, methods in doc["paths"].items():
            content = methods.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json", {})
            if "example" in content:
                path = path.replace("{version}", doc["info"]["version"])
                status, headers, answer = raw.ask(post(path, content["example"]))
                assert status == 200, (path, answer)
                assert {"x-prediction-id", "x-model-version"} <= headers.keys()
                asked += 1
            elif "get" in methods:
                assert server.get(path)[0] == 200
    assert asked == 3


def test_fields_have_their_names_units_ranges_and_categories(churn: Running) -> None:
    doc = churn.get("/openapi.json")[1]
    row = fields(doc)
    assert list(row["properties"]) == [field.name for field in MIXED.fields]
    assert row["required"] == ["age"]
    assert row["additionalProperties"] is False
    assert row["properties"]["age"]["description"] == "in years; usually from 0 to 120"
    assert row["properties"]["plan"]["description"] == "known: basic, plus"
    assert doc["components"]["schemas"]["PredictRequest"]["properties"]["instances"]["maxItems"] == 1000
    answers = doc["components"]["schemas"]["PredictResponse"]["properties"]["predictions"]["items"]
    assert answers["enum"] == ["no", "yes"]


def test_nothing_of_a_private_field_is_shown() -> None:
    field = Field(name="ward", kind="category", categories=("secret-ward",), private="hash", example="secret-ward")
    number = Field(name="weight", kind="number", private="drop", example=81.25, range=(40, 120))
    schema = Schema(fields=(field, number), target=Target(name="y", kind="number"))
    shown = str(instance_form(schema)) + str(example_row(schema))
    assert "secret" not in shown
    assert "81.25" not in shown
    assert "private: kept as a keyed hash alone" in shown


def test_a_field_with_one_end_of_a_range_has_an_example_within_it() -> None:
    low = Field(name="x", kind="number", range=(5, None), unit="mm")
    assert field_form(low, words=False)["examples"] == [5]
    assert field_form(low, words=False)["description"] == "in mm; usually from 5"
    assert example_row(NUMBERS) == dict.fromkeys("abcd", 0.0)


def test_labels_are_the_classes_in_every_way_they_are_taken() -> None:
    form = label_form(DIGITS)["anyOf"][0]["properties"]["value"]["enum"]
    assert form[:10] == list("0123456789")
    assert form[10:] == list(range(10))
    truth = replace(DIGITS, target=Target(name="t", kind="category", classes=("False", "True")))
    assert label_form(truth)["anyOf"][0]["properties"]["value"]["enum"] == ["False", "True", False, True]
    dropped = replace(NUMBERS, fields=(Field(name="who", kind="id", private="drop"), *NUMBERS.fields))
    assert label_form(dropped)["title"] == "by prediction id"


def test_a_server_without_a_version_still_documents_itself() -> None:
    doc = document("m", Traffic(), key_required=False)
    assert "/feedback" in doc["paths"]
    assert "/v1/models/m:predict" not in doc["paths"]
    assert "No version serves yet" in render(doc)


def test_a_key_is_asked_for_in_the_document_where_the_server_asks(shared: Place) -> None:
    with running(shared, "demand", "--require-key") as server:
        doc = server.get("/openapi.json")[1]
        predict = doc["paths"]["/v1/models/demand:predict"]["post"]
        assert predict["security"] == [{"key": []}]
        assert {"401", "403"} <= predict["responses"].keys()
        assert "Authorization: Bearer $KEY" in server.get("/docs")[1]


def test_where_a_key_is_needed_the_document_does_not_tell_what_the_data_holds() -> None:
    words = Field(name="ward", kind="category", categories=("north-wing", "south-wing"), example="north-wing")
    schema = Schema(fields=(words,), target=Target(name="y", kind="number"))
    assert "north-wing" in str(instance_form(schema)) + str(example_row(schema))
    quiet = str(instance_form(schema, tell=False)) + str(example_row(schema, tell=False))
    assert "wing" not in quiet
    assert "number" not in str(instance_form(schema, tell=False)["anyOf"][0]["properties"]["ward"])


def test_the_page_loads_nothing_and_names_every_field(churn: Running) -> None:
    status, page = churn.get("/docs")
    assert status == 200
    assert "<script" not in page
    assert not re.search(r'(src|href)="(https?:)?//', page)
    assert "@import" not in page
    assert "url(" not in page
    for field in MIXED.fields:
        assert f"<code>{field.name}</code>" in page
    with Raw(churn.url) as raw:
        raw.send(b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n")
        headers = raw.answer()[1]
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["content-type"].startswith("text/html")


@pytest.mark.campaign
@pytest.mark.parametrize("model", ["digits", "demand", "churn"])
def test_schemathesis_finds_nothing(shared: Place, tmp_path: Path, model: str) -> None:
    with running(shared, model, "--require-key") as server:
        token = shared.settings.token_file.read_text().strip()
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
            *("run", f"{server.url}/openapi.json", "-H", f"Authorization: Bearer {token}"),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", "25", "--seed", "7"),
            *("--continue-on-failure", "--generation-database", "none", "--no-color"),
        ]
        environ = {**os.environ, "PYTHONWARNINGS": "ignore"}
        found = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=1200)
        assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-2000:]
        assert "Traceback" not in server.log.read_text()
