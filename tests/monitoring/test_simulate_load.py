"""Tables as people have them: huge numbers, every spelling of a time, odd names, other encodings."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trimtab.core.errors import DataError
from trimtab.monitoring.simulate.load import load

ROWS = 120
X = np.random.default_rng(0).normal(size=ROWS)
LABEL = np.arange(ROWS) % 2


def written(folder: Path, **columns: Any) -> Path:
    path = folder / "odd.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def test_huge_whole_numbers_are_read_as_the_nearest_float(tmp_path: Path) -> None:
    nanoseconds = 1_700_000_000_000_000_001 + np.arange(ROWS) * 10**9
    ids = pa.array([2**64 - 1 - i for i in range(ROWS)], pa.uint64())
    stream = load(written(tmp_path, a=nanoseconds, b=ids, label=LABEL)).stream
    assert len(stream.schema.features) == 2
    assert stream.table["f0"][5].as_py() == float(nanoseconds[5])
    target = load(written(tmp_path, a=X, target=nanoseconds)).stream
    assert target.schema.target.kind == "number"
    assert target.truth[3] == float(nanoseconds[3])


def test_huge_whole_numbers_are_classes_too(tmp_path: Path) -> None:
    most = pa.array([2**64 - 1 if v else 5 for v in LABEL], pa.uint64())
    assert load(written(tmp_path, a=X, label=most)).stream.classes == ("5", str(2**64 - 1))
    signed = LABEL * (2**62 + 1) + 1
    assert load(written(tmp_path, a=X, label=signed)).stream.classes == ("1", str(2**62 + 2))


def test_a_number_beyond_float32_is_told_by_column_and_row(tmp_path: Path) -> None:
    large = X.copy()
    large[[40, 70]] = 1e39
    late = np.arange(ROWS)[::-1]
    for time in ("", "when"):
        with pytest.raises(DataError, match=r"column 'a', row 41: a number is too large.*1e\+39"):
            load(written(tmp_path, a=large, when=late, label=LABEL), time=time)
    unlabelled = pa.array([None, *LABEL[1:].tolist()])
    with pytest.raises(DataError, match="row 41"):
        load(written(tmp_path, a=large, label=unlabelled))
    with pytest.raises(DataError, match=r"column 'target', row 1"):
        load(written(tmp_path, a=X, target=1e300 * (X + 10)))
    infinite = np.where(LABEL == 1, np.inf, X)
    assert load(written(tmp_path, a=infinite, label=LABEL)).stream.table["f0"].null_count == ROWS // 2


@pytest.mark.parametrize(
    "texts",
    [
        [f"2020-01-01T{i // 60:02d}:{i % 60:02d}:00Z" for i in range(ROWS)],
        [f"2020-01-01T{i // 60 + 2:02d}:{i % 60:02d}:00+02:00" for i in range(ROWS)],
        [f"2020-01-01T{i // 60:02d}:{i % 60:02d}:00.000000123Z" for i in range(ROWS)],
        [f"2020-01-01 {i // 60:02d}:{i % 60:02d}:00" for i in range(ROWS)],
    ],
)
def test_times_as_texts(texts: list[str], tmp_path: Path) -> None:
    stream = load(written(tmp_path, a=X, when=texts[::-1], label=LABEL), time="when").stream
    first = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
    assert stream.times[:3].tolist() == [first, first + 60_000_000, first + 120_000_000]
    assert stream.table["f0"][0].as_py() == X[-1]


def test_times_finer_than_a_microsecond_are_floored_and_still_order_the_rows(tmp_path: Path) -> None:
    nanoseconds = 1_700_000_000_000_000_000 + np.arange(ROWS)[::-1] * 400
    for when in (pa.array(nanoseconds, pa.timestamp("ns")), pa.array(nanoseconds, pa.timestamp("ns", "Asia/Tokyo"))):
        stream = load(written(tmp_path, a=X, when=when, label=LABEL), time="when").stream
        assert stream.times[:4].tolist() == [1_700_000_000_000_000 + i for i in (0, 0, 0, 1)]
        assert stream.table["f0"].to_pylist() == X[::-1].tolist()


def test_nanoseconds_as_whole_numbers_order_the_rows(tmp_path: Path) -> None:
    when = 1_700_000_000_000_000_000 + np.arange(ROWS)[::-1]  # as float64 they would all be one
    stream = load(written(tmp_path, a=X, when=when, label=LABEL), time="when").stream
    assert stream.table["f0"].to_pylist() == X[::-1].tolist()


def test_a_time_that_is_no_number_is_an_empty_cell(tmp_path: Path) -> None:
    when = np.where(np.arange(ROWS) < 2, np.nan, np.arange(ROWS))
    with pytest.raises(DataError, match=r"empty cells.*2 of 120 without"):
        load(written(tmp_path, a=X, when=when, label=LABEL), time="when")


def test_columns_that_come_twice_are_named(tmp_path: Path) -> None:
    path = tmp_path / "twice.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(X), pa.array(X), pa.array(LABEL)], names=["a", "a", "label"]), path)
    with pytest.raises(DataError, match="columns come twice: got 'a'"):
        load(path)


def test_a_column_without_a_name_is_a_column(tmp_path: Path) -> None:
    stream = load(written(tmp_path, **{"": X, "label": LABEL})).stream
    assert stream.table["f0"].to_pylist() == X.tolist()
    last = load(written(tmp_path, **{"a": X, "": LABEL})).stream
    assert last.classes == ("0", "1")


@pytest.mark.parametrize("text", ["a,näme,label\n" + "1,x,0\n2,y,1\n" * 60, "a,b,label\n" + "1,ö,0\n2,ü,1\n" * 60])
def test_a_csv_in_another_encoding_is_told_so(text: str, tmp_path: Path) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match="the table is not UTF-8"):
        load(path)
    path.write_text(text, encoding="utf-8")
    assert len(load(path).stream) == ROWS
