"""Evidently's report: drawn in a child process when a verdict changes, bounded, guarded per column."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.monitoring.stream import MODEL, Stream, draw

from trimtab.core.store import Store
from trimtab.monitoring.drift import Column
from trimtab.monitoring.report import ROWS, Reporter, frame, page
from trimtab.monitoring.watch import Watch


@pytest.mark.timeout(180)
def test_a_report_is_drawn_when_the_verdict_changes(store: Store, tmp_path: Path) -> None:
    """Of a window with a poisoned column too: the others are still drawn."""
    stream = Stream(store, tmp_path)
    version, rng = stream.publish(), np.random.default_rng(0)
    reporter = Reporter(store)
    watch = Watch(store, MODEL, reporter=reporter, clock=lambda: stream.now)
    stream.label(stream.answer(version, draw(rng, 100)))
    watch.step()
    rows = draw(rng, 100, flip=0.4)
    rows["b"][:] = np.nan
    stream.label(stream.answer(version, rows))
    (said,) = watch.step()
    reporter.wait()
    reporter.stop()
    assert list(store.list("reports/")) == [said.report]
    text = store.get(said.report).decode()
    assert len(text) > 100_000
    assert "window 2: drift" in text
    assert "Left out, with fewer than two values: b." in text
    assert "they draw, they do not decide" in text
    assert "plan" in text


def test_samples_are_bounded_and_images_summarised() -> None:
    columns = [Column("image", "image", (8, 8)), Column("x", "number")]
    rng = np.random.default_rng(1)
    table = frame({"image": rng.random((5000, 64)), "x": rng.random(5000)}, columns)
    assert table.num_rows == ROWS
    assert "image contrast" in table.column_names
    assert "image" not in table.column_names


def test_the_page_escapes_what_it_says() -> None:
    text = page(["title", "<script>"], "<html><body class='a'><div>x</div></body></html>")
    assert "&lt;script&gt;" in text
    assert text.index("<body") < text.index("title") < text.index("<div>x")
    assert "title" in page(["title"], "no page")


def test_a_report_that_fails_is_said_and_does_not_end_the_watch(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    reporter = Reporter(store)
    table = frame({"x": np.arange(5.0)}, [Column("x", "number")])
    assert reporter.draw("reports/a/drift.html", table, table, {"title": "t", "words": "w"})
    reporter.wait()
    reporter.stop()
    assert not store.exists("reports/a/drift.html")
    assert "could not be drawn" in caplog.text


def test_the_watch_starts_without_the_heavy_libraries() -> None:
    code = (
        "import sys, trimtab.monitoring.watch, trimtab.cli.watch\n"
        "heavy = {'evidently', 'pandas', 'river', 'polars', 'torch', 'sklearn', 'onnxruntime', 'scipy.stats'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
