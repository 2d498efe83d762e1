"""Every alert has a runbook and every runbook an alert; its queries parse, its commands exist."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.monitoring.alerts.exported import exported, recorded
from tests.servers.prometheus import program

from trimtab.monitoring.alerts import rules
from trimtab.monitoring.alerts.thresholds import Thresholds

FOLDER = Path(__file__).resolve().parents[3] / "monitoring" / "runbooks"
BOOKS = sorted(FOLDER.glob("*.md"))
SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation", "Escalation"]
book = pytest.mark.parametrize("book", BOOKS, ids=lambda p: p.stem)


def queries(text: str) -> list[str]:
    return [q for block in re.findall(r"```promql\n(.*?)```", text, re.S) for q in block.splitlines() if q.strip()]


def commands(text: str) -> list[str]:
    """Lines of a block, and code within a sentence, that call us."""
    blocks = re.findall(r"^ {4,}(trimtab .*)$", text, re.M)
    flowing = re.sub(r"```.*?```", "", text, flags=re.S)
    return blocks + [re.sub(r"\s+", " ", c) for c in re.findall(r"`(trimtab [^`]*)`", flowing)]


def test_alerts_and_runbooks_belong_together() -> None:
    assert {p.stem for p in BOOKS} == set(rules.names(rules.alerts()))


@book
def test_it_has_its_sections_in_order(book: Path) -> None:
    text = book.read_text()
    assert text.startswith(f"# {book.stem}\n")
    assert re.findall(r"^## (.*)$", text, re.M) == SECTIONS
    parts = re.split(r"^## .*$", text, flags=re.M)[1:]
    assert all(len(p.split()) >= 8 for p in parts), "a section says next to nothing"
    assert queries(parts[2]), "no query to paste"
    assert commands(text), "no command"


def test_its_queries_parse(tmp_path: Path) -> None:
    every = [q for b in BOOKS for q in queries(b.read_text())]
    written = [{"record": f"check:n{i}", "expr": q} for i, q in enumerate(every)]
    (tmp_path / "q.yaml").write_text(yaml.safe_dump({"groups": [{"name": "q", "rules": written}]}))
    done = subprocess.run(
        [str(program("promtool")), "check", "rules", "q.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@book
def test_its_queries_ask_for_metrics_that_there_are(book: Path) -> None:
    known = exported().keys() | recorded()
    for query in queries(book.read_text()):
        bare = re.sub(r'"[^"]*"', "", query)
        for name in re.findall(r"\btrimtab[_:][a-z0-9_:]+", bare):
            assert re.sub(r"_(bucket|count|sum)$", "", name) in known, f"{query}: {name}"


def command_line() -> Any:
    import typer.main

    from trimtab.cli.commands import make_app

    return typer.main.get_command(make_app())


@book
def test_its_commands_exist(book: Path) -> None:
    group = command_line()
    for line in commands(book.read_text()):
        words = shlex.split(line)[1:]
        assert words[0] in group.commands, line
        known = {option for p in group.commands[words[0]].params for option in p.opts}
        assert [w for w in words if w.startswith("--") and w not in known] == [], line


@book
def test_its_links_lead_to_runbooks(book: Path) -> None:
    for target in re.findall(r"\]\(([^)]*)\)", book.read_text()):
        assert target.endswith(".md"), target
        assert (FOLDER / target).exists(), target


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("TrimtabRealisedLoss", {"unanswered_seconds": "15 minutes"}),
        ("TrimtabPredictionLogGaps", {"dropped_page_ratio": "1 %", "dropped_page_seconds": "15 minutes"}),
        ("TrimtabServerErrorsBurn", {"availability": "99.9 %"}),
        ("TrimtabServerLatencyBurn", {"latency_seconds": "0.1 s", "latency": "1 %"}),
        ("TrimtabStoreTrouble", {"store_errors": "three", "store_page_seconds": "15\nminutes"}),
        ("TrimtabWatchStale", {"stale_seconds": "five minutes"}),
        ("TrimtabLabelsLate", {"labels_ratio": "half", "labels_seconds": "six hours"}),
    ],
)
def test_the_figures_it_names_are_those_of_the_thresholds(name: str, words: dict[str, str]) -> None:
    said = {
        "unanswered_seconds": 900, "dropped_page_ratio": 0.01, "dropped_page_seconds": 900, "availability": 0.999,
        "latency_seconds": 0.1, "latency": 0.99, "store_errors": 3, "store_page_seconds": 900, "stale_seconds": 300,
        "labels_ratio": 0.5, "labels_seconds": 21_600,
    }  # fmt: skip
    text = (FOLDER / f"{name}.md").read_text()
    for threshold, phrase in words.items():
        assert getattr(Thresholds(), threshold) == said[threshold], f"{name}.md says {phrase}"
        assert phrase in text
