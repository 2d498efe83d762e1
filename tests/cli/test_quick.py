"""`serve` is read without Typer where its words are plainly right; both readings are the same."""

from __future__ import annotations

import functools
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from trimtab.cli import serve as module
from trimtab.cli.quick import arguments_of
from trimtab.cli.serve import serve

DEFAULTS = {name: parameter.default for name, parameter in inspect.signature(serve).parameters.items()}


def by_typer(words: list[str]) -> dict[str, Any] | None:
    """What Typer gives the command; None where it refuses."""
    seen: list[dict[str, Any]] = []

    @functools.wraps(serve)
    def note(**given: Any) -> None:
        seen.append(given)

    vars(module).setdefault("typer", typer)
    app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})
    app.command()(note)
    CliRunner().invoke(app, words)
    return seen[0] if seen else None


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["digits"],
        ["--port", "0", "digits", "--host", "0.0.0.0"],
        ["digits", "--port=8081", "--poll-seconds", "0.5", "--workers=2"],
        ["--require-key", "digits", "--spool", "/tmp/x y", "--latency-ms", "1e3"],
        ["--no-require-key", "--body-mib", "0.5"],
        ["--port", "1", "--port", "2"],
        ["--hook-url", "", "digits"],
        ["--hook-url=a=b", "digits"],
        ["--require-key", "--no-require-key"],
    ],
)
def test_what_is_right_is_read_the_same(words: list[str]) -> None:
    quick = arguments_of(serve, words)
    assert quick is not None
    assert {**DEFAULTS, **quick} == by_typer(words)


@pytest.mark.parametrize(
    "words",
    [
        ["-h"], ["--help"], ["--"], ["-"], ["digits", "more"], ["--prot", "1"], ["--port"], ["--port", "x"],
        ["--port", "-1"], ["--port", "65536"], ["--port", "1.5"], ["--poll-seconds", "nan"], ["--workers", "0"],
        ["--require-key=yes"], ["--no-port"], ["--port", "--host"], ["-p", "1"], ["--metrics_port", "1"], ["--=1"],
    ],
)  # fmt: skip
def test_everything_else_is_left_to_typer(words: list[str]) -> None:
    assert arguments_of(serve, words) is None


WORDS = ["--port", "--host", "--workers", "--spool", "--latency-ms", "--require-key", "--no-require-key", "--port=7",
         "0", "1", "0.5", "-1", "a", "é", "", " 8", "1_0", "0x10", "1e400", "--", "-h", "٣"]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=5))
def test_where_both_read_they_read_the_same(words: list[str]) -> None:
    quick = arguments_of(serve, words)
    if quick is not None:
        assert {**DEFAULTS, **quick} == by_typer(words)


def test_a_right_command_line_needs_no_typer(tmp_path: Path) -> None:
    code = """import sys
import trimtab.cli.serve as module, trimtab.cli.app as app
module.load = lambda: sys.exit(0 if {"typer", "pydantic", "rich"}.isdisjoint(sys.modules) else 1)
sys.argv = ["trimtab", "serve", "digits", "--port", "0"]
app.main()"""
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=tmp_path).returncode == 0
