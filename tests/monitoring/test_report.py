"""Reports of verdicts: our page, Evidently's in a child process, second opinions; bounded, guarded per column."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.monitoring.stream import MODEL, Stream, draw

from trimtab.core.store import Store
from trimtab.monitoring import plots, windows
from trimtab.monitoring.detectors import DETECTORS
from trimtab.monitoring.drift import Column
from trimtab.monitoring.evidently_report import ROWS, TEXT, frame, page
from trimtab.monitoring.reference import load
from trimtab.monitoring.report import WAITING, Reporter, Task
from trimtab.monitoring.verdict_page import make
from trimtab.monitoring.watch import Watch


@pytest.mark.timeout(600)
def test_reports_are_drawn_when_the_verdict_changes(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a window with a poisoned column too: the others are still drawn."""
    caplog.set_level(logging.INFO)
    stream = Stream(store, tmp_path)
    version, rng = stream.publish(), np.random.default_rng(0)
    reporter = Reporter(store)
    watch = Watch(store, MODEL, reporter=reporter, clock=lambda: stream.now)
    stream.label(stream.answer(version, draw(rng, 100)))
    watch.step()
    for _ in range(2):
        rows = draw(rng, 100, flip=0.4)
        rows["b"][:] = np.nan
        stream.label(stream.answer(version, rows))
        watch.step()
    reporter.wait()
    reporter.stop()
    names = {(int(k.split("/")[4]), k.rpartition("/")[2]) for k in store.list("reports/")}
    # Every verdict that is not `none` has a page; Evidently draws where the verdict changed.
    assert names == {(2, "verdict.html"), (2, "drift.html"), (2, "opinions.json"), (3, "verdict.html")}
    (cost,) = re.findall(r"Evidently drew window 2 in \d+ s with (\d+) MB", caplog.text)
    assert 100 < int(cost) < 600
    text = store.get(windows.evidently_key(MODEL, version, 2)).decode()
    assert len(text) > 100_000
    assert "window 2: drift" in text
    assert "Left out, with fewer than two values: b." in text
    assert "they draw, they do not decide" in text
    assert "plan" in text
    said = json.loads(store.get(windows.opinions_key(MODEL, version, 2)))
    assert said["evidently"]["plan"]["method"] == "jensenshannon"
    assert said["rows"] == 200
    assert set(said["detectors"]) == set(DETECTORS)
    page = store.get(windows.page_key(MODEL, version, 2)).decode()
    assert len(page) < 1_000_000
    assert "Evidently" in page
    assert "flags from 0.1" in page
    assert "Second opinions, which do not decide" in page


def test_a_page_is_small_static_and_escaped(store: Store, tmp_path: Path) -> None:
    stream = Stream(store, tmp_path)
    version, rng = stream.publish(), np.random.default_rng(1)
    watch = Watch(store, MODEL, clock=lambda: stream.now)
    for shift in (0.0, 2.0):
        rows = draw(rng, 100, shift=shift)
        if shift:
            rows["plan"] = np.array(["<script>alert(1)</script>"] * 100)
        stream.label(stream.answer(version, rows))
        watch.step()
    page = make(store, load(store, MODEL, version), MODEL, 2)
    assert "<script" not in page
    assert "&lt;script&gt;" in page or "&lt;script" in page
    assert page.count("<svg") >= 4  # performance, calibration, and then and now of the fields that moved
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert len(page) < 100_000
    assert page.count("<table") == page.count("</table>")
    told = windows.latest(store, MODEL, version)
    assert told is not None
    assert told.words.split(".")[0] in page.replace("&#x27;", "'")


def test_a_page_of_images_and_numbers(store: Store) -> None:
    rng = np.random.default_rng(2)
    dark, bright = rng.random((50, 64)), rng.random((50, 64)) + 1
    drawn = plots.images(dark, bright, (8, 8))
    assert drawn.count("<rect") == 3 * 64
    big = plots.images(rng.random((5, 100 * 90 * 3)), rng.random((5, 100 * 90 * 3)), (100, 90, 3))
    assert big.count("<rect") <= 3 * plots.PIXELS**2
    for odd in (np.array([]), np.full(5, np.nan), np.full(5, np.inf), np.full(5, 3.0), np.array([1e308, -1e308])):
        assert plots.numbers(odd, rng.normal(size=10)).startswith("<svg")
        assert "nan" not in plots.numbers(odd, odd)
    empty = pa.array([], pa.string())
    assert "no value in either" in plots.categories(empty, empty)


def test_samples_are_bounded_and_images_summarised() -> None:
    columns = [Column("image", "image", (8, 8)), Column("x", "number")]
    rng = np.random.default_rng(1)
    table = frame({"image": rng.random((5000, 64)), "x": rng.random(5000)}, columns)
    assert table.num_rows == ROWS
    assert "image contrast" in table.column_names
    assert "image" not in table.column_names
    texts = frame({"plan": pa.array(["x" * 1_000_000, None])}, [Column("plan", "category")])
    assert texts["plan"].to_pylist() == ["x" * TEXT, None]


def test_the_page_escapes_what_it_says() -> None:
    text = page(["title", "<script>"], "<html><body class='a'><div>x</div></body></html>")
    assert "&lt;script&gt;" in text
    assert text.index("<body") < text.index("title") < text.index("<div>x")
    assert "title" in page(["title"], "no page")


def test_a_report_that_fails_is_said_and_does_not_end_the_watch(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    stream, reporter = Stream(store, tmp_path), Reporter(store)
    version = stream.publish()
    stream.answer(version, draw(np.random.default_rng(3), 100))
    Watch(store, MODEL, clock=lambda: stream.now).step()
    reporter.draw(MODEL, load(store, MODEL, version), 1, evidently=True)
    reporter.draw(MODEL, load(store, MODEL, version), 99, evidently=False)
    reporter.wait()
    reporter.stop()
    assert [k.rpartition("/")[2] for k in store.list("reports/")] == ["verdict.html"]
    assert caplog.text.count("could not be drawn") == 2


def test_when_too_many_wait_the_oldest_is_not_drawn(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, reporter = Stream(store, tmp_path), Reporter(store)
    version = stream.publish()
    about = load(store, MODEL, version)
    begun, go, drawn = threading.Event(), threading.Event(), []

    def slow(task: Task) -> None:
        begun.set()
        go.wait(30)
        drawn.append(task.window)

    monkeypatch.setattr(reporter, "_draw", slow)
    reporter.draw(MODEL, about, 1, evidently=False)
    begun.wait(30)
    for window in range(2, WAITING + 4):
        reporter.draw(MODEL, about, window, evidently=False)
    go.set()
    reporter.wait()
    reporter.stop()
    assert drawn == [1, *range(4, WAITING + 4)]
    assert "too many reports wait" in caplog.text


def test_the_watch_starts_without_the_heavy_libraries() -> None:
    code = (
        "import sys, trimtab.monitoring.watch, trimtab.cli.watch\n"
        "heavy = {'evidently', 'pandas', 'river', 'polars', 'torch', 'sklearn', 'onnxruntime', 'scipy.stats'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
