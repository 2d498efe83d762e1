"""`make servers`: Prometheus unpacked from Debian's package, Alertmanager built, or a sentence that says the way."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tests.servers import install_prometheus as subject

APT = """case "$*" in
*update*) test -z "$NO_NETWORK" ;;
*download*) test -n "$LISTS" -o "$2" = -o || { echo "E: Unable to locate package prometheus" >&2; exit 100; }
  echo packed > prometheus_2_amd64.deb ;;
esac"""
DPKG = """mkdir -p "$3/usr/bin"
for p in prometheus promtool; do echo "$2" > "$3/usr/bin/$p"; chmod +x "$3/usr/bin/$p"; done"""
GO = 'for p in alertmanager amtool; do echo "$@" > "$GOBIN/$p"; chmod +x "$GOBIN/$p"; done'


def programs(folder: Path, **scripts: str) -> str:
    """A PATH with commands that do what the scripts say, and the few that the scripts need."""
    folder.mkdir()
    for name, script in scripts.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\necho {path.name} $@ >> {folder}/calls\n{script}\n")
        path.chmod(0o755)
    for name in ("sh", "mkdir", "chmod", "echo", "test"):
        (folder / name).symlink_to(str(shutil.which(name)))
    return str(folder)


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRIMTAB_PROMETHEUS_BIN", raising=False)


def test_it_is_brought_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path / "bin", apt_get=APT, dpkg=DPKG, go=GO))
    monkeypatch.setenv("LISTS", "there")
    for _ in range(3):
        assert subject.install(tmp_path / "here") == 0
    assert sorted(p.name for p in (tmp_path / "here").iterdir()) == ["alertmanager", "amtool", "prometheus", "promtool"]
    assert all(os.access(p, os.X_OK) for p in (tmp_path / "here").iterdir())
    calls = (tmp_path / "bin" / "calls").read_text().splitlines()
    assert [c.split()[0] for c in calls] == ["apt-get", "dpkg", "go"]


def test_without_package_lists_it_fetches_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path / "bin", apt_get=APT, dpkg=DPKG, go=GO))
    assert subject.install(tmp_path / "here") == 0
    calls = (tmp_path / "bin" / "calls").read_text().splitlines()
    assert ["update" in c for c in calls] == [False, True, False, False, False]
    assert "Dir::State::lists=" in calls[2]


def test_a_failure_is_said_with_the_way_round_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path / "bin", apt_get=APT, dpkg=DPKG, go=GO))
    monkeypatch.setenv("NO_NETWORK", "1")
    assert subject.install(tmp_path / "here") == 1
    said = capsys.readouterr().err
    assert "apt-get" in said
    assert "TRIMTAB_PROMETHEUS_BIN=<folder>" in said
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize(("there", "lacks"), [({"go": GO}, "Debian packages"), ({"apt_get": APT, "dpkg": DPKG}, "Go")])
def test_a_system_without_the_means_is_told_the_way_round(
    there: dict[str, str],
    lacks: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path / "bin", **there))
    assert subject.install(tmp_path / "here") == 2
    said = capsys.readouterr().err
    assert lacks in said
    assert "brew install prometheus alertmanager" in said


def test_a_named_folder_counts_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine"
    monkeypatch.setenv("PATH", programs(tmp_path / "bin", prometheus="", promtool="", alertmanager="", amtool=""))
    assert set(subject.find(tmp_path / "here")) == {"prometheus", "promtool", "alertmanager", "amtool"}
    programs(mine, prometheus="", promtool="", alertmanager="")
    monkeypatch.setenv("TRIMTAB_PROMETHEUS_BIN", str(mine))
    assert subject.find(tmp_path / "here")["promtool"] == mine / "promtool"
    assert subject.install(tmp_path / "here") == 2
    assert "holds no amtool" in capsys.readouterr().err
