"""The loop's project and its rows: scikit-learn's digits in file order, where new writers arrive; and a bad upload."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.cluster.load import Row

from trimtab.core.project import load_project
from trimtab.demo.data import read_rows

if TYPE_CHECKING:
    from trimtab.core.project import Project

MODEL = "digits"
FIRST_ROWS, LAST_ROW = 276, 1797
# After the last row the replay begins again here: writers whom a retrained version has seen too.
AGAIN = 900
CLASSES = 10

# The gate leaves room for chance: a retrain is judged on some 20 rows of new writers, of which a good model may well
# get six wrong. That a gate is missed is no part of the loop.
_PROJECT = """# Digits in the order of scikit-learn's file: 13 writers in turn; there are 276 images to begin with.
name: digits
task: {kind: classification, target: digit, statement: Read a handwritten digit.}
data:
  source: SOURCE
  test_fraction: 0.15
  seed: 0
fields:
  image: {kind: image, shape: [8, 8], range: [0, 16]}
  image_id: {kind: id}
candidates:
  linear:
metric: accuracy
gates:
  beats_baseline: true
  at_least: {accuracy: 0.5}
resources: {threads: 1, cpu: 0.75, memory: 1500Mi}
serving: {replicas: 1, auth: open}
windows: {rows: 69}
# One campaign is what the loop shows: a follow-up would only make it longer.
campaign: {follow_ups: 0, retrains_per_week: 1}
"""


def write(folder: Path, source: str = "{sklearn: digits, rows: [0, 276]}", name: str = "project.yaml") -> Path:
    """Write the project file with a source."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(_PROJECT.replace("SOURCE", source))
    return path


def load(path: Path) -> Project:
    """The project of a file."""
    return load_project(path)


def rows(project: Project) -> list[Row]:
    """The rows that are replayed, as an application would send them, with their truth."""
    table = _read(project, FIRST_ROWS, LAST_ROW)
    return [
        Row({"image": _nested(one["image"]), "image_id": one["image_id"]}, str(one["digit"]))
        for one in table.select(["image", "image_id", "digit"]).to_pylist()
    ]


def write_mislabelled(project: Project, folder: Path) -> Path:
    """All images with each digit called by the next one's name, as Parquet.

    An upload that went wrong as real ones do: one column is off by one. A model learns it perfectly and its sealed test
    is as wrong as its training rows, so it passes every gate and is sure of itself; labels of what it answers show it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = _read(project, 0, LAST_ROW)
    wrong = [str((int(digit) + 1) % CLASSES) for digit in table.column("digit").to_pylist()]
    mixed = table.select(["image", "image_id"]).append_column("digit", pa.array(wrong))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "digits.parquet"
    pq.write_table(mixed, path)
    return path


def _read(project: Project, first: int, last: int) -> Any:
    with tempfile.TemporaryDirectory(prefix="trimtab-loop-") as name:
        return read_rows(project, {"sklearn": "digits", "rows": [first, last]}, Path(name))


def _nested(flat: list[float]) -> list[list[float]]:
    return [flat[i : i + 8] for i in range(0, 64, 8)]
