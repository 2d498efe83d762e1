"""A verdict in words and over time, from the store alone; the commands that show it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from tests.monitoring.stream import MODEL, Stream, draw
from tests.monitoring.world import Dying
from typer.testing import CliRunner

from trimtab.cli.commands import make_app
from trimtab.core.errors import NotFound, ProjectError, StoreError
from trimtab.core.records import parse_time
from trimtab.core.store import Store, open_store
from trimtab.monitoring import windows
from trimtab.monitoring.explanation import explain
from trimtab.monitoring.overtime import over_time, since_of
from trimtab.monitoring.watch import Watch

APP = make_app()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Stream, str]:
    """Seven windows: four quiet, three in which the answers have changed; labels of the fifth came twice."""
    folder = tmp_path_factory.mktemp("explained")
    store = open_store(f"file://{folder / 'store'}")
    stream = Stream(store, folder)
    version, rng = stream.publish(), np.random.default_rng(0)
    watch = Watch(store, MODEL, clock=lambda: stream.now)
    for i in range(7):
        at = stream.answer(version, draw(rng, 100, flip=0.3 if i >= 4 else 0.0))
        watch.step()
        if i == 4:
            stream.label(at, slice(0, 40), turned=True)
        stream.label(at, slice(0, 80))
        watch.step()
    return stream, version


class ReadOnly(Dying):
    def _write(self, do: object) -> None:
        raise StoreError("reading only", object="")


def test_a_verdict_is_explained_with_its_numbers(watched: tuple[Stream, str]) -> None:
    stream, version = watched
    found = explain(ReadOnly(stream.store), MODEL, version, 5)
    assert found["verdict"] == "drift"
    told = " ".join(found["paragraphs"])
    assert found["words"] in told
    assert "The window holds 100 rows answered from" in told
    assert "80 of them labelled" in told
    assert "40 rows have labels of different values; the newest counts." in told
    assert found["history"][0]["labelled"] == 0
    assert [layer["layer"] for layer in found["layer_facts"]] == ["inputs", "expected", "realised"]
    assert {s["name"].split(" ")[0] for s in found["slices"]} == {"plan", "a", "b"}
    assert found["slices"][0]["harm"] >= found["slices"][-1]["harm"]
    assert sum(f["rows"] for f in found["files"]) == 100
    json.dumps(found)


def test_a_window_that_is_not_there_is_said(watched: tuple[Stream, str]) -> None:
    stream, version = watched
    with pytest.raises(NotFound, match="windows 1 to 7"):
        explain(stream.store, MODEL, version, 8)
    with pytest.raises(NotFound, match="none was cut yet"):
        explain(stream.store, MODEL, "v9-00000000", 1)


def test_drift_over_time_has_episodes_and_reads_no_older_record(watched: tuple[Stream, str]) -> None:
    stream, _ = watched
    every = over_time(ReadOnly(stream.store), MODEL, stream.now - timedelta(days=1))
    assert [w["window"] for w in every["windows"]] == [1, 2, 3, 4, 5, 6, 7]
    assert every["counts"]["drift"] == 3
    (episode,) = [e for e in every["episodes"] if e["verdict"] == "drift"]
    assert (episode["first_window"], episode["last_window"], episode["over"]) == (5, 7, False)
    began = parse_time(episode["since"]["point"])
    assert abs(began - (stream.now - timedelta(seconds=300))) < timedelta(seconds=60)

    class Counting(ReadOnly):
        read: list[str] = []  # noqa: RUF012 - one test's

        def get(self, key: str) -> bytes:
            self.read.append(key)
            return super().get(key)

    counting = Counting(stream.store)
    counting.url = f"{stream.store.url}/counted"  # verdicts that others have read are remembered by the store's URL
    newest = over_time(counting, MODEL, stream.now - timedelta(seconds=150))
    assert [w["window"] for w in newest["windows"]] == [6, 7]
    assert len(counting.read) == 5  # two, and three that are older
    assert over_time(stream.store, MODEL, stream.now)["windows"] == []
    assert over_time(stream.store, "other", stream.now - timedelta(days=1))["windows"] == []


def test_fields_over_time_are_those_that_moved(store: Store, tmp_path: Path) -> None:
    stream = Stream(store, tmp_path)
    version, rng = stream.publish(), np.random.default_rng(1)
    watch = Watch(store, MODEL, clock=lambda: stream.now)
    for shift in (0.0, -1.5, -1.5):
        stream.answer(version, draw(rng, 200, shift=shift))
        watch.step()
    found = over_time(store, MODEL, stream.now - timedelta(hours=1))
    assert found["fields"][0]["name"] in ("a", "_confidence")
    assert {f["name"]: f["windows"] for f in found["fields"]}["a"] == 4
    assert all(f["since"] == found["windows"][2]["first_time"] for f in found["fields"] if f["windows"] == 4)


@pytest.mark.parametrize(("text", "expected"), [("90m", 1.5), ("24h", 24), ("7d", 168), ("2w", 336), ("0.5h", 0.5)])
def test_spans_are_understood(text: str, expected: float) -> None:
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert now - since_of(text, now) == timedelta(hours=expected)
    with pytest.raises(ProjectError, match="24h"):
        since_of("yesterday", now)


def test_the_commands_show_it(watched: tuple[Stream, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stream, version = watched
    monkeypatch.setenv("TRIMTAB_STORE", stream.store.url)
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "home"))
    before = sorted(stream.store.list(""))
    run = CliRunner().invoke
    shown = run(APP, ["explain", "5", "--page", str(tmp_path / "page.html")])
    assert shown.exit_code == 0
    assert f"{MODEL} {version}, window 5: drift" in shown.output
    assert "parts of the traffic, the worst first" in shown.output
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    latest = json.loads(run(APP, ["explain", "--json"]).output)
    assert latest["window"] == 7
    listed = run(APP, ["drift", "--since", "2026-11-21"])
    assert listed.exit_code == 0
    assert "4 none" in listed.output
    assert "and still" in listed.output
    facts = json.loads(run(APP, ["drift", MODEL, "--since", "2026-11-21", "--version", version, "--json"]).output)
    assert facts["counts"]["drift"] == 3
    assert "no window ended since then" in run(APP, ["drift", "--since", "2031-01-01"]).output
    for wrong, words in (
        (["explain", "99"], "windows 1 to 7"),
        (["explain", "x"], "a number from 1"),
        (["explain", "9" * 20], "a number from 1"),
        (["explain", "9" * 5000], "a number from 1"),
        (["explain", "1", "--version", "../.."], f"expected {version}"),
        (["explain", "1", "--version", "v9"], f"expected {version}"),
        (["explain", "1", "--page", "/nonexist/x.html"], "a folder that exists"),
        (["explain", "1", "--page", str(tmp_path)], "a folder that exists"),
        (["explain", "5", "other"], "no model 'other'"),
        (["drift", "--since", "x"], "a span such as 24h"),
        (["drift", "--since", f"{'9' * 20}d"], "outside of the calendar"),
        (["drift", "--since", f"{'9' * 400}d"], "outside of the calendar"),
        (["drift", "--since", "0001-01-01T00:00:00+23:00"], "outside of the calendar"),
        (["drift", "--version", "v9"], f"expected {version}"),
    ):
        failed = run(APP, wrong)
        assert words in str(failed.exception), wrong
        assert failed.exit_code == 1
        assert getattr(failed.exception, "exit_code", None) == 2  # what `main` ends with, after a sentence
    assert sorted(stream.store.list("")) == before


def test_the_page_of_a_verdict_can_be_made_again(watched: tuple[Stream, str]) -> None:
    from trimtab.monitoring.reference import load
    from trimtab.monitoring.verdict_page import make

    stream, version = watched
    about = load(stream.store, MODEL, version)
    one, two = (make(ReadOnly(stream.store), about, MODEL, 6) for _ in range(2))
    assert one == two
    assert windows.page_key(MODEL, version, 6) == next(
        v.report for v in windows.verdicts(stream.store, MODEL, version) if v.window == 6
    )
