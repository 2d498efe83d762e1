"""A number that the schema keeps in 32 bits, from the file to the rows that a model is trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.ingest.tables import PEOPLE, Place, people, write_csv

from trimtab.core.datasets import read_table

NARROW = replace(
    PEOPLE, fields=(PEOPLE.fields[0], replace(PEOPLE.fields[1], dtype="float32", range=(0.1, 0.7)), *PEOPLE.fields[2:])
)
TENTHS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]


@pytest.mark.parametrize("form", ["csv", "float32", "float64"])
def test_a_file_s_numbers_are_rounded_once_whatever_they_were(form: str, tmp_path: Path) -> None:
    """A tenth of a file and a tenth of a request are the same number, so that ties stay ties."""
    rows = [[row[0], TENTHS[i % 7], *row[2:]] for i, row in enumerate(people())]
    if form == "csv":
        source = write_csv(tmp_path / "people.csv", rows)
    else:
        columns = dict(zip(("age", "income", "city", "person", "churn"), zip(*rows, strict=True), strict=True))
        table = pa.table({**columns, "income": pa.array(columns["income"], getattr(pa, form)())})
        pq.write_table(table, source := tmp_path / "people.parquet")
    place = Place(tmp_path)
    place.ingest(str(source), schema=NARROW)
    checked = place.validate(NARROW)
    assert not any("range" in warning for warning in checked.warnings), checked.warnings
    kept = read_table(tmp_path / "checked")
    assert [str(kept.schema.field(name).type) for name in ("age", "income")] == ["double", "float"]
    assert kept["income"].to_pylist()[:7] == np.array(TENTHS, np.float32).tolist()
