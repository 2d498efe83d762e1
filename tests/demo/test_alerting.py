"""The demo's Prometheus and Alertmanager: found or named, started, asked."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.monitoring.stream import MODEL, Stream
from tests.servers.prometheus import program

from trimtab.core import settings as settings_module
from trimtab.core.errors import ProjectError
from trimtab.core.store import Store
from trimtab.demo.alerting import Alerting, find_programs
from trimtab.demo.facts import Facts, Window
from trimtab.demo.follow import Follower
from trimtab.demo.processes import Processes
from trimtab.demo.view import summary
from trimtab.monitoring import campaign_open, windows


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_programs_are_found_in_the_named_folder_in_the_clone_and_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    plain = settings_module.load({"HOME": str(tmp_path)})
    with pytest.raises(ProjectError, match="make servers") as missing:
        find_programs(plain, tmp_path)
    assert "TRIMTAB_PROMETHEUS_BIN=<folder>" in missing.value.sentence()
    executable(tmp_path / "path" / "prometheus")
    debian = executable(tmp_path / "path" / "prometheus-alertmanager")
    assert find_programs(plain, tmp_path)["alertmanager"] == debian
    clone = executable(tmp_path / ".servers" / "prometheus" / "prometheus")
    assert find_programs(plain, tmp_path)["prometheus"] == clone
    named = settings_module.load({"HOME": str(tmp_path), "TRIMTAB_PROMETHEUS_BIN": str(tmp_path / "mine")})
    with pytest.raises(ProjectError, match="needs prometheus"):
        find_programs(named, tmp_path)
    mine = [executable(tmp_path / "mine" / name) for name in ("prometheus", "alertmanager")]
    assert list(find_programs(named, tmp_path).values()) == mine


def test_both_start_scrape_and_end(tmp_path: Path) -> None:
    processes = Processes({**os.environ}, tmp_path)
    programs = {name: program(name) for name in ("prometheus", "alertmanager")}
    alerting = Alerting(processes, programs, tmp_path / "prometheus")
    (tmp_path / "token").write_text("t")
    try:
        alerting.start({"hook": "127.0.0.1:9"}, "http://127.0.0.1:9", tmp_path / "token")
        assert alerting.posts() == 0
        assert not alerting.nudging("v1-aaaaaaaa")
        assert alerting.fired() == []
        processes.check()
    finally:
        processes.stop()
    assert alerting.posts() == 0


class Told:
    """An Alertmanager that has the alert, and tells the hook once more at each look."""

    def __init__(self) -> None:
        self.told = 0

    def nudging(self, version: str) -> bool:
        return True

    def posts(self) -> int:
        self.told += 1
        return self.told


def verdict(store: Store, version: str) -> windows.Verdict:
    now = datetime(2026, 11, 21, 8, tzinfo=UTC).isoformat()
    facts: dict[str, Any] = {
        "window": 1, "version": version, "verdict": "drift", "layers": {"realised": "drift"}, "fields": [],
        "since": None, "cost_per_day": 1.0, "words": "", "rows": 100, "labelled": 100, "performance": {},
        "report": "", "first_time": now, "last_time": now, "cause": "cannot tell",
    }  # fmt: skip
    windows.create_next(store, windows.folder(MODEL, version, 1), "verdict", "verdict", facts, 1)
    said = windows.latest(store, MODEL, version)
    assert said is not None
    return said


def test_a_campaign_is_the_answer_and_a_refusal_is_noticed(store: Store, tmp_path: Path) -> None:
    version = Stream(store, tmp_path).publish()
    said = verdict(store, version)
    follower = Follower(store, MODEL, 100, lambda _: True, lambda: None, Told())  # type: ignore[arg-type]
    assert follower.wait_for_alarm(said) is None, "told twice, and no campaign: refused"
    opened = campaign_open.answer(store, MODEL, why="TrimtabDrift (Prometheus): it has drifted")
    assert opened.campaign == 1
    alarm = follower.wait_for_alarm(said)
    assert alarm is not None
    assert (alarm.campaign, alarm.trigger) == (1, "TrimtabDrift (Prometheus)")
    assert [a.trigger for a in follower.alarms(version)] == ["TrimtabDrift (Prometheus)"]


def test_the_table_names_the_trigger_and_fits_a_narrow_terminal(tmp_path: Path) -> None:
    rows = [
        Window(n, 69, 50, 60, "v1-aaaaaaaa", {"v1-aaaaaaaa": 30, "v2-bbbbbbbb": 39}, "drift", "", n, trigger)
        for n, trigger in enumerate(("TrimtabDrift (Prometheus)", "TrimtabDrift (watch)"), 1)
    ]
    facts = Facts("digits", "file:///s", "/f", "file order", None, windows=rows)
    facts.campaigns = [{"trigger": w.trigger} for w in rows]
    facts.alerts = [{"alert": "TrimtabDrift", "severity": "warning", "version": "v1-aaaaaaaa", "seconds": 3}]
    with (tmp_path / "out").open("w") as out:
        summary(Console(file=out, width=80), facts)
    lines = (tmp_path / "out").read_text().splitlines()
    assert lines[1].split() == ["1", "69", "72.5%", "87.0%", "v1-aaaaaaaa", "+1", "drift", "#1", "opens", "Prometheus"]
    assert lines[2].rstrip().endswith("watch")
    assert any("opened by" in line and "TrimtabDrift (Prometheus)" in line for line in lines)
    assert any("alerts that fired" in line and "TrimtabDrift (warning)" in line for line in lines)
