"""Every mistake of a project file at once: YAML, each block by itself, and what must hold between blocks."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, NamedTuple

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from trimtab.core import yamltext
from trimtab.core.project import Mistake, Project
from trimtab.core.project_rules import nearest, rules

Path = tuple[str | int, ...]


def check(text: str, where: str) -> tuple[Project | None, list[Mistake]]:
    """Read a project file.

    Args:
        text: the file's text.
        where: its name, for messages.

    Returns:
        the project, or None where there are mistakes; and the mistakes, by line.
    """
    document = yamltext.parse(text)
    found: list[tuple[int, Path, str]] = list(document.mistakes)
    value = document.value
    if value is not None and not isinstance(value, dict):
        found.append((1, (), f"{where} holds no keys: expected `name:`, `task:`, `data:`, …"))
    elif value is not None:
        found += [(document.line(path), path, message) for path, message in _blocks(value)]
    if not found:
        try:
            return Project.model_validate(value), []
        except ValidationError as error:
            found = [(document.line(p), p, m) for p, m in _messages(error, ())]
    mistakes = [Mistake(line, ".".join(str(p) for p in path), message) for line, path, message in found]
    return None, sorted(dict.fromkeys(mistakes))


def _blocks(value: dict[str, Any]) -> list[tuple[Path, str]]:
    """The mistakes of each block by itself, then those between the blocks that are right."""
    known = Project.model_fields
    found: list[tuple[Path, str]] = [
        ((name,), f"unknown key {name!r}: {nearest(str(name), known)}") for name in value if name not in known
    ]
    parts: dict[str, Any] = {}
    for name, info in known.items():
        if name not in value:
            if info.is_required():
                found.append(((name,), f"the key {name!r} is missing: {info.description or _what(info.annotation)}"))
            else:
                parts[name] = info.default
            continue
        annotation: Any = info.annotation
        if info.metadata:
            annotation = typing.Annotated[annotation, *info.metadata]
        try:
            parts[name] = TypeAdapter(annotation).validate_python(value[name])
        except ValidationError as error:
            found += _messages(error, (name,))
    return found + rules(parts)


def _what(annotation: Any) -> str:
    model = block_of(annotation)
    return (model.__doc__ or "").split("\n")[0] if model else ""


def _messages(error: ValidationError, start: Path) -> list[tuple[Path, str]]:
    found = []
    for detail in error.errors(include_url=False):
        path = (*start, *(p for p in detail["loc"] if p != "[key]"))
        found.append((path, _message(detail, path)))
    return found


def _message(detail: ErrorDetails, path: Path) -> str:
    """One of pydantic's findings in our words."""
    kind, got = detail["type"], _short(detail.get("input"))
    context = detail.get("ctx") or {}
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"unknown key {str(path[-1])!r}: {nearest(str(path[-1]), names_at(path[:-1]))}"
    if kind == "missing":
        return f"the key {str(path[-1])!r} is missing"
    if kind == "value_error":
        return str(context.get("error", detail["msg"]))
    if kind in ("literal_error", "enum"):
        options = str(context.get("expected", "")).replace("'", "").replace(" or ", ", ").split(", ")
        return f"{got} is not allowed: {nearest(str(detail.get('input')), options)}" + (
            "" if "expected" in nearest(str(detail.get("input")), options) else f" (one of {', '.join(options)})"
        )
    words = {
        "string_type": "expected text",
        "int_type": "expected a whole number",
        "int_parsing": "expected a whole number",
        "int_from_float": "expected a whole number",
        "float_type": "expected a number",
        "float_parsing": "expected a number",
        "bool_type": "expected true or false",
        "bool_parsing": "expected true or false",
        "dict_type": "expected keys with values",
        "model_type": "expected keys with values",
        "model_attributes_type": "expected keys with values",
        "dataclass_type": "expected keys with values",
        "tuple_type": "expected a list",
        "list_type": "expected a list",
        "greater_than": f"expected more than {context.get('gt')}",
        "greater_than_equal": f"expected at least {context.get('ge')}",
        "less_than": f"expected less than {context.get('lt')}",
        "less_than_equal": f"expected at most {context.get('le')}",
        "string_pattern_mismatch": f"expected text like {context.get('pattern')}",
    }
    return f"{words.get(kind, detail['msg'])}, got {got}"


def _short(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


class Setting(NamedTuple):
    """One key of a block: its type, what it means, and its default (`MISSING` where it is required)."""

    annotation: Any
    description: str
    default: Any


def settings(block: type[Any]) -> dict[str, Setting]:
    """The keys of a block by name; most blocks are pydantic's models, a field is a dataclass."""
    if issubclass(block, BaseModel):
        return {
            name: Setting(
                info.annotation,
                info.description or "",
                dataclasses.MISSING if info.is_required() else info.get_default(call_default_factory=True),
            )
            for name, info in block.model_fields.items()
        }
    hints = typing.get_type_hints(block)
    return {
        field.name: Setting(hints[field.name], field.metadata["description"], field.default)
        for field in dataclasses.fields(block)
    }


def block_of(annotation: Any) -> type[Any] | None:
    """The block inside an annotation, if there is one."""
    origin = typing.get_origin(annotation)
    if origin in (typing.Annotated, typing.Union, types.UnionType, tuple):
        return next((m for m in map(block_of, typing.get_args(annotation)) if m), None)
    if not isinstance(annotation, type):
        return None
    return annotation if issubclass(annotation, BaseModel) or dataclasses.is_dataclass(annotation) else None


def names_at(path: Path) -> list[str]:
    """The keys that may stand at a path of a project file.

    >>> names_at(("windows",))[:2]
    ['rows', 'minutes']
    """
    block: type[Any] | None = Project
    inside: Any = None  # value type of a mapping whose own keys are free
    for part in path:
        if inside is not None:
            block, inside = block_of(inside), None
            continue
        if block is None or str(part) not in settings(block):
            return []
        annotation = settings(block)[str(part)].annotation
        if typing.get_origin(annotation) is dict:
            inside, block = typing.get_args(annotation)[1], None
        else:
            block = block_of(annotation)
    return list(settings(block)) if block else []
