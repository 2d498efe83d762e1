"""What can be answered is answered, with a warning where a person should know."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.ingest.tables import HEADER, PEOPLE, Place, people, write_csv

from trimtab.core.datasets import read_manifest, read_table
from trimtab.core.errors import DataError
from trimtab.core.schema import Field, Schema, Target


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_rows_without_a_target_are_left_out_and_counted(place: Place) -> None:
    rows = people()
    for row in (1, 2, 3):
        rows[row][4] = ""
    read, checked = place.both(str(write_csv(place.folder / "people.csv", rows)))
    assert (read.rows, checked.rows, checked.left_out_rows) == (60, 57, 3)
    assert any("3 of 60 rows have no 'churn'" in w for w in checked.warnings)
    assert "3 of 60 rows have no" in (place.folder / "report.html").read_text()


def test_useless_features_are_dropped_by_name_and_still_accepted_in_requests(place: Place) -> None:
    rows = [["", 3000.0 + i, "Oslo", *r[3:]] for i, r in enumerate(people())]
    _, checked = place.both(str(write_csv(place.folder / "people.csv", rows)))
    assert set(checked.dropped) == {"age", "city"}
    assert "no value" in checked.dropped["age"]
    assert "'Oslo' in every row" in checked.dropped["city"]
    assert [f.name for f in checked.schema.features] == ["income"]
    assert read_table(place.folder / "checked").column_names == ["income", "person", "churn", "_id", "_time"]
    record = checked.schema.parse_instances([{"age": 3, "city": "Rome", "income": 5}])[0]
    assert record == {"income": 5.0, "person": None}


def test_duplicate_ids(place: Place) -> None:
    rows = people()
    rows[10] = list(rows[3])  # the same row twice
    rows[20][3] = rows[5][3]  # another row under the same id
    _, checked = place.both(str(write_csv(place.folder / "people.csv", rows)))
    assert checked.rows == 59
    assert any("1 rows repeat" in w and "'person'" in w for w in checked.warnings)
    assert any("'p0005'" in w and "all kept" in w for w in checked.warnings)


def test_a_category_never_seen(place: Place) -> None:
    city = replace(PEOPLE.fields[2], categories=("Berlin", "Rome"))
    schema = replace(PEOPLE, fields=(*PEOPLE.fields[:2], city, PEOPLE.fields[3]))
    _, checked = place.both(str(write_csv(place.folder / "people.csv", people())), schema)
    assert any("'Oslo'" in w and "unseen" in w for w in checked.warnings)
    assert checked.schema.by_name["city"].categories == ("Berlin", "Rome")
    assert checked.rows == 60
    assert "Oslo" in read_table(place.folder / "checked")["city"].to_pylist()


def test_categories_and_classes_are_learned_in_order(place: Place) -> None:
    rows = [[*r[:4], str(i % 12)] for i, r in enumerate(people(72))]
    _, checked = place.both(str(write_csv(place.folder / "people.csv", rows)))
    assert checked.schema.target.classes == tuple(str(i) for i in range(12))
    assert checked.schema.by_name["city"].categories == ("Berlin", "Oslo", "Rome")


def test_rare_and_undeclared_classes_are_left_out(place: Place) -> None:
    rows = people()
    rows[0][4], rows[1][4] = "maybe", "maybe"
    path = str(write_csv(place.folder / "people.csv", rows))
    _, checked = place.both(path)
    assert checked.schema.target.classes == ("no", "yes")
    assert checked.left_out_rows == 2
    assert any("'maybe' (2)" in w for w in checked.warnings)
    declared = replace(PEOPLE, target=Target(name="churn", kind="category", classes=("yes", "no")))
    _, checked = place.both(path, declared)
    assert checked.schema.target.classes == ("yes", "no")
    assert any("does not name" in w for w in checked.warnings)


def test_na_is_missing_in_a_number_and_a_value_in_a_category(place: Place) -> None:
    rows = people()
    rows[0][0], rows[1][0], rows[2][0] = "NA", "n/a", " 44 "
    rows[0][2], rows[1][2] = "NA", ""
    place.both(str(write_csv(place.folder / "people.csv", rows)))
    table = read_table(place.folder / "checked")
    assert table["age"].to_pylist()[:3] == [None, None, 44.0]
    assert table["city"].to_pylist()[:2] == ["NA", None]


def test_other_spellings_of_a_csv(place: Place) -> None:
    plain = str(write_csv(place.folder / "plain.csv", people()))
    want = place.ingest(plain).digest
    body = Path(plain).read_bytes()
    for name, content, source in (
        ("semi.csv", body.replace(b",", b";"), {"delimiter": ";"}),
        ("tabs.tsv", body.replace(b",", b"\t"), {}),
        ("bom.csv", b"\xef\xbb\xbf" + body, {}),
        ("crlf.csv", body.replace(b"\r\n", b"\n"), {}),
        ("packed.csv.gz", gzip.compress(body), {}),
        ("wide.csv", body.decode().encode("utf-16"), {"encoding": "utf-16"}),
        ("latin.csv", body, {"encoding": "latin-1"}),
    ):
        path = place.folder / name
        path.write_bytes(content)
        assert place.ingest({"path": str(path), **source}).digest == want, name


def test_parquet_with_other_types_gives_the_same_kinds(place: Place) -> None:
    rows = people()
    table = pa.table(
        {
            "age": pa.array([r[0] for r in rows], pa.int16()),
            "income": pa.array([r[1] for r in rows], pa.float32()),
            "city": pa.array([r[2] for r in rows]).dictionary_encode(),
            "person": pa.array(range(60), pa.int64()),
            "churn": pa.array([r[4] == "yes" for r in rows]),
            "other": pa.array(range(60)),
        }
    )
    path = place.folder / "people.parquet"
    pq.write_table(table, path, row_group_size=7)
    read, checked = place.both(str(path))
    out = read_table(place.folder / "checked")
    assert out["person"].to_pylist()[:2] == ["0", "1"]
    assert checked.schema.target.classes == ("false", "true")
    assert any("other" in w for w in read.warnings)


def test_images_as_lists_and_nested_lists(place: Place) -> None:
    schema = Schema(
        fields=(Field(name="pixels", kind="image", shape=(2, 3)),), target=Target(name="y", kind="category")
    )
    labels = ["a", "b"] * 20
    flat = [[float(i)] * 6 for i in range(40)]
    nested = [[[float(i)] * 3] * 2 for i in range(40)]
    digests = []
    for values in (flat, nested):
        path = place.folder / "images.parquet"
        pq.write_table(pa.table({"pixels": values, "y": labels}), path)
        digests.append(place.ingest(str(path), schema).digest)
    assert digests[0] == digests[1]
    pq.write_table(pa.table({"pixels": [*flat[:39], [1.0]], "y": labels}), place.folder / "images.parquet")
    with pytest.raises(DataError, match=r"images of another size on row 39: expected 6 numbers"):
        place.ingest(str(place.folder / "images.parquet"), schema)


def test_a_column_of_another_name_and_a_time(place: Place) -> None:
    rows = [[*r, f"2026-11-{i % 28 + 1:02d} 10:00:00"] for i, r in enumerate(people())]
    path = write_csv(place.folder / "people.csv", rows, (*HEADER[:1], "Income (EUR)", *HEADER[2:], "at"))
    income = Field(name="income", kind="number", column="Income (EUR)")
    fields = (PEOPLE.fields[0], income, Field(name="at", kind="time"))
    place.ingest(str(path), replace(PEOPLE, fields=fields))
    table = read_table(place.folder / "data")
    assert table["_time"][0].as_py().isoformat() == "2026-11-01T10:00:00+00:00"
    assert table["income"].null_count == 0


def test_rows_of_a_file(place: Place) -> None:
    path = str(write_csv(place.folder / "people.csv", people()))
    assert place.ingest({"path": path, "rows": [10, 50]}).rows == 40
    assert read_table(place.folder / "data")["person"][0].as_py() == "p0010"


def test_the_same_rows_have_the_same_digest_and_are_stored_once(place: Place) -> None:
    path = str(write_csv(place.folder / "people.csv", people()))
    first = place.ingest(path)
    keys = place.keys()
    assert keys == [f"datasets/people/{first.digest}/{n}" for n in ("manifest.json", "part-00000.parquet")]
    assert place.ingest(path) == first
    assert place.keys() == keys
    again = place.ingest(f"dataset:people/{first.digest}")
    assert again.digest == first.digest
    assert read_manifest(place.folder / "judge").rows == 0
