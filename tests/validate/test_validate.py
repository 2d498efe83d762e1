"""Validate on datasets that came another way, the judge's rows, and what the report shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from tests.ingest.tables import HEADER, PEOPLE, Place, people, write_csv

from trimtab.core.datasets import read_manifest, read_table, write_dataset
from trimtab.core.errors import DataError
from trimtab.core.schema import Field, Schema, Target
from trimtab.validate.stage import ValidateConfig, validate


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def table(rows: list[list[object]]) -> pa.Table:
    return pa.table(
        {
            "age": pa.array([r[0] for r in rows], pa.float64()),
            "income": pa.array([r[1] for r in rows], pa.float64()),
            "city": pa.array([r[2] for r in rows], pa.string()),
            "person": pa.array([r[3] for r in rows], pa.string()),
            "churn": pa.array([r[4] for r in rows], pa.string()),
        }
    )


def put(place: Place, rows: list[list[object]], judge: list[list[object]] | None = None) -> None:
    write_dataset(place.folder / "data", [table(rows)], PEOPLE)
    write_dataset(place.folder / "judge", [table(judge or []).cast(table(rows).schema)], PEOPLE, {"against": "v1"})


def test_judge_rows_of_classes_that_are_not_learned_are_left_out(place: Place) -> None:
    judge = people(20, seed=5)
    judge[0][4] = "maybe"
    judge[1][2] = "Tokyo"
    put(place, people(), judge)
    checked = place.validate()
    manifest = read_manifest(place.folder / "checked_judge")
    assert manifest.rows == 19
    assert manifest.note == {"against": "v1"}
    assert manifest.schema == checked.schema == read_manifest(place.folder / "checked").schema
    assert "Tokyo" in read_table(place.folder / "checked_judge")["city"].to_pylist()
    assert any("1 of 20 judge rows" in w for w in checked.warnings)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        (1, None, r"'income' is empty on rows 3, 4, 2 of 60 rows.*nullable: true"),
        (1, float("inf"), r"'income' holds infinite values on rows 3, 4"),
    ],
)
def test_a_dataset_from_elsewhere_is_held_to_the_same(
    column: int, value: float | None, words: str, place: Place
) -> None:
    rows = people()
    rows[3][column] = rows[4][column] = value
    put(place, rows)
    with pytest.raises(DataError, match=words):
        place.validate()


def test_a_dataset_of_other_columns(place: Place) -> None:
    write_dataset(place.folder / "data", [table(people()).drop_columns(["city", "churn"])], PEOPLE)
    write_dataset(place.folder / "judge", [table([])], PEOPLE)
    with pytest.raises(DataError, match=r"lacks columns: expected city, churn"):
        place.validate()


def test_the_task_and_the_target_agree(place: Place) -> None:
    put(place, people())
    config = ValidateConfig.model_validate({"schema": PEOPLE, "task": "regression"})
    folders = [place.folder / n for n in ("data", "judge", "a", "b", "report.html")]
    with pytest.raises(DataError, match="does not fit the task"):
        validate(config, *folders)


def test_values_outside_the_range_are_pointed_out_and_kept(place: Place) -> None:
    age = Field(name="age", kind="number", nullable=True, range=(0, 40))
    schema = replace(PEOPLE, fields=(age, *PEOPLE.fields[1:]))
    put(place, people())
    checked = place.validate(schema)
    assert checked.rows == 60
    assert any("outside its range 0.0 to 40.0" in w for w in checked.warnings), checked.warnings


def test_the_report_escapes_what_it_shows_and_hides_what_is_private(place: Place) -> None:
    city = Field(name="city", kind="category", nullable=True, private="hash")
    schema = replace(PEOPLE, fields=(*PEOPLE.fields[:2], city, PEOPLE.fields[3]))
    rows = people()
    for row in rows:
        row[4] = "<script>" if row[4] == "yes" else "no"
    put(place, rows)
    place.validate(schema)
    page = (place.folder / "report.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "1 private fields are not shown" in page
    assert ">city<" not in page


def test_a_regression(place: Place) -> None:
    schema = Schema(
        fields=(PEOPLE.fields[0], PEOPLE.fields[2]), target=Target(name="income", kind="number", unit="EUR")
    )
    rows = people()
    rows[0][1] = None
    write_dataset(place.folder / "data", [table(rows)], schema)
    write_dataset(place.folder / "judge", [table([])], schema)
    checked = place.validate(schema)
    assert checked.rows == 59
    assert checked.schema.target.classes == ()
    assert "EUR" in (place.folder / "report.html").read_text()
    again = place.validate(schema)
    assert again == checked


def test_no_warning_shows_a_private_value(place: Place) -> None:
    fields = (
        Field(name="age", kind="number", nullable=True, private="drop", range=(0, 20)),
        Field(name="income", kind="number", private="drop"),
        Field(name="city", kind="category", private="hash", categories=("Berlin", "Oslo")),
        Field(name="person", kind="id", private="hash"),
    )
    rows = people()
    for row in rows:
        row[1] = 1234.5
    rows[7][3] = rows[8][3]
    put(place, rows)
    checked = place.validate(replace(PEOPLE, fields=fields))
    told = " ".join(checked.warnings) + " ".join(checked.dropped.values()) + (place.folder / "report.html").read_text()
    assert "undeclared categories" in told
    assert "outside its range" in told
    for secret in ("1234", "Rome", "p0008"):
        assert secret not in told


def test_what_was_warned_about_goes_along_with_the_rows(place: Place) -> None:
    rows = [[*r, "x"] for r in people()] + [[30, 2000.0, "Rome", "p9999", "", "x"]]
    table = write_csv(place.folder / "people.csv", rows, (*HEADER, "surplus"))
    read, checked = place.both(str(table))
    said = read_manifest(place.folder / "checked").note["warnings"]
    assert said == [*read.warnings, *checked.warnings]
    assert said[0] == "people.csv: columns that no field names were left out: surplus", "no folder of this machine"
    assert "1 of 61 rows have no 'churn' and were left out" in said
    assert read_manifest(place.folder / "data").note["warnings"] == list(read.warnings)
