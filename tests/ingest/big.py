"""A table of any size, and a child process that ingests it and says how much memory it took.

Run as `python -m tests.ingest.big TABLE FOLDER`: prints the peak of the resident memory in MB and the rows, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

from trimtab.core.schema import Field, Schema, Target

COLUMNS = 12
SCHEMA = Schema(
    fields=(
        *(Field(name=f"x{i}", kind="number", nullable=i == 0) for i in range(COLUMNS)),
        Field(name="city", kind="category"),
        Field(name="row", kind="id"),
    ),
    target=Target(name="y", kind="category"),
)


def write_big_csv(path: Path, megabytes: float) -> int:
    """Write a CSV of about that size; returns its rows. Each row has an id of its own."""
    numbers = [",".join(f"{(i * 7919 + j * 104729) % 100003 / 97:.5f}" for j in range(COLUMNS)) for i in range(1000)]
    tails = [f",{('Berlin', 'Oslo', 'Rome')[i % 3]},{('no', 'yes')[i % 2]}," for i in range(1000)]
    rows, size = 0, 0
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join([*(f"x{i}" for i in range(COLUMNS)), "city", "y", "row"]) + "\n")
        while size < megabytes * 1e6:
            block = "".join(f"{numbers[i]}{tails[i]}r{rows + i}\n" for i in range(1000))
            file.write(block)
            rows, size = rows + 1000, size + len(block)
    return rows


def to_parquet(csv: Path, path: Path) -> None:
    """The same table as Parquet with one large row group a million rows."""
    import pyarrow as pa
    import pyarrow.csv as pc
    import pyarrow.parquet as pq

    writer = None
    with pc.open_csv(str(csv), read_options=pc.ReadOptions(block_size=64 << 20)) as reader:
        for batch in reader:
            table = pa.Table.from_batches([batch])
            writer = writer or pq.ParquetWriter(path, table.schema, compression="snappy")
            writer.write_table(table, row_group_size=1_000_000)
    assert writer is not None
    writer.close()


def resident_mb() -> float:
    """This process's resident memory in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Ingest and validate, watched by a thread: a child's own `ru_maxrss` would begin with its parent's."""
    table, folder = Path(sys.argv[1]), Path(sys.argv[2])
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            peak[0] = max(peak[0], resident_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    from tests.ingest.tables import Place

    try:
        read, checked = Place(folder).both(str(table), SCHEMA)
    finally:
        done.set()
        watcher.join()
    sys.stdout.write(json.dumps({"peak_mb": peak[0], "rows": read.rows, "kept": checked.rows}) + "\n")


if __name__ == "__main__":
    main()
