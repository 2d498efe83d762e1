"""The demo's parts: facts, picture, workspace, processes."""

from __future__ import annotations

import os
import sys
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from trimtab.core import settings as settings_module
from trimtab.core.errors import RunError
from trimtab.demo.facts import Facts, Window
from trimtab.demo.loop import Demo
from trimtab.demo.picture import draw
from trimtab.demo.processes import Processes, free_ports
from trimtab.demo.workspace import local_root, make_workspace


def facts() -> Facts:
    windows = [
        Window(1, 69, 50, 50, "v1-aaaaaaaa", {"v1-aaaaaaaa": 69}, "drift", "errors doubled", 1),
        Window(2, 69, 48, 66, "v2-bbbbbbbb", {"v1-aaaaaaaa": 30, "v2-bbbbbbbb": 39}, "none"),
        Window(3, 30, 20, 27, "v2-bbbbbbbb", {"v2-bbbbbbbb": 30}),
    ]
    return Facts("digits", "file:///s", "/f", "file order", None, windows=windows)


def test_totals_count_rows_not_windows() -> None:
    f = facts()
    assert f.rows == 168
    assert f.static_accuracy == pytest.approx(118 / 168)
    assert f.served_accuracy == pytest.approx(143 / 168)
    assert f.fewer_errors == pytest.approx(25 / 50)


def test_json_holds_what_the_window_properties_compute() -> None:
    plain = facts().as_json()
    assert plain["windows"][1]["served_accuracy"] == pytest.approx(66 / 69)
    assert {"static_accuracy", "served_accuracy", "retrains", "failed_requests", "wall_seconds"} <= plain.keys()


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    draw(facts(), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_two_workspaces_of_one_second_are_different(tmp_path: Path) -> None:
    settings = settings_module.load({"HOME": str(tmp_path), "TRIMTAB_STORE": (tmp_path / "s" / "store").as_uri()})
    spaces = [make_workspace(settings) for _ in range(3)]
    assert len({w.store_url for w in spaces}) == 3
    assert all(w.folder.parent == tmp_path / "s" / "demos" for w in spaces)
    assert all(oct((w.folder / "home").stat().st_mode)[-3:] == "700" for w in spaces)


def test_local_things_of_an_s3_store_stay_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert local_root("s3://bucket/prefix") == tmp_path / ".trimtab"


def test_a_process_that_dies_is_named_with_its_last_words(tmp_path: Path) -> None:
    processes = Processes({**os.environ}, tmp_path)
    processes.start("check", ["check", str(tmp_path / "no-such-file.yaml")])
    port = free_ports(1)[0]
    with pytest.raises(RunError, match="the check process ended with 2"):
        processes.wait_until_answers("check", f"http://127.0.0.1:{port}/")
    processes.stop()


def test_stop_ends_what_does_not_want_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.demo.processes.STOP_SECONDS", 0.5)
    port = free_ports(1)[0]
    stubborn = tmp_path / "python"
    stubborn.write_text(
        f"#!{sys.executable}\n"
        "import http.server, signal\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"http.server.HTTPServer(('127.0.0.1', {port}), http.server.SimpleHTTPRequestHandler).serve_forever()\n"
    )
    stubborn.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stubborn))
    processes = Processes({**os.environ}, tmp_path)
    processes.start("stubborn", [])
    processes.wait_until_answers("stubborn", f"http://127.0.0.1:{port}/")
    processes.stop()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1)


def test_what_is_kept_up_is_told_with_the_way_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    job: Any = Demo.__new__(Demo)
    addresses = {"TRIMTAB_SERVER_URL": "http://127.0.0.1:1", "TRIMTAB_HOOK_URL": "http://127.0.0.1:2"}
    job.processes = SimpleNamespace(environment=addresses, check=interrupted)
    job.settings = SimpleNamespace(token_file=tmp_path / "token")
    job.alerting, job.console = None, Console()
    with pytest.raises(KeyboardInterrupt):
        job.wait_until_interrupted()
    told = capsys.readouterr().out
    for words in (*addresses.values(), str(tmp_path / "token")):
        assert words in told
