"""`make servers` on dockerd: a sentence where it cannot run, which fails only where CI counts on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.servers import install_docker, packages


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRIMTAB_TEST_DOCKER", "CI"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_without_root_it_names_the_way_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ci: str, code: int
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("CI", ci)
    assert install_docker.install(tmp_path / "docker") == code
    assert "TRIMTAB_TEST_DOCKER=unix:///var/run/docker.sock" in capsys.readouterr().err
    monkeypatch.setenv("TRIMTAB_TEST_DOCKER", "unix:///var/run/docker.sock")
    assert install_docker.install(tmp_path / "docker") == 0
    assert not (tmp_path / "docker").exists()


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    for name in ("base.ready", install_docker.REGISTRY):
        (tmp_path / name).write_text("there\n")
    assert install_docker.registry(tmp_path) == install_docker.base(tmp_path) == 0
    assert {file.read_text() for file in tmp_path.iterdir()} == {"there\n"}


def test_a_package_that_cannot_be_had_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("apt-get", "dpkg"):
        (tmp_path / name).write_text("#!/bin/sh\necho E: Unable to locate package >&2; exit 100\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install_docker.registry(tmp_path / "docker") == 0
    said = capsys.readouterr().err
    assert "no docker-registry to push to" in said
    assert "E: Unable to locate package" in said
    said = packages.run("apt-get", "install", *"abcdef")
    assert said == "`apt-get install a b c d …` failed: E: Unable to locate package"
