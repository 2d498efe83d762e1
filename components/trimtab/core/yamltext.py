"""YAML text as plain values, with the line of every key, and duplicate keys found.

PyYAML alone keeps the last of two equal keys silently and forgets lines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import yaml

Path = tuple[str | int, ...]


@dataclass
class Document:
    """A parsed file.

    Attributes:
        value: plain lists, dicts and scalars; None where nothing could be read.
        lines: path → line (1-based) of the key (or list item).
        mistakes: (line, path, message) of what YAML itself finds wrong.
    """

    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    mistakes: list[tuple[int, Path, str]] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """The line of a path, or of its nearest parent that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def parse(text: str) -> Document:
    """Read one YAML document."""
    out = Document()
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            out.mistakes.append((1, (), "the file is empty"))
        else:
            out.value = _build(loader, node, (), out, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "cannot be read"
        if "expected a single document" in str(error.context):
            problem = "a second document starts here: a project file is one"
        elif "\\t" in problem:
            problem += ": indent with spaces, not tabs"
        out.value = None
        out.mistakes.append((mark.line + 1 if mark else 1, (), f"not YAML: {problem}"))
    except yaml.YAMLError as error:
        out.value = None
        out.mistakes.append((1, (), f"not YAML: {error}"))
    finally:
        if loader is not None:
            loader.dispose()
    return out


def _build(loader: Any, node: yaml.Node, path: Path, out: Document, above: tuple[int, ...]) -> Any:
    """The value of a node; `above` holds the nodes it is inside, to find one that contains itself."""
    if id(node) in above:
        out.mistakes.append((node.start_mark.line + 1, path, "contains itself"))
        return None
    above = (*above, id(node))
    if isinstance(node, yaml.SequenceNode):
        items = []
        for index, child in enumerate(node.value):
            out.lines[*path, index] = child.start_mark.line + 1
            items.append(_build(loader, child, (*path, index), out, above))
        return items
    if isinstance(node, yaml.MappingNode):
        return _mapping(loader, node, path, out, above)
    return _scalar(loader, node, path, out)


def _mapping(loader: Any, node: yaml.MappingNode, path: Path, out: Document, above: tuple[int, ...]) -> dict[Any, Any]:
    seen: dict[str, int] = {}
    for key, _ in node.value:
        name = str(key.value)
        if name in seen and key.tag != "tag:yaml.org,2002:merge":
            message = f"the key {name!r} is given twice (first on line {seen[name]})"
            out.mistakes.append((key.start_mark.line + 1, (*path, name), message))
        seen.setdefault(name, key.start_mark.line + 1)
    if not path:
        out.lines[()] = node.start_mark.line + 1
    loader.flatten_mapping(node)
    result: dict[Any, Any] = {}
    for key, child in node.value:
        # Keys are names here: `1:` or `yes:` would otherwise become a number or a truth value.
        name = str(key.value) if isinstance(key, yaml.ScalarNode) else str(key.tag)
        out.lines[*path, name] = key.start_mark.line + 1
        result[name] = _build(loader, child, (*path, name), out, above)
    return result


def _scalar(loader: Any, node: yaml.Node, path: Path, out: Document) -> Any:
    line = node.start_mark.line + 1
    try:
        value = loader.construct_object(node)
    except (yaml.YAMLError, ValueError) as error:
        problem = getattr(error, "problem", None) or str(error)
        out.mistakes.append((line, path, f"not a value: {problem}"))
        return None
    if isinstance(value, (date, datetime)):
        # An unquoted time; text is what records and sources carry.
        return node.value if not isinstance(value, datetime) else _moment(value)
    if isinstance(value, (bytes, set)):
        out.mistakes.append((line, path, "a kind of value that a project file does not have"))
        return None
    if isinstance(value, float) and not math.isfinite(value):
        out.mistakes.append((line, path, f"a finite number is expected, got {node.value}"))
        return None
    return value


def _moment(value: datetime) -> str:
    from datetime import UTC

    from trimtab.core.records import rfc3339

    return rfc3339(value.replace(tzinfo=UTC) if value.tzinfo is None else value)
