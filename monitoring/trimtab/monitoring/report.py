"""Evidently's report of a window against the reference, in a process of its own: it draws, our rule decides.

Bounded samples, fixed methods (Evidently's default changes its meaning with the reference's size), and guards per
column: one that is empty, infinite or constant would otherwise lose the whole report.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trimtab.monitoring import pictures

if TYPE_CHECKING:
    from trimtab.core.store import Store
    from trimtab.monitoring.drift import Column

ROWS = 1000
COLUMNS = 40
TIMEOUT_SECONDS = 300
# Reports that wait; when more verdicts change at once, the oldest are not drawn.
WAITING = 8
_log = logging.getLogger(__name__)


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
            found[column.name] = pa.array(_spread(np.array(value.to_pylist(), object)), pa.string())
        else:
            found[column.name] = pa.array(_spread(np.asarray(value, np.float64)))
    rows = min((len(v) for v in found.values()), default=0)
    return pa.table({name: v.slice(0, rows) for name, v in found.items()})


def _spread(values: Any) -> Any:
    """At most `ROWS` values, evenly spread."""
    if len(values) <= ROWS:
        return values
    return values[np.linspace(0, len(values) - 1, ROWS).astype(int)]


class Reporter:
    """Draws reports in child processes, one at a time, off the deciding path.

    Args:
        store: where they are written, under the keys that the verdicts name.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._queue: queue.Queue[tuple[str, pa.Table, pa.Table, dict[str, Any]] | None] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def draw(self, key: str, reference: pa.Table, window: pa.Table, about: dict[str, Any]) -> bool:
        """Ask for a report; False where too many wait already.

        Args:
            key: where it goes.
            reference: plain columns (of `frame`).
            window: the same columns of the window.
            about: `title` and `words` shown above it.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="reports", daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait((key, reference, window, about))
        except queue.Full:
            _log.warning("too many reports wait; this one is not drawn", extra={"key": key})
            return False
        return True

    def wait(self) -> None:
        """Wait until all reports asked for are written or have failed."""
        self._queue.join()

    def stop(self) -> None:
        """End the child that draws, and draw no more."""
        self._stopped = True
        child = self._child
        if child is not None and child.poll() is None:
            child.kill()
        if self._thread is not None:
            try:
                self._queue.put_nowait(None)
            except queue.Full:
                return  # the thread is a daemon and ends with the process
            self._thread.join(timeout=5)

    def _work(self) -> None:
        while True:
            task = self._queue.get()
            try:
                if task is None or self._stopped:
                    return
                self._draw(*task)
            except Exception:  # noqa: BLE001 - a report that fails must not end the watch
                _log.exception("a report could not be drawn", extra={"key": task[0] if task else ""})
            finally:
                self._queue.task_done()

    def _draw(self, key: str, reference: pa.Table, window: pa.Table, about: dict[str, Any]) -> None:
        with tempfile.TemporaryDirectory(prefix="trimtab-report-") as name:
            folder = Path(name)
            pq.write_table(reference, folder / "reference.parquet")
            pq.write_table(window, folder / "window.parquet")
            (folder / "about.json").write_text(json.dumps(about))
            self._child = subprocess.Popen(
                [sys.executable, "-m", "trimtab.monitoring.report", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={**os.environ, "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"},
            )
            _, errors = self._child.communicate(timeout=TIMEOUT_SECONDS)
            if self._child.returncode:
                if not self._stopped:
                    _log.error(
                        "a report could not be drawn: %s", errors.decode(errors="replace")[-500:], extra={"key": key}
                    )
                return
            self.store.put(key, (folder / "report.html").read_bytes())


def write(folder: Path) -> None:
    """Draw the report of a folder's `reference.parquet`, `window.parquet` and `about.json` as `report.html`."""
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
    body = "<p>No column could be compared.</p>"
    kept = numbers + categories
    if kept:
        definition = DataDefinition(numerical_columns=numbers, categorical_columns=categories)
        current, reference = (Dataset.from_pandas(x[kept], data_definition=definition) for x in (now, then))
        preset = DataDriftPreset(
            columns=kept, num_method="wasserstein", cat_method="jensenshannon", num_threshold=0.1, cat_threshold=0.1
        )
        body = Report([preset]).run(current, reference).get_html_str(as_iframe=False)
    (folder / "report.html").write_text(page(said, body))


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


Draw = Callable[[str, pa.Table, pa.Table, dict[str, Any]], bool]

if __name__ == "__main__":
    write(Path(sys.argv[1]))
