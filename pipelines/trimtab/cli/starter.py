"""The text of a starter project file: for bundled data, or for the user's own table with its guesses marked."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from trimtab.core.blocks import BUILT_IN

if TYPE_CHECKING:
    from trimtab.ingest.guess import Guess, Table

STARTER = """\
# A Trimtab project. Every key: docs/project-file.md. Check it with: trimtab check {file}
# Then: trimtab run {file}
name: {name}                # project and model: at most 28 of a-z, 0-9, '-'

task:
  kind: classification      # or regression
  target: species           # what is predicted; not listed under fields
  statement: Name an iris by its measurements.   # the problem in words, for the reports

data:
  source: sklearn:iris      # or a file (people.csv, people.parquet), or {{path: people.csv, delimiter: ";"}}
  test_fraction: 0.2        # share of the rows in the one sealed test

fields:                     # what a row holds; kinds: number, category, image, text, time, id
  sepal_length: {{kind: number, unit: cm}}
  sepal_width: {{kind: number, unit: cm}}
  petal_length: {{kind: number, unit: cm}}
  petal_width: {{kind: number, unit: cm, nullable: true}}   # nullable: may be missing, is then imputed
  row_id: {{kind: id}}        # never given to the model; labels find their rows by it

candidates:                 # the models to try
  linear:
  mlp: {{params: {{hidden: [32]}}}}

metric: accuracy            # what decides between them
gates:                      # what the winner must reach before it is published
  beats_baseline: true
  at_least: {{accuracy: 0.8}}

# windows: {{rows: 300}}      # how predictions are watched
# campaign: {{follow_ups: 1}} # how drift is answered
# rollout: {{strategy: canary, shares: [10, 50]}}
"""


def scalar(text: str) -> str:
    """Text as YAML that reads as the same text.

    >>> scalar("age"), scalar("yes"), scalar("sepal length (cm)")
    ('age', '"yes"', '"sepal length (cm)"')
    """
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]*", text) and yaml.safe_load(text) == text
    return text if plain else json.dumps(text, ensure_ascii=False)


def project_name(text: str) -> str:
    """A project's name from a file's or folder's.

    >>> project_name("My Table 2024"), project_name("7")
    ('my-table-2024', 'p-7')
    """
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    name = name if name[:1].isalpha() else f"p-{name}"
    return name[:28].strip("-") or "project"


def from_table(table: Table, source: str, name: str, file: str) -> str:
    """A project file for a table; every guess has a comment that starts with `guess:`.

    Args:
        table: what was found out.
        source: the table's path, as the project file will find it.
        name: the project's name.
        file: the project file's own name, for its comments.
    """
    target = table.target
    metric = "accuracy" if table.task == "classification" else "mae"
    options = "".join(
        f", {key}: {json.dumps(value, ensure_ascii=False)}" for key, value in sorted(table.options.items())
    )
    where = f"{{path: {json.dumps(source, ensure_ascii=False)}{options}}}" if options else scalar(source)
    column = f"\n  column: {scalar(target.column)}" if target.column != target.name else ""
    image = any(g.kind == "image" for g in table.fields)
    candidates = [c for c in BUILT_IN if c != "cnn" or image]
    fields = "\n".join(_line(g) for g in table.fields)
    return f"""\
# A Trimtab project for {Path(source).name}: {table.rows:,} rows.
# What follows `guess:` was guessed from the values: look at each, then: trimtab check {file} && trimtab run {file}
# Every key: docs/project-file.md
name: {name}

task:
  kind: {table.task}  # guess: {_comment(table.why_task)}
  target: {scalar(target.name)}  # guess: {_comment(table.why_target)}{column}
  statement: ""  # the problem in words, for the reports
  rows_per_day: 0  # predictions a day, for figures people can picture

data:
  source: {where}{"  # guess: how the file is written" if options else ""}
  test_fraction: 0.15  # share of the rows in the one sealed test

fields:
{fields}

candidates:
{chr(10).join(f"  {c}:" for c in candidates)}

metric: {metric}
gates:
  beats_baseline: true
"""


def _line(guess: Guess) -> str:
    if guess.kind is None:
        return (
            f"  # guess: the column {json.dumps(guess.column, ensure_ascii=False)} is left out: {_comment(guess.why)}"
        )
    parts = [f"kind: {guess.kind}"]
    if guess.column != guess.name:
        parts.append(f"column: {scalar(guess.column)}")
    if guess.shape:
        parts.append(f"shape: {list(guess.shape)}")
    if guess.nullable:
        parts.append("nullable: true")
    if guess.dtype != "float64":
        parts.append(f"dtype: {guess.dtype}")
    return f"  {guess.name}: {{{', '.join(parts)}}}  # guess: {_comment(guess.why)}"


def _comment(text: str) -> str:
    """Text that stays on its line."""
    return re.sub(r"\s+", " ", text)[:160]
