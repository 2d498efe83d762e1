"""The layout holds: one namespace over four folders, files of a readable size."""

from __future__ import annotations

import statistics
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("components", "pipelines", "serving", "monitoring")
# All that the repository's top level holds; what is new there is put elsewhere, or named here for a reason.
TOP = {
    *FOLDERS, "manifests", "tests", "benchmarks", "docs", "examples", "typings", ".ci", ".github",
    "Dockerfile", ".dockerignore", "Makefile", "pyproject.toml", "constraints.txt", "README.md", "CHANGELOG.md",
    "LICENSE", ".gitignore",
}  # fmt: skip


def sources() -> list[Path]:
    return [p for folder in FOLDERS for p in (ROOT / folder / "trimtab").rglob("*.py")]


def test_no_portion_of_the_namespace_hides_the_others() -> None:
    assert [f for f in FOLDERS if (ROOT / f / "trimtab" / "__init__.py").exists()] == []


def test_the_top_level_holds_known_names_alone() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:  # a source archive has no history: what lies there was unpacked
        return
    names = {path.partition("/")[0] for path in tracked.stdout.split("\0") if path}
    assert names - TOP == set()
    assert {*FOLDERS, "manifests", "tests", "Dockerfile", "pyproject.toml", "README.md"} <= names


def test_every_package_below_is_a_package() -> None:
    assert [p for p in sources() if not (p.parent / "__init__.py").exists()] == []


def test_files_stay_readable() -> None:
    lengths = {p: len(p.read_text().splitlines()) for p in sources()}
    assert {str(p): n for p, n in lengths.items() if n > 400} == {}
    assert statistics.median(lengths.values()) < 150


def test_every_stage_has_the_same_files() -> None:
    stages = sorted(p.parent for p in (ROOT / "components" / "trimtab").glob("*/component.py"))
    assert len(stages) >= 11
    wanted = {"__init__.py", "stage.py", "component.py", "README.md"}
    assert {
        s.name: wanted - {p.name for p in s.iterdir()} for s in stages if wanted - {p.name for p in s.iterdir()}
    } == {}


def test_nothing_prints_or_pickles() -> None:
    words = ("import pickle", "torch.load(", "joblib")
    found = [(p.name, w) for p in sources() for w in words if w in p.read_text()]
    assert found == []
