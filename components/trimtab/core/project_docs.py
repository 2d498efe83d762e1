"""`docs/project-file.md`, made from the models of the project file, so that it cannot be wrong about them."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from trimtab.core import blocks
from trimtab.core.project import Project
from trimtab.core.project_check import block_of, settings
from trimtab.core.schema import NAME_RULE
from trimtab.core.sources import KEYS, SKLEARN

_BLOCKS = ("task", "data", "fields", "candidates", "gates", "resources", "serving", "rollout", "windows", "campaign")
_SHORT = {
    "data": "Short: `data: people.csv`.",
    "fields": (
        f"A mapping: the field's name ({NAME_RULE}), then its settings. `age: number` stands for "
        "`age: {kind: number}`. Their order is the order of arrays in requests. The target is not listed here."
    ),
    "candidates": (
        f"A mapping: a name, then settings, or a list of names. Built-in kinds: {', '.join(blocks.BUILT_IN)}. "
        "`linear:` alone takes every default."
    ),
}
_OPTIONS = "; ".join(
    f"`{kind}`: " + ", ".join(k for k in keys if k not in ("files", "package")) for kind, keys in KEYS.items()
)
_FORMS = (
    ("`people.csv`, `people.parquet`", "a file (.csv, .tsv, also with .gz, .parquet), a folder of them, or a pattern"),
    (
        '`{path: people.csv, delimiter: ";", encoding: latin-1, nulls: ["n/a"], rows: [0, 500]}`',
        "the same with options; `nulls` are texts that mean missing",
    ),
    (
        "`sklearn:iris` or `{sklearn: iris, rows: [0, 100], order_seed: 3}`",
        f"bundled data: {', '.join(SKLEARN)}; `order_seed` permutes all rows before `rows` are taken",
    ),
    ("`dataset:<name>/<digest>`", "a dataset of the store"),
    (
        "`{log: {model, since, until, labels_until, judge_from, against}}`",
        "labelled rows of the prediction log; times are RFC 3339, `until` is exclusive, judged on from `judge_from`",
    ),
)
_SOURCES = [
    "A source is one of these, or a list of them (their rows follow each other):",
    "",
    "| form | rows |",
    "|---|---|",
    *(f"| {form} | {rows} |" for form, rows in _FORMS),
    "",
    f"Keys of each form: {_OPTIONS}.",
    "In a column of numbers or times, empty, `NA`, `N/A`, `NaN`, `null`, `None`, `?`, `-` and their like mean missing;",
    "in a category only the empty text does.",
]


def reference() -> str:
    """The reference of the project file as Markdown."""
    lines = [
        "# The project file",
        "",
        "Every key of `project.yaml`. Unknown keys are refused; `trimtab check FILE` lists every mistake at once,",
        "`trimtab init` writes a commented starter.",
        "This page is made from the code: run `python -m trimtab.core.project_docs > docs/project-file.md`.",
        "",
        *_table(Project, skip=set(_BLOCKS)),
    ]
    for name in _BLOCKS:
        block = _block_of(Project.model_fields[name].annotation)
        if block is None:
            continue
        lines += ["", f"## `{name}`", "", (block.__doc__ or "").split("\n\n")[0].strip()]
        lines += ["", _SHORT[name]] if name in _SHORT else []
        lines += ["", *_table(block, skip={"name"} if name in ("fields", "candidates") else set())]
        if name == "data":
            lines += ["", "### Sources", "", *_SOURCES]
    metrics = ", ".join(
        f"`{m}` ({kind}, {'more' if up else 'less'} is better)" for m, (kind, up) in blocks.METRICS.items()
    )
    return "\n".join([*lines, "", "## Metrics", "", f"{metrics}.", ""])


def _table(block: type[Any], skip: set[str]) -> Iterator[str]:
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for name, setting in settings(block).items():
        if name not in skip:
            yield f"| `{name}` | {_type(setting.annotation)} | {_default(setting.default)} | {setting.description} |"


def _block_of(annotation: Any) -> type[Any] | None:
    if typing.get_origin(annotation) is dict:
        return block_of(typing.get_args(annotation)[1])
    return block_of(annotation)


def _type(annotation: Any) -> str:
    """An annotation in words."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(a) for a in arguments if a is not type(None))
    if origin is typing.Literal:
        return ", ".join(f"`{a}`" if a else "empty" for a in arguments)
    if origin is tuple:
        return (
            f"list of {_type(arguments[0])}" if Ellipsis in arguments else f"[{', '.join(_type(a) for a in arguments)}]"
        )
    if origin is dict:
        return f"mapping to {_type(arguments[1])}"
    if origin is list:
        return f"list of {_type(arguments[0])}"
    words = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "any"}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"`{annotation.__name__}`"
    return words.get(annotation, str(annotation))


def _default(value: Any) -> str:
    if value is dataclasses.MISSING:
        return "required"
    if isinstance(value, BaseModel):
        return "as below"
    if value is None or value in ("", (), [], {}):
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{round(value, 6):g}`"
    return f"`{list(value) if isinstance(value, tuple) else value}`"


def main() -> None:
    """Write the page to standard output."""
    import sys

    sys.stdout.write(reference())


if __name__ == "__main__":
    main()
