"""`make servers` brings a browser where none is, and says what to do where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.servers import install_browser


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TRIMTAB_TEST_CHROMIUM", raising=False)
    monkeypatch.setattr(install_browser, "MAC", tmp_path / "none")


def program(folder: Path, name: str, script: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    return folder / name


def test_a_browser_that_is_there_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chrome = program(tmp_path / "bin", "google-chrome")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert install_browser.find() == chrome
    assert install_browser.install() == 0
    other = program(tmp_path / "elsewhere", "browser")
    monkeypatch.setenv("TRIMTAB_TEST_CHROMIUM", str(other))
    assert install_browser.find() == other


def test_debian_s_is_installed_where_none_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, calls = tmp_path / "bin", tmp_path / "calls"
    # Its lists are old at first.
    install = f"[ -e {place}/lists ] || exit 100; echo > {place}/chromium; /bin/chmod +x {place}/chromium"
    update = f'echo "$@" >> {calls}; if [ "$1" = update ]; then echo > {place}/lists; exit; fi'
    program(place, "apt-get", f"{update}\n{install}")
    program(place, "sudo", 'shift; exec "$@"')
    monkeypatch.setenv("PATH", str(place))
    assert install_browser.install() == 0
    assert install_browser.install() == 0
    assert [line.split()[0] for line in calls.read_text().splitlines()] == ["install", "update", "install"]


@pytest.mark.parametrize("apt", [False, True])
def test_without_one_it_names_the_way_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], apt: bool
) -> None:
    if apt:
        program(tmp_path / "bin", "apt-get", "echo no such package >&2; exit 100")
        program(tmp_path / "bin", "sudo", 'shift; exec "$@"')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert install_browser.install() == (1 if apt else 2)
    said = capsys.readouterr().err
    assert "TRIMTAB_TEST_CHROMIUM" in said
    assert ("no such package" in said) == apt


def test_a_name_that_is_no_program_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRIMTAB_TEST_CHROMIUM", str(tmp_path / "none"))
    assert install_browser.install() == 2
