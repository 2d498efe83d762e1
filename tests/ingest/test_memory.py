"""A table larger than the memory is read in bounded memory: the peak does not grow with the file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.ingest.big import to_parquet, write_big_csv


def ingest_in_child(root: Path, table: Path, folder: Path) -> dict[str, float]:
    folder.mkdir()
    command = [sys.executable, "-m", "tests.ingest.big", str(table), str(folder)]
    # Arrow reads with as many threads as there are cores, each with a block of its own: as on two cores.
    environment = {**os.environ, "PYTHONPATH": str(root), "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "2"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_the_peak_does_not_grow_with_the_file(kind: str, root: Path, tmp_path: Path) -> None:
    peaks = []
    for megabytes in (4, 60):
        table = tmp_path / f"big-{megabytes}.csv"
        rows = write_big_csv(table, megabytes)
        if kind == "parquet":
            to_parquet(table, table.with_suffix(".parquet"))
            table = table.with_suffix(".parquet")
        result = ingest_in_child(root, table, tmp_path / f"place-{megabytes}")
        assert result["rows"] == result["kept"] == rows
        peaks.append(result["peak_mb"])
    # The imports, and a few copies of a shard of 100,000 rows (13 MB here), whatever the file's size.
    assert peaks[1] < 330, peaks
    assert peaks[1] - peaks[0] < 120, peaks


@pytest.mark.campaign
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_larger_than_the_memory(kind: str, root: Path, tmp_path: Path) -> None:
    table = tmp_path / "big.csv"
    rows = write_big_csv(table, 700)
    if kind == "parquet":
        to_parquet(table, table.with_suffix(".parquet"))
        table.unlink()
        table = table.with_suffix(".parquet")
    result = ingest_in_child(root, table, tmp_path / "place")
    assert result["rows"] == rows
    # A small file's peak, and 16 bytes a row: the hashes that find repeated ids.
    assert result["peak_mb"] < 450, result
