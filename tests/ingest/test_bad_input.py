"""What cannot be answered ends in a sentence that names file, column and lines, and leaves the store as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.ingest.tables import HEADER, PEOPLE, Place, people, write_csv

from trimtab.core.errors import DataError
from trimtab.core.schema import Field, Schema, Target


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def changed(column: int, rows: dict[int, Any], count: int = 60) -> list[list[Any]]:
    table = people(count)
    for row, value in rows.items():
        table[row][column] = value
    return table


def everywhere(column: int, value: Any) -> list[list[Any]]:
    return changed(column, dict.fromkeys(range(60), value))


def as_rows(rows: list[list[Any]], **options: Any) -> Callable[[Path], Any]:
    return lambda path: write_csv(path, rows, **options)


REFUSED: dict[str, tuple[Callable[[Path], Any], tuple[str, ...]]] = {
    "empty file": (lambda p: p.write_bytes(b""), ("people.csv", "empty")),
    "blank lines alone": (lambda p: p.write_bytes(b"\n \n"), ("people.csv", "empty")),
    "header alone": (as_rows([]), ("people.csv", "no rows")),
    "one class": (as_rows(everywhere(4, "no")), ("people.csv", "'churn'", "one class", "'no' in all 60 rows")),
    "no target anywhere": (as_rows(everywhere(4, "")), ("people.csv", "'churn'", "empty in all 60 rows")),
    "target column missing": (
        as_rows(people(), header=(*HEADER[:4], "churned")),
        ("people.csv", "'churn'", "did you mean 'churned'"),
    ),
    "infinite values": (
        as_rows(changed(1, {3: "inf", 17: "-Infinity"})),
        ("people.csv", "'income'", "infinite", "lines 5, 19", "finite"),
    ),
    "a number too large for the model": (as_rows(changed(1, {3: "1e300"})), ("'income'", "infinite", "line 5")),
    "a column that arrives as text": (
        as_rows(changed(1, {4: "about 3000", 9: "3,5"})),
        ("people.csv", "'income'", "text", "lines 6, 11", "'about 3000'", "numbers", "kind: category"),
    ),
    "decimal commas": (as_rows(everywhere(1, "3,5")), ("'income'", "a point, not a comma", "52 more")),
    "missing where none may be": (
        as_rows(changed(1, {7: "", 8: "NA"})),
        ("people.csv", "'income'", "lines 9, 10", "2 of 60", "nullable: true", "fields.income"),
    ),
    "ten rows": (as_rows(people(10)), ("people.csv", "too few rows", "at least 30", "10 of 10")),
    "too few rows with a target": (
        as_rows(changed(4, dict.fromkeys(range(40), ""))),
        ("too few rows", "20 of 60 rows"),
    ),
    "wrong delimiter": (
        as_rows(people(), delimiter=";"),
        ("people.csv", "missing", "delimiter looks like ';'", "delimiter: ';'"),
    ),
    "not UTF-8": (
        lambda p: p.write_bytes(write_csv(p, changed(2, {5: "Köln"})).read_text(encoding="utf-8").encode("latin-1")),
        ("people.csv", "line 7", "not UTF-8", "f6", "encoding: latin-1"),
    ),
    "UTF-16": (
        lambda p: p.write_bytes(write_csv(p, people()).read_text(encoding="utf-8").encode("utf-16")),
        ("not UTF-8", "encoding: utf-16"),
    ),
    "ragged rows": (
        as_rows([*people()[:4], ["1", "2"], *people()[4:]]),
        ("people.csv", "line 6", "expected 5, got 2"),
    ),
    "an unclosed quote": (
        lambda p: p.write_text(write_csv(p, people()).read_text().replace("Oslo", '"Oslo', 1)),
        ("people.csv",),
    ),
    "a spreadsheet": (lambda p: p.write_bytes(b"PK\x03\x04" + b"\0" * 50), ("Excel", "Save it as CSV")),
    "a name twice in the header": (as_rows(people(), header=("age", "age", "city", "person", "churn")), ("'age'",)),
    "everything constant": (
        as_rows([[30, 3000.0, "Oslo", *r[3:]] for r in people()]),
        ("people.csv", "every feature is constant"),
    ),
    "classes too rare": (
        as_rows([[*r[:4], f"c{i}" if i else "no"] for i, r in enumerate(people())]),
        ("fewer than two classes", "at least 3 rows"),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_a_sentence_and_the_store_is_left_as_it_was(case: str, place: Place) -> None:
    make, words = REFUSED[case]
    path = place.folder / "people.csv"
    make(path)
    with pytest.raises(DataError) as caught:
        place.ingest(str(path))
    sentence = caught.value.sentence()
    assert "people.csv" in sentence
    for word in words:
        assert word in sentence, f"{word!r} is not in: {sentence}"
    assert caught.value.exit_code == 2
    assert place.keys() == []


def test_a_missing_file_names_what_is_near(place: Place) -> None:
    write_csv(place.folder / "people.csv", people())
    with pytest.raises(DataError, match=r"no such file.*Did you mean 'people.csv'"):
        place.ingest(str(place.folder / "peple.csv"))


def test_lines_are_right_behind_blank_lines_and_values_of_several_lines(place: Place) -> None:
    path = place.folder / "people.csv"
    rows = changed(1, {5: "x"})
    text = write_csv(path, rows).read_text().splitlines()
    text[2] = ""  # a blank line in place of the second row
    path.write_text("\n".join(text) + "\n")
    schema = replace(PEOPLE, fields=(*PEOPLE.fields[:2], Field(name="city", kind="text")))
    with pytest.raises(DataError, match=r"on line 7\b"):
        place.ingest(str(path), schema)
    path.write_text(path.read_text().replace("Oslo", '"Os\nlo"').replace("Berlin", '"Ber\nlin"').replace("Rome", "Rom"))
    broken = path.read_text().splitlines()
    line = next(i for i, text in enumerate(broken) if ",x," in text) + 1
    ends = line + (0 if broken[line - 1].count('"') % 2 == 0 else 1)
    with pytest.raises(DataError, match=rf"on line {ends}\b"):
        place.ingest(str(path), schema)


def test_rows_of_a_parquet_file_are_named_as_rows(place: Place) -> None:
    table = pa.table({n: [r[i] for r in people()] for i, n in enumerate(HEADER)})
    income = pa.array([float("inf") if i == 12 else 1.0 * i for i in range(60)])
    path = place.folder / "people.parquet"
    pq.write_table(table.set_column(1, "income", income), path)
    with pytest.raises(DataError, match=r"people.parquet: column 'income' holds infinite values on row 12: "):
        place.ingest(str(path))
    path.write_bytes(b"PAR1 but not really")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        place.ingest(str(path))
    path.write_bytes(b"")
    with pytest.raises(DataError, match="empty"):
        place.ingest(str(path))
    assert place.keys() == []


def test_the_second_of_two_files_is_named(place: Place) -> None:
    good = write_csv(place.folder / "a.csv", people())
    bad = write_csv(place.folder / "b.csv", changed(1, {2: ""}))
    with pytest.raises(DataError, match=r"'income' is empty on line 4 \(of .*b\.csv\)"):
        place.ingest([str(good), str(bad)])


def test_a_constant_number_is_no_target(place: Place) -> None:
    schema = Schema(fields=PEOPLE.fields[:1], target=Target(name="income", kind="number"))
    path = write_csv(place.folder / "people.csv", everywhere(1, 7))
    with pytest.raises(DataError, match=r"target 'income' is 7 in every row"):
        place.ingest(str(path), schema)
    assert place.keys() == []
