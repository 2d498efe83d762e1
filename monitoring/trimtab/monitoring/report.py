"""Reports of verdicts, off the deciding path: our page in a thread, Evidently's report in a process of its own.

Both are made from the store alone and may be deleted and made again.
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
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from trimtab.core import logs
from trimtab.core.errors import DataError, NotFound
from trimtab.core.records import read_record
from trimtab.monitoring import explanation, verdict_page, windows
from trimtab.monitoring import figures_records as facts
from trimtab.monitoring.columns import arrays, needed
from trimtab.monitoring.evidently_report import ROWS, frame, row_by_row
from trimtab.monitoring.prequential import newest
from trimtab.monitoring.samples import sample

if TYPE_CHECKING:
    from trimtab.core.store import Store
    from trimtab.monitoring.reference import Reference

TIMEOUT_SECONDS = 300
# Reports that wait; when more verdicts change at once, the oldest are not drawn.
WAITING = 64
# Labelled rows, and windows they are looked for in, that online detectors see: they must have seen good times first.
DETECTED_ROWS, DETECTED_WINDOWS = 5000, 100
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """A report that was asked for.

    Attributes:
        model: the model.
        about: the version's reference.
        window: the window's number.
        evidently: whether Evidently draws too.
    """

    model: str
    about: Reference
    window: int
    evidently: bool


class Reporter:
    """Makes reports one at a time.

    Args:
        store: everything is read from it and written to it.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._queue: queue.Queue[Task | None] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def draw(self, model: str, about: Reference, window: int, *, evidently: bool) -> None:
        """Ask for the report of a window's newest verdict; where too many wait, the oldest is not drawn.

        Args:
            model: the model.
            about: the version's reference.
            window: the window's number.
            evidently: whether Evidently draws too.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="reports", daemon=True)
            self._thread.start()
        while True:
            try:
                self._queue.put_nowait(Task(model, about, window, evidently))
            except queue.Full:
                self._forget_oldest()
            else:
                return

    def _forget_oldest(self) -> None:
        try:
            left = self._queue.get_nowait()
        except queue.Empty:
            return
        self._queue.task_done()
        if left is not None:
            _log.warning("too many reports wait; that of window %d is not drawn", left.window)

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
                with logs.about(model=task.model):
                    self._draw(task)
            except Exception:  # noqa: BLE001 - a report that fails must not end the watch
                _log.exception(
                    "a report could not be drawn",
                    extra={"window": task.window if task else 0, "model": task.model if task else ""},
                )
            finally:
                self._queue.task_done()

    def _draw(self, task: Task) -> None:
        key = windows.page_key(task.model, task.about.version, task.window)
        self.store.put(key, verdict_page.make(self.store, task.about, task.model, task.window).encode())
        if task.evidently and self._evidently(task):
            self.store.put(key, verdict_page.make(self.store, task.about, task.model, task.window).encode())

    def _evidently(self, task: Task) -> bool:
        """Have Evidently draw, in a child; whether it did."""
        about, place = task.about, (task.model, task.about.version, task.window)
        told = explanation.read(self.store, *place)
        rows = sample(self.store, told.cut, needed(about.columns), ROWS)
        with tempfile.TemporaryDirectory(prefix="trimtab-report-") as name:
            folder = Path(name)
            for table, file in ((about.table, "reference"), (rows, "window")):
                compared = frame(arrays(table, about.columns, about.classes), about.columns)
                pq.write_table(compared, folder / f"{file}.parquet")
            self._losses(task, folder / "losses.parquet")
            title = explanation.facts(told, about.yardstick, {})["title"]
            (folder / "about.json").write_text(json.dumps({"title": title, "words": told.verdict.words}))
            self._child = subprocess.Popen(
                [sys.executable, "-m", "trimtab.monitoring.evidently_report", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"},
            )
            began = time.monotonic()
            try:
                peak, errors = self._child.communicate(timeout=TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.communicate()
                raise
            if self._child.returncode:
                if not self._stopped:
                    said = errors.decode(errors="replace")[-500:]
                    _log.error("a report could not be drawn: %s", said, extra={"window": task.window})
                return False
            took, megabytes = time.monotonic() - began, int(peak.split()[-1]) / 1e6
            _log.info("Evidently drew window %d in %.0f s with %.0f MB", task.window, took, megabytes)
            self.store.put(windows.opinions_key(*place), (folder / "opinions.json").read_bytes())
            self.store.put(windows.evidently_key(*place), (folder / "report.html").read_bytes())
        return True

    def _losses(self, task: Task, file: Path) -> None:
        """The newest labelled rows' losses up to the window, from its records; no file where there are none."""
        by_window = windows.keys_by_window(
            self.store, task.model, task.about.version, after=max(0, task.window - DETECTED_WINDOWS)
        )
        parts, rows = [], 0
        for window in sorted((w for w in by_window if w <= task.window), reverse=True):
            key = windows.newest(by_window[window], "realised")
            if key is None or rows >= DETECTED_ROWS:
                continue
            try:
                parts.append(facts.realised_of(read_record(self.store, key, "window-realised")))
            except (NotFound, DataError):
                continue
            rows += parts[-1].labelled
        if rows:
            yardstick = task.about.yardstick
            n, total, first = newest(parts[::-1], DETECTED_ROWS)
            found = row_by_row(n.tolist(), total.tolist(), first.tolist(), yardstick.cap, binary=yardstick.binary)
            pq.write_table(found, file)
