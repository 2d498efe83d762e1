"""Labels: their join with predictions against a slow, obvious one, and from files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.serving.bundles import Place

from trimtab.core import labels, predictions
from trimtab.core.errors import DataError
from trimtab.core.labelfile import Columns, send_labels
from trimtab.core.store import Store

START = datetime(2026, 11, 21, 14, 0, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def table(rows: Sequence[tuple[str | None, str | None, str, float, float]]) -> pa.Table:
    names = ["_id", "_key", "value", "labelled_at", "arrived_at"]
    records = [dict(zip(names, [*row[:3], at(row[3]), at(row[4])], strict=True), source=None) for row in rows]
    return pa.Table.from_pylist(records, schema=labels.SCHEMA)


def predicted(rows: list[tuple[str, str | None, float]]) -> pa.Table:
    return pa.table(
        {
            "_id": pa.array([row[0] for row in rows], pa.string()),
            "k": pa.array([row[1] for row in rows], pa.string()),
            "_time": pa.array([at(row[2]) for row in rows], predictions.TIME),
        }
    )


PREDICTIONS = predicted([("a-0", "x", 0), ("a-1", "y", 0), ("b-0", "x", 10), ("c-0", None, 20)])


def truth(rows: list[tuple[str | None, str | None, str, float, float]], **options: Any) -> list[str | None]:
    found: list[str | None] = labels.join(PREDICTIONS, table(rows), "k", **options)["_truth"].to_pylist()
    return found


def test_an_id_names_its_row() -> None:
    assert truth([("a-1", None, "1", 1, 1)]) == [None, "1", None, None]


def test_a_key_labels_its_latest_prediction_before_the_label() -> None:
    assert truth([(None, "x", "1", 5, 30)]) == ["1", None, None, None]
    assert truth([(None, "x", "1", 10, 30)]) == [None, None, "1", None]
    assert truth([(None, "x", "1", -1, 30)]) == [None, None, None, None]


def test_the_newest_of_different_values_counts_and_the_contradiction_is_marked() -> None:
    rows = [("a-0", None, "1", 5, 5), ("a-0", None, "2", 9, 6), ("a-0", None, "3", 7, 7), ("b-0", None, "1", 9, 9)]
    joined = labels.join_counted(PREDICTIONS, table(rows), "k")
    assert joined.table["_truth"].to_pylist() == ["2", None, "1", None]
    assert joined.table["_contradicted"].to_pylist() == [True, False, False, False]
    assert joined.table["_labelled_at"].to_pylist()[0] == at(9)
    assert (joined.matched, joined.unmatched, joined.contradicted) == (4, 0, 1)


def test_the_same_label_twice_counts_once() -> None:
    joined = labels.join_counted(PREDICTIONS, table([("a-0", None, "1", 5, 5), ("a-0", None, "1", 6, 6)]), "k")
    assert joined.contradicted == 0
    assert joined.table["_truth"].to_pylist() == ["1", None, None, None]


def test_a_label_that_arrived_later_does_not_count_yet() -> None:
    assert truth([("a-0", None, "1", 5, 50)], until=at(49)) == [None] * 4
    assert truth([("a-0", None, "1", 5, 50)], until=at(50))[0] == "1"


def test_a_label_without_its_prediction_is_counted() -> None:
    joined = labels.join_counted(PREDICTIONS, table([("z-0", None, "1", 5, 5), (None, "q", "1", 5, 5)]), "k")
    assert (joined.matched, joined.unmatched) == (0, 2)


def test_without_a_key_field_only_ids_join() -> None:
    joined = labels.join_counted(PREDICTIONS, table([(None, "x", "1", 5, 5), ("a-0", None, "2", 5, 5)]))
    assert joined.table["_truth"].to_pylist() == ["2", None, None, None]


@pytest.mark.parametrize("empty", ["predictions", "labels"])
def test_nothing_joins_nothing(empty: str) -> None:
    rows = PREDICTIONS.slice(0, 0) if empty == "predictions" else PREDICTIONS
    found = table([("a-0", None, "1", 5, 5)]) if empty == "predictions" else labels.SCHEMA.empty_table()
    joined = labels.join_counted(rows, found, "k")
    assert joined.table.num_rows == rows.num_rows
    assert joined.table["_truth"].null_count == rows.num_rows


@pytest.mark.parametrize("seed", range(8))
def test_the_join_agrees_with_an_obvious_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    keys = [None, "p", "q", "r", "s"]
    made = [(f"{i}-0", keys[rng.integers(5)], float(rng.integers(0, 60))) for i in range(60)]
    told: list[Any] = []
    for _ in range(120):
        by_id = rng.random() < 0.5
        name = f"{rng.integers(80)}-0" if by_id else None
        key = None if by_id else [*keys[1:], "t"][rng.integers(5)]
        # Distinct moments: of two labels of one moment either may be the newest.
        told.append((name, key, str(rng.integers(3)), float(rng.random() * 60), 60.0))
    joined = labels.join_counted(predicted(made), table(told), "k")
    expected: dict[int, list[tuple[float, str]]] = {}
    unmatched = 0
    for name, key, value, moment, _ in told:
        rows = [i for i, one in enumerate(made) if (one[0] == name if name else one[1] == key and one[2] <= moment)]
        if not rows:
            unmatched += 1
            continue
        row = rows[0] if name else max(rows, key=lambda i: (made[i][2], i))
        expected.setdefault(row, []).append((moment, value))
    assert joined.table["_truth"].to_pylist() == [
        max(expected[i])[1] if i in expected else None for i in range(len(made))
    ]
    assert joined.unmatched == unmatched
    assert joined.contradicted == sum(len({v for _, v in one}) > 1 for one in expected.values())


def test_label_files_are_kept_by_hour_of_arrival(store: Store) -> None:
    key = labels.write_labels(store, "m", "s", 0, table([("a-0", None, "1", -900, 5)]))
    assert key == "labels/m/2026-11-21T14/s-00000000.parquet"
    assert list(labels.list_files(store, "m")) == [key]
    assert labels.read_files(store, [key]).num_rows == 1
    assert labels.read_files(store, []).num_rows == 0


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.serve("digits", "digits")
    return place


def sent(place: Place, file: Path, columns: Columns, writer: str = "label-x", **options: Any) -> list[dict[str, Any]]:
    send_labels(place.store, "digits", file, columns, writer, **options)
    found: list[dict[str, Any]] = labels.read_files(place.store, labels.list_files(place.store, "digits")).to_pylist()
    return found


def test_labels_come_from_csv(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(
        "order;when;outcome\nk1;2026-11-21T14:05:00+01:00;3\nk2;;4\n;2026-11-21T14:05:00Z;5\nk3;;\n"
        "0193a6a0-0000-7000-8000-000000000000-3;2026-11-21 10:00;6\n"
    )
    rows = sent(place, file, Columns("order", "outcome", "when"), source="back office", delimiter=";")
    assert [(row["_id"], row["_key"], row["value"]) for row in rows] == [
        (None, "k1", "3"),
        (None, "k2", "4"),
        ("0193a6a0-0000-7000-8000-000000000000-3", None, "6"),
    ]
    assert rows[0]["labelled_at"] == datetime(2026, 11, 21, 13, 5, tzinfo=UTC)
    assert rows[1]["labelled_at"] == rows[1]["arrived_at"]
    assert {row["source"] for row in rows} == {"back office"}


def test_labels_come_from_parquet_with_numbers_as_their_classes(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "labels.parquet"
    times = pa.array([START, None], pa.timestamp("ms"))
    pq.write_table(pa.table({"k": [17.0, 18.0], "y": [3.0, 4.0], "t": times}), file)
    rows = sent(place, file, Columns("k", "y", "t"))
    assert [(row["_key"], row["value"]) for row in rows] == [("17", "3"), ("18", "4")]
    assert rows[0]["labelled_at"] == START


def test_a_long_file_is_cut_into_several(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.core.labelfile.FILE_ROWS", 1000)
    monkeypatch.setattr("trimtab.core.labelfile.BLOCK_BYTES", 4096)
    file = tmp_path / "labels.csv"
    file.write_text("k,y\n" + "".join(f"k{i},{i % 10}\n" for i in range(5000)))
    rows = sent(place, file, Columns("k", "y"))
    assert [row["_key"] for row in rows] == [f"k{i}" for i in range(5000)]
    assert len(list(labels.list_files(place.store, "digits"))) > 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "file is empty"),
        ("k,y\n", "no rows"),
        ("k;y\n1;2\n", "no column 'k'.*--delimiter"),
        ("a,b\n1,2\n", "no column 'k'.*one of a, b"),
        ("k,y\nk1,3\nk2,11\n", r"column 'y' holds other values on line 3: .*one of 0, 1.*'11'"),
        ('k,y\nk1,3\n\n"k\n2",11\nk3,12\n', r"on lines 5, 6: .*'11'"),
        ("k,y\nk1,3\nk2,4,5\n", "cannot be read"),
    ],
)
def test_a_mistake_in_a_file_leaves_the_store_as_it_was(place: Place, tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        sent(place, file, Columns("k", "y"))
    assert list(labels.list_files(place.store, "digits")) == []


def test_other_encodings_and_times_are_said(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_bytes("k,y\nk\xfc,3\n".encode("latin-1"))
    with pytest.raises(DataError, match="UTF-8"):
        sent(place, file, Columns("k", "y"))
    file.write_text("k,y,t\nk1,3,yesterday\n")
    with pytest.raises(DataError, match=r"column 't'.*RFC 3339.*'yesterday'"):
        sent(place, file, Columns("k", "y", "t"))
    with pytest.raises(DataError, match="no such file"):
        sent(place, tmp_path / "none.csv", Columns("k", "y"))


def test_numbers_are_checked_for_a_regression(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.serve("demand", "numbers")
    file = tmp_path / "labels.csv"
    file.write_text("k,y\na,1.50\nb,inf\n")
    with pytest.raises(DataError, match=r"finite numbers.*'inf'"):
        send_labels(place.store, "demand", file, Columns("k", "y"), "x")
    file.write_text("k,y\na,1.50\n")
    assert send_labels(place.store, "demand", file, Columns("k", "y"), "x").labels == 1
