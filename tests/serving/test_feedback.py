"""Feedback: a token first, the first bad entry named by index, values as the target's classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.serving.bundles import DIGITS, MIXED, NUMBERS, Place, Running
from tests.serving.raw import Raw, post

from trimtab.core.errors import RequestError
from trimtab.core.ids import uuid7
from trimtab.core.schema import Field, Schema, Target
from trimtab.serving.feedback import key_hider, label_text

ID = f"{uuid7()}-0"
GOOD = {"id": ID, "value": "3"}


def send(server: Running, token: str, body: Any, **headers: str) -> tuple[int, dict[str, str], Any]:
    with Raw(server.url) as raw:
        return raw.ask(post("/feedback", body, Authorization=f"Bearer {token}", **headers))


def test_labels_by_id_and_by_key_are_taken(digits: Running, token: str) -> None:
    before = digits.metric("trimtab_labels_total", outcome="accepted")
    entries = [GOOD, {"key": "k1", "value": 3}, {"key": 7, "value": 3.0, "labelled_at": "2026-11-21T14:05:00+01:00"}]
    assert send(digits, token, {"labels": entries, "model": "digits"})[::2] == (202, {"accepted": 3})
    assert digits.metric("trimtab_labels_total", outcome="accepted") == before + 3
    assert send(digits, token, {"labels": [GOOD] * 1000})[0] == 202


@pytest.mark.parametrize(
    ("entries", "place", "message"),
    [
        ([], "labels", "expected a list of 1 to 1000 entries"),
        ([GOOD] * 1001, "labels", "expected a list of 1 to 1000 entries"),
        ("x", "labels", 'expected a list of 1 to 1000 entries {"id" or "key": …, "value": …}, got \'x\''),
        ([GOOD, {"value": "3"}], "labels[1]", "by `id` or by `key`"),
        ([GOOD, {**GOOD, "key": "k"}], "labels[1]", "one of the two"),
        ([GOOD, {"id": "7", "value": "3"}], "labels[1].id", "<UUIDv7>-<row>"),
        ([GOOD, {"id": 7, "value": "3"}], "labels[1].id", "expected <UUIDv7>-<row>, as X-Prediction-Id gave it, got 7"),
        ([GOOD, {"id": ID}], "labels[1].value", "`value` is missing: expected the true class or the true number"),
        ([GOOD, {"id": ID}], "labels[1].value", "got an object with id"),
        ([GOOD, {"id": ID, "value": None}], "labels[1].value", "got null"),
        ([GOOD, {"id": ID, "value": [3]}], "labels[1].value", "the true number, got an array of 1"),
        ([GOOD, {"id": ID, "value": "eleven"}], "labels[1].value", "expected one of 0, 1, 2"),
        ([GOOD, {"id": ID, "value": True}], "labels[1].value", "no class"),
        ([GOOD, {**GOOD, "labelled_at": "yesterday"}], "labels[1].labelled_at", "RFC 3339 with its offset"),
        ([GOOD, {**GOOD, "labelled_at": "2026-11-21T14:05:00"}], "labels[1].labelled_at", "offset"),
        ([GOOD, {**GOOD, "source": ""}], "labels[1].source", "expected text of 1 to 200 characters"),
        ([GOOD, {**GOOD, "valeu": 1}], "labels[1].valeu", "no field 'valeu' here: expected id, key, value"),
        ([GOOD, {**GOOD, "valeu": 1}], "labels[1].valeu", "Did you mean 'value'"),
        ([GOOD, {"key": "", "value": "3"}], "labels[1]", "1 to 200"),
        ([GOOD, {"key": "k" * 201, "value": "3"}], "labels[1]", "1 to 200"),
        ([GOOD, {"key": "\ud800", "value": "3"}], "labels[1]", "half of a character"),
        ([GOOD, {"key": "k", "value": "a\udfff"}], "labels[1]", "half of a character"),
        ([GOOD, 3], "labels[1]", "an entry is not what is expected: expected an object"),
    ],
)
def test_the_first_bad_entry_refuses_the_call(
    digits: Running, token: str, entries: Any, place: str, message: str
) -> None:
    before = digits.metric("trimtab_labels_total", outcome="accepted")
    status, _, body = send(digits, token, {"labels": entries})
    assert status == 400
    assert body["object"] == place
    assert not any(word in body["error"] for word in ("Input should", "Field required", "got dict", "Extra inputs"))
    assert message in body["error"]
    assert digits.metric("trimtab_labels_total", outcome="accepted") == before


def test_other_bodies_and_models_are_refused(digits: Running, token: str) -> None:
    assert send(digits, token, b"{")[0] == 400
    assert send(digits, token, [GOOD])[0] == 400
    assert send(digits, token, {"labels": [GOOD], "model": "other"})[0] == 404
    assert send(digits, token, b" " * (1 << 20) + b"{}")[0] == 413
    with Raw(digits.url) as raw:
        assert raw.ask(post("/feedback", {}, "text/plain", Authorization=f"Bearer {token}"))[0] == 415


@pytest.mark.parametrize(
    ("body", "place", "message"),
    [
        ({}, "labels", "`labels` is missing: expected a list of 1 to 1000 entries"),
        ({"label": [GOOD]}, "labels", "got an object with label"),
        ({"labels": [GOOD], "modle": "digits"}, "modle", "expected model or labels, got 'modle'. Did you mean 'model'"),
        ({"labels": [GOOD], "model": 3}, "model", "expected the model's name, got 3"),
        ([GOOD], "body", 'expected {"model": …, "labels": [{"id" or "key": …, "value": …}]}, got an array of 1'),
        (b"", "body", "the body is missing"),
        (b"{", "body", "no JSON"),
    ],
)
def test_other_bodies_are_refused_in_a_sentence(
    digits: Running, token: str, body: Any, place: str, message: str
) -> None:
    status, _, answer = send(digits, token, body)
    assert (status, answer["object"]) == (400, place)
    assert message in answer["error"]


def test_a_token_can_be_taken_away_without_a_restart(shared: Place, digits: Running, token: str) -> None:
    kept = shared.settings.tokens.read_text()
    try:
        shared.settings.tokens.write_text('{"tokens": []}')
        assert send(digits, token, {"labels": [GOOD]})[0] == 401
    finally:
        shared.settings.tokens.write_text(kept)
    assert send(digits, token, {"labels": [GOOD]})[0] == 202


@pytest.mark.parametrize(
    ("value", "schema", "text"),
    [
        (3, DIGITS, "3"),
        (3.0, DIGITS, "3"),
        ("3", DIGITS, "3"),
        ("yes", MIXED, "yes"),
        (1, NUMBERS, "1.0"),
        ("2.50", NUMBERS, "2.5"),
        ("anything", None, "anything"),
    ],
)
def test_values_become_the_targets_classes(value: Any, schema: Schema | None, text: str) -> None:
    assert label_text(value, schema, "x") == text


def test_a_private_key_that_is_not_kept_cannot_be_labelled_by() -> None:
    fields = (Field(name="who", kind="id", private="drop"), *NUMBERS.fields)
    hide = key_hider(replace(NUMBERS, fields=fields), b"key")
    with pytest.raises(RequestError, match="does not keep the private key 'who'"):
        hide("ann", "labels[0].key")


def test_truth_and_whole_numbers_find_the_class_a_table_has_taught() -> None:
    truth = replace(DIGITS, target=Target(name="t", kind="category", classes=("False", "True")))
    assert label_text(True, truth, "x") == "True"
    floats = replace(DIGITS, target=Target(name="t", kind="category", classes=("1.0", "2.0")))
    assert label_text(2, floats, "x") == "2.0"


@pytest.mark.parametrize(
    ("value", "schema"),
    [("x", NUMBERS), (True, NUMBERS), ("nan", NUMBERS), ("inf", NUMBERS), (11, DIGITS), ("", DIGITS), (False, DIGITS)],
)
def test_other_values_are_refused(value: Any, schema: Schema) -> None:
    with pytest.raises(RequestError, match="x:"):
        label_text(value, schema, "x")
