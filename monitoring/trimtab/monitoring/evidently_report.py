"""The child process that draws Evidently's report of a window, and asks for second opinions: never to decide.

Bounded samples, fixed methods (Evidently's default changes its meaning with the reference's size), and guards per
column: one that is empty, infinite or constant would otherwise lose the whole report. The libraries it takes (pandas,
river, and with them 3,500 modules) never enter the watch's own process, and their memory goes when it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trimtab.core.predictions import TIME
from trimtab.core.records import rfc3339
from trimtab.monitoring import pictures
from trimtab.monitoring.losses import Floats

if TYPE_CHECKING:
    from trimtab.monitoring.drift import Column

# What is drawn, at most: rows, columns, and characters of a category, whatever a client has sent as one.
ROWS, COLUMNS, TEXT = 1000, 40, 200
# Evidently's distances, and from which value on it flags a column.
NUMBERS, CATEGORIES, THRESHOLD = "wasserstein", "jensenshannon", 0.1


def frame(values: Mapping[str, Any], columns: list[Column]) -> pa.Table:
    """The compared arrays (of `columns.arrays`) as plain columns: images by their summaries, at most `ROWS` rows."""
    found: dict[str, pa.Array] = {}
    for column in columns:
        if column.name not in values or len(found) >= COLUMNS:
            continue
        value = values[column.name]
        if column.kind == "image":
            summary = pictures.summaries(value, column.shape)
            for i, name in enumerate(pictures.names()):
                found[f"{column.name} {name}"] = pa.array(_spread(summary[:, i]))
        elif column.kind == "category":
            texts = [text and text[:TEXT] for text in _spread(np.array(value.to_pylist(), object))]
            found[column.name] = pa.array(texts, pa.string())
        else:
            found[column.name] = pa.array(_spread(np.asarray(value, np.float64)))
    rows = min((len(v) for v in found.values()), default=0)
    return pa.table({name: v.slice(0, rows) for name, v in found.items()})


def _spread(values: Any) -> Any:
    """At most `ROWS` values, evenly spread."""
    if len(values) <= ROWS:
        return values
    return values[np.linspace(0, len(values) - 1, ROWS).astype(int)]


def write(folder: Path) -> None:
    """Draw the report of a folder's `reference.parquet`, `window.parquet` and `about.json` as `report.html`.

    Beside it `opinions.json`: Evidently's scores, and the alarms of online detectors over `losses.parquet`.
    """
    import warnings

    warnings.simplefilter("ignore")  # of libraries of this child alone
    os.nice(10)
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    then = pq.read_table(folder / "reference.parquet").to_pandas()
    now = pq.read_table(folder / "window.parquet").to_pandas()
    about = json.loads((folder / "about.json").read_text())
    numbers: list[str] = []
    categories: list[str] = []
    left: list[str] = []
    for name in then.columns:
        if name not in now.columns:
            left.append(name)
            continue
        if then[name].dtype.kind == "f":
            then[name], now[name] = (x[name].replace([np.inf, -np.inf], np.nan) for x in (then, now))
        if then[name].notna().sum() < 2 or now[name].notna().sum() < 2:
            left.append(name)
        else:
            (numbers if then[name].dtype.kind == "f" else categories).append(name)
    for name in categories:
        then[name], now[name] = (x[name].fillna("(missing)") for x in (then, now))
    said = [about["title"], about["words"]]
    if left:
        said.append(f"Left out, with fewer than two values: {', '.join(left)}.")
    body, scores = "<p>No column could be compared.</p>", {}
    kept = numbers + categories
    if kept:
        definition = DataDefinition(numerical_columns=numbers, categorical_columns=categories)
        current, reference = (Dataset.from_pandas(x[kept], data_definition=definition) for x in (now, then))
        preset = DataDriftPreset(
            columns=kept, num_method=NUMBERS, cat_method=CATEGORIES, num_threshold=THRESHOLD, cat_threshold=THRESHOLD
        )
        found = Report([preset]).run(current, reference)
        body = found.get_html_str(as_iframe=False)
        scores = scores_of(found.dict()["metrics"])
    (folder / "report.html").write_text(page(said, body))
    opinions = {"evidently": scores, **detected(folder / "losses.parquet")}
    (folder / "opinions.json").write_text(json.dumps(opinions, allow_nan=False))


def scores_of(metrics: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Evidently's score of each column: method, score, threshold, and whether it flags the column."""
    found = {}
    for one in metrics:
        about, value = one["config"], one["value"]
        if "column" in about and isinstance(value, float | int):
            score = round(float(value), 6) if np.isfinite(value) else None
            found[str(about["column"])] = {
                "method": about["method"],
                "score": score,
                "threshold": about["threshold"],
                "drifted": score is not None and score >= about["threshold"],
            }
    return found


def detected(file: Path) -> dict[str, Any]:
    """Alarms of river's online detectors over labelled rows, by detector as times; nothing where no row has a label."""
    from trimtab.monitoring.detectors import DETECTORS, alarms

    if not file.exists():
        return {}
    table = pq.read_table(file)
    loss, times = np.asarray(table["loss"], np.float64), table["time"].to_pylist()
    return {
        "rows": len(loss),
        "detectors": {name: [rfc3339(times[i]) for i in alarms(name, loss)] for name in DETECTORS},
    }


def row_by_row(n: Sequence[int], total: Sequence[float], first: Sequence[int], cap: float, *, binary: bool) -> pa.Table:
    """Buckets of labelled rows as single rows for detectors that take one loss at a time.

    A bucket holds a row or two of a window; its wrong answers are spread over it, its times are its first row's.

    Args:
        n: rows by bucket.
        total: sums of losses by bucket.
        first: times of their first rows, microseconds since 1970.
        cap: largest loss of a row, which counts as 1.
        binary: whether losses are 0 or 1.
    """
    losses: list[Floats] = []
    for rows, loss in zip(n, total, strict=True):
        if binary:
            steps = np.floor(np.arange(1, rows + 1) * (loss / max(1, rows)) + 1e-9)
            losses.append(np.diff(np.concatenate([[0.0], steps])))
        else:
            losses.append(np.full(rows, loss / max(1, rows) / cap))
    flat = np.concatenate(losses) if losses else np.zeros(0)
    return pa.table({"loss": flat, "time": pa.array(np.repeat(np.asarray(first, np.int64), n)).cast(TIME)})


def page(said: list[str], body: str) -> str:
    """Evidently's page with our verdict above it."""
    import html

    head = "".join(f"<p>{html.escape(one)}</p>" if i else f"<h2>{html.escape(one)}</h2>" for i, one in enumerate(said))
    note = "The distances below are Evidently's, on samples of at most 1,000 rows; they draw, they do not decide."
    block = f'<div style="font-family:sans-serif;max-width:60em;margin:1em">{head}<p><small>{note}</small></p></div>'
    at = body.find("<body")
    if at < 0:
        return f'<!doctype html><html><head><meta charset="utf-8"></head><body>{block}{body}</body></html>'
    end = body.index(">", at) + 1
    return body[:end] + block + body[end:]


def peak() -> int:
    """The most memory that this process has had, bytes.

    Linux's `ru_maxrss` begins with what the parent had when it started this process; `VmHWM` is this program's alone.
    """
    with contextlib.suppress(OSError):
        found = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
        if found is not None:
            return int(found[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is kibibytes on Linux, bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    write(Path(sys.argv[1]))
    sys.stdout.write(f"{peak()}\n")
