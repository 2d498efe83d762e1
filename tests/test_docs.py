"""The commands of the README and the docs are executed, one page at a time, in a folder with a copy of the examples."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.serving.bundles import free_ports

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
]
# The README's are the demo and more; a server starts many times in those of docs/serving.md.
SLOW = (ROOT / "README.md", ROOT / "docs/serving.md")
# Further pages whose links are followed; their commands are for the hour in which they are needed.
LINKED = [*PAGES, *sorted((ROOT / "docs/decisions").glob("*.md")), *sorted((ROOT / "monitoring/runbooks").glob("*.md"))]
BLOCK = re.compile(r"(?:<!-- run: no, (?P<why>[^>]+) -->\n)?```sh\n(?P<code>.*?)```", re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)")


def commands(page: Path) -> str:
    """The page's shell blocks as one script; a block with `<!-- run: no, … -->` before it is left out."""
    return "\n".join(m["code"] for m in BLOCK.finditer(page.read_text()) if not m["why"])


def identity(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=pytest.mark.campaign) if p in SLOW else p for p in PAGES if commands(p)],
    ids=identity,
)
def test_commands_of_the_page_run(page: Path, tmp_path: Path) -> None:
    # Where a reader stands: at the repository's root, as far as a page names what is there.
    if "examples/" in commands(page):
        shutil.copytree(ROOT / "examples", tmp_path / "examples")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        **dict(zip(("PORT", "METRICS_PORT"), map(str, free_ports(2)), strict=True)),
    }
    # What a page leaves running ends with it.
    script = "set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n" + commands(page)
    run = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert run.returncode == 0, f"{identity(page)}: exit {run.returncode}\n{run.stdout[-3000:]}\n{run.stderr[-3000:]}"


@pytest.mark.parametrize("page", LINKED, ids=identity)
def test_links_lead_somewhere(page: Path) -> None:
    broken = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert not broken


def test_every_command_is_in_the_changelog() -> None:
    from trimtab.cli.commands import PANELS

    text = (ROOT / "CHANGELOG.md").read_text()
    assert [name for names in PANELS.values() for name in names if name not in text] == []
