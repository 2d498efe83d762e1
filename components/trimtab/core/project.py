"""`project.yaml`: one typed, strict object that says everything about a project.

The keys' reference is `docs/project-file.md`, made from the models here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator

from trimtab.core.blocks import DEFAULT_METRIC, Candidate, Data, Gates, Resources, Serving, Task
from trimtab.core.errors import ProjectError
from trimtab.core.policies import Campaign, Rollout, Windows
from trimtab.core.schema import Field as SchemaField
from trimtab.core.schema import Schema, Target

MAX_BYTES = 1_000_000


class Mistake(NamedTuple):
    """One mistake in a project file: its line (1-based, 0 where unknown), the field's path, and what is wrong."""

    line: int
    field: str
    message: str


def _named(value: Any, shorthand: str) -> Any:
    """A mapping name → entry, from a mapping or a list, each entry with its name inside.

    An entry may be null (all defaults) or text, which stands for `{shorthand: text}`.
    """
    if isinstance(value, list):
        pairs = [(v if isinstance(v, str) else v.get("name", "") if isinstance(v, dict) else str(v), v) for v in value]
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError("a name is given twice")
        value = {name: {} if isinstance(entry, str) else entry for name, entry in pairs}
    if not isinstance(value, dict):
        return value
    out: dict[Any, Any] = {}
    for name, entry in value.items():
        entry = {} if entry is None else {shorthand: entry} if isinstance(entry, str) else entry
        if isinstance(entry, Mapping):
            entry = {"name": name, **entry}
            if entry["name"] != name:
                raise ValueError(f"{name!r} has another name inside: {entry['name']!r}")
        out[name] = entry
    return out


def _candidates(value: Any) -> Any:
    value = _named(value, "kind")
    if isinstance(value, dict):
        for name, entry in value.items():
            if isinstance(entry, dict) and not entry.get("kind") and not entry.get("uses"):
                entry["kind"] = name
    return value


def _data(value: Any) -> Any:
    """The whole block, or a bare source for it."""
    if isinstance(value, dict) and ("source" in value or not {"path", "sklearn", "dataset", "log"} & set(value)):
        return value
    return {"source": value}


class Project(BaseModel):
    """A project file.

    Attributes:
        base: the folder relative paths start from; not part of the project itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="name of project and model: a DNS label of at most 28 characters")
    task: Task
    data: Annotated[Data, BeforeValidator(_data)]
    fields: Annotated[dict[str, SchemaField], BeforeValidator(lambda v: _named(v, "kind"))]
    candidates: Annotated[dict[str, Candidate], BeforeValidator(_candidates)]
    metric: str = Field(default="", description="what select decides by; default: accuracy, or mae for a number")
    gates: Gates = Gates()
    resources: Resources = Resources()
    serving: Serving = Serving()
    rollout: Rollout = Rollout()
    windows: Windows = Windows()
    campaign: Campaign = Campaign()

    _base: Path = PrivateAttr(default_factory=Path.cwd)

    @model_validator(mode="before")
    @classmethod
    def _default_metric(cls, value: Any) -> Any:
        if isinstance(value, dict) and not value.get("metric") and isinstance(value.get("task"), dict):
            return {**value, "metric": DEFAULT_METRIC.get(str(value["task"].get("kind")), "")}
        return value

    @model_validator(mode="after")
    def _rules(self) -> Project:
        from trimtab.core.project_rules import rules

        for path, message in rules({name: getattr(self, name) for name in type(self).model_fields}):
            raise ValueError(f"{'.'.join(str(p) for p in path)}: {message}")
        return self

    @property
    def base(self) -> Path:
        """The folder of the file; relative data paths start there."""
        return self._base

    def schema(self) -> Schema:  # type: ignore[override]
        """Fields and target as the stages take them (classes and categories as far as the file names them)."""
        target = Target(
            name=self.task.target,
            kind="category" if self.task.kind == "classification" else "number",
            classes=self.task.classes,
            unit=self.task.unit,
            column=self.task.column,
        )
        return Schema(fields=tuple(self.fields.values()), target=target, key=self.data.key)

    def canonical(self) -> dict[str, Any]:
        """The whole project as JSON, defaults written out; fields and candidates as lists, whose order counts."""
        out = self.model_dump(mode="json")
        out["fields"] = list(out["fields"].values())
        out["candidates"] = list(out["candidates"].values())
        return out

    @classmethod
    def from_canonical(cls, value: Mapping[str, Any], base: Path | None = None) -> Project:
        """A project from what `canonical` gave.

        Raises:
            ProjectError: it is none.
        """
        try:
            project = cls.model_validate(dict(value))
        except ValueError as error:
            raise ProjectError("not a canonical project", got=str(error)) from None
        if base is not None:
            project._base = base
        return project


def check_text(text: str, where: str) -> list[Mistake]:
    """Every mistake of a project file at once, by line.

    Args:
        text: the file's text.
        where: its name, for messages.
    """
    from trimtab.core.project_check import check

    return check(text, where)[1]


def parse_project(text: str, where: str, base: Path | None = None) -> Project:
    """A project from a file's text.

    Raises:
        ProjectError: lists every mistake.
    """
    from trimtab.core.project_check import check

    project, mistakes = check(text, where)
    if project is None:
        lines = [
            f"line {m.line}, {m.field}: {m.message}" if m.field else f"line {m.line}: {m.message}" for m in mistakes
        ]
        count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
        raise ProjectError(f"{where}: {count}\n  " + "\n  ".join(lines), object=where)
    if base is not None:
        project._base = base
    return project


def load_project(path: Path) -> Project:
    """Read a project file.

    Raises:
        ProjectError: it cannot be read, or lists every mistake in it.
    """
    return parse_project(read_text(path), str(path), path.resolve().parent)


def read_text(path: Path) -> str:
    """A project file's text.

    Raises:
        ProjectError: it is not there, too large, or not UTF-8.
    """
    try:
        body = path.read_bytes()
    except OSError as error:
        hint = "trimtab init writes a starter" if not path.exists() else ""
        raise ProjectError(
            "the project file cannot be read", object=str(path), got=error.strerror or "", hint=hint
        ) from None
    if len(body) > MAX_BYTES:
        raise ProjectError(
            "too large for a project file",
            object=str(path),
            expected=f"at most {MAX_BYTES} bytes",
            got=str(len(body)),
        )
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = body[: error.start].count(b"\n") + 1
        raise ProjectError(
            f"line {line} is not UTF-8",
            object=str(path),
            got=repr(body[error.start : error.start + 4]),
            hint="save the file as UTF-8",
        ) from None
