"""A small real project, and how its runs are watched and interrupted."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from trimtab.core.project import Project, parse_project

T = TypeVar("T")

QUICK = """
name: quick
task: {kind: classification, target: species}
data: {source: {sklearn: iris}, folds: 2}
fields:
  sepal_length: {kind: number}
  sepal_width: {kind: number}
  petal_length: {kind: number}
  petal_width: {kind: number}
candidates:
  linear: {params: {epochs: 4}}
gates: {beats_baseline: true}
"""


@pytest.fixture
def quick() -> Project:
    return parse_project(QUICK, "quick.yaml")


@pytest.fixture
def project_file(tmp_path: Path) -> Path:
    file = tmp_path / "project.yaml"
    file.write_text(QUICK)
    return file


def trimtab(arguments: list[str], store_url: str, home: Path, **options: Any) -> subprocess.Popen[str]:
    """`trimtab …` as a process in a session of its own."""
    environment = {**os.environ, "TRIMTAB_STORE": store_url, "TRIMTAB_HOME": str(home), "NO_COLOR": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "trimtab.cli.app", *arguments],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **options,
    )  # fmt: skip


def until(condition: Callable[[], T], seconds: float = 120.0) -> T:
    """What `condition` gives as soon as that is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not so within {seconds} s")


def processes_of(marker: str) -> list[int]:
    """The processes of this machine whose command line names the marker."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if marker in line and state not in "ZX":
                found.append(int(entry.name))
    return found
