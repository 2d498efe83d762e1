"""What a version tells about itself: read from its bundle, left out where it cannot be read, never a private value."""

from __future__ import annotations

import json
import logging
import zlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.serving.bundles import MIXED, NUMBERS, Place, Running, running, write_bundle

from trimtab.core.envelope import Manifest
from trimtab.serving import card
from trimtab.serving.card import read_card

MANIFEST = Manifest(
    model="churn",
    version="v3-0a1b2c3d",
    files={},
    metrics={"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95}},
    threshold=0.4,
    lineage={"candidate": "mlp", "dataset": {"name": "people", "digest": "77"}, "parent": None},
    project={"task": {"statement": "Who leaves?", "rows_per_day": 50}},
    created_at=datetime(2026, 11, 21, tzinfo=UTC),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bundle(tmp_path, "mixed", card=True)
    return tmp_path


def test_it_joins_manifest_card_report_and_rows(folder: Path) -> None:
    found = read_card(folder, MANIFEST, MIXED)
    assert found.facts["dataset"] == "people 77"
    assert (found.facts["rows_per_day"], found.facts["threshold"], found.facts["parent"]) == (50, 0.4, "")
    assert found.facts["curve"]["kind"] == "threshold"
    assert b"How good is it?" in zlib.decompress(found.report)
    rows = json.loads(zlib.decompress(found.examples))
    assert rows[0].keys() == {"age", "income", "plan"}
    assert rows[0]["income"] is None, "a missing number was recorded"
    assert rows[2]["plan"] is None, "a missing category too"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"schema": "trimtab/card/1"}', "headline"),
        ('{"schema": "trimtab/card/2"}', "update the server"),
    ],
)
def test_a_card_that_cannot_be_read_keeps_nothing_from_serving(
    folder: Path, caplog: pytest.LogCaptureFixture, text: str, said: str
) -> None:
    (folder / "card.json").write_text(text)
    with caplog.at_level(logging.WARNING):
        found = read_card(folder, MANIFEST, MIXED)
    assert said in caplog.text
    assert "curve" not in found.facts
    assert found.report


def test_what_is_missing_or_too_large_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card, "REPORT_BYTES", 10)
    monkeypatch.setattr(card, "EXAMPLE_BYTES", 10)
    (folder / "card.json").unlink()
    found = read_card(folder, MANIFEST, MIXED)
    assert (found.report, found.examples) == (b"", b"")
    assert "curve" not in found.facts
    (folder / "expected.json").write_text('{"inputs": {}}')
    monkeypatch.setattr(card, "EXAMPLE_BYTES", 1000)
    assert read_card(folder, MANIFEST, MIXED).examples == b""


def test_rows_of_one_input_get_their_names_back(tmp_path: Path) -> None:
    write_bundle(tmp_path, "numbers")
    rows = json.loads(zlib.decompress(read_card(tmp_path, MANIFEST, NUMBERS).examples))
    recorded = json.loads((tmp_path / "expected.json").read_text())["inputs"]["input"]
    assert [list(row.values()) for row in rows] == recorded[: card.EXAMPLES]
    assert list(rows[0]) == ["a", "b", "c", "d"]


def test_private_features_are_in_no_example(folder: Path) -> None:
    hidden = tuple(replace(f, private="hash") if f.name == "age" else f for f in MIXED.fields)
    found = read_card(folder, MANIFEST, replace(MIXED, fields=hidden))
    assert all(row.keys() == {"income", "plan"} for row in json.loads(zlib.decompress(found.examples)))


def test_the_page_tells_nothing_of_what_private_fields_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A category learned from private values is data, and so is an example."""
    from tests.serving import bundles

    secret: dict[str, Any] = {"private": "hash", "categories": ("basic", "plus"), "example": "plus"}
    fields = tuple(replace(f, **secret) if f.name == "plan" else f for f in bundles.MIXED.fields)
    monkeypatch.setitem(bundles.SCHEMAS, "mixed", replace(MIXED, fields=fields))
    place = Place(tmp_path)
    place.say("churn", "promoted", place.publish("churn", "mixed", card=True))
    with running(place, "churn") as server:
        status, facts = server.get("/page.json")
        assert status == 200
        plan = next(field for field in facts["schema"]["fields"] if field["name"] == "plan")
        assert (plan["categories"], plan["example"], plan["private"]) == ([], None, "hash")
        assert '"plus"' not in json.dumps(facts)
        assert all("plan" not in row for row in server.get("/page/examples.json")[1])


def test_without_a_champion_the_page_says_why(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.publish("churn", "mixed")
    with running(place, "churn", wait=False) as server:
        server.until(lambda: "promoted" in str(refused(server)))
        assert refused(server)[0] == 503
        assert server.get("/", "text/html")[0] == 200


def refused(server: Running) -> tuple[int, Any]:
    return server.get("/page.json")
