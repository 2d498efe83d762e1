"""What a comparison costs: whole processes, from start to verdict, in CPU seconds, wall seconds and resident memory.

Each is a child process (`python -m benchmarks.costs ours|evidently WINDOW REFERENCE`), so that its figures are those
of the process and not of what ran before in this one.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

# Rows of a row group, as big files usually have; a file of the log has fewer.
GROUP_ROWS = 250_000


def write(path: Path, rows: int, columns: int, seed: int) -> None:
    """A window as the prediction log types it: numbers as doubles, categories as text; two of three are numbers."""
    rng = np.random.default_rng(seed)
    sizes = (2, 3, 5, 10, 30, 2, 4, 500)
    names = [pa.array([f"category {i}" for i in range(k)]) for k in sizes]
    writer = None
    left = rows
    while left:
        n = min(left, GROUP_ROWS)
        left -= n
        found: dict[str, pa.Array] = {}
        for i in range(columns):
            if i % 3 < 2:
                x = rng.standard_normal(n)
                if i % 9 == 1:
                    np.exp(x, out=x)
                elif i % 9 == 4:
                    np.floor(3 * x, out=x)
                mask = rng.random(n, np.float32) < 0.1 if i % 10 == 7 else None
                found[f"n{i}"] = pa.array(x, mask=mask)
            else:
                k = i // 3 % len(sizes)
                codes = (rng.random(n, np.float32) ** 2 * sizes[k]).astype(np.int32)
                found[f"c{i}"] = pa.DictionaryArray.from_arrays(pa.array(codes), names[k]).cast(pa.string())
        table = pa.table(found)
        if writer is None:
            writer = pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    if writer is not None:
        writer.close()


def write_many(folder: Path, rows: int, columns: int, files: int) -> None:
    """Several files of a window, two at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(2) as pool:
        done = [
            pool.submit(write, folder / f"{i:03d}.parquet", rows // files, columns, seed=100 + i) for i in range(files)
        ]
        for one in done:
            one.result()


def measure(who: str, window: Path, reference: Path) -> dict[str, float]:
    """Run a comparison in a process of its own.

    Returns:
        `cpu_s`, `wall_s`, `rss_mb` of the whole process, and what it found.
    """
    began = time.monotonic()
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "DO_NOT_TRACK": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.costs", who, str(window), str(reference)],
        env=env, stdout=subprocess.PIPE, check=True, text=True,
    )  # fmt: skip
    wall = time.monotonic() - began
    return {"wall_s": round(wall, 2), **json.loads(done.stdout.splitlines()[-1])}


def ours(window: Path, reference: Path) -> dict[str, float]:
    """Our comparison of a window, streamed, with a reference."""
    from trimtab.monitoring import shards
    from trimtab.monitoring.columns import arrays
    from trimtab.monitoring.drift import Column, Profile

    then = pq.read_table(reference)
    columns = [Column(n, "category" if n[0] == "c" else "number") for n in then.column_names]
    profile = Profile.of(columns, arrays(then, columns, ()))
    counted = shards.count(profile, shards.files(window))
    found = profile.compare(counted)
    return {"p": found.p, "rows": float(next(iter(counted.values()))[0].rows), "columns": float(len(found.fields))}


def evidently(window: Path, reference: Path) -> dict[str, float]:
    """Evidently's DataDriftPreset at its default settings."""
    import warnings

    warnings.simplefilter("ignore")
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    now, then = (pq.read_table(p).to_pandas() for p in (window, reference))
    numbers, categories = [c for c in now if c[0] == "n"], [c for c in now if c[0] == "c"]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=categories)
    current, base = (Dataset.from_pandas(x, data_definition=definition) for x in (now, then))
    Report([DataDriftPreset()]).run(current, base).dict()
    return {"rows": float(len(now)), "columns": float(len(now.columns))}


def main() -> None:
    who, window, reference = sys.argv[1:]
    found = {"ours": ours, "evidently": evidently}[who](Path(window), Path(reference))
    used = resource.getrusage(resource.RUSAGE_SELF)
    facts = {"cpu_s": round(used.ru_utime + used.ru_stime, 2), "rss_mb": round(used.ru_maxrss / 1024, 1), **found}
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
