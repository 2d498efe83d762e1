"""A policy from a file: the blocks of a project file, and which of their keys a replay cannot heed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from trimtab.core.errors import ProjectError
from trimtab.core.policies import Block, Campaign, Rollout, Windows
from trimtab.monitoring.simulate.replay import Setting

BLOCKS: dict[str, type[Block]] = {"windows": Windows, "campaign": Campaign, "rollout": Rollout}
# Nothing in a table of rows corresponds to these: clocks, runs, people, shares of requests.
UNHEEDED = {
    "windows": ("minutes", "label_horizon_hours"),
    "campaign": ("candidates", "retrains_per_week", "gpu_hours_per_week", "run_hours", "approval"),
    "rollout": ("strategy", "shares", "step_rows", "step_labelled", "max_labelled", "max_minutes"),
}
# With `opens: gain` retrains are paced by what they gain.
UNHEEDED_BY_GAIN = ("debounce_windows", "follow_ups", "follow_up_windows")


def from_file(path: Path, base: Setting) -> Setting:
    """Ours with the blocks of a project file, or of a file that holds a `campaign` block alone.

    Raises:
        ProjectError: the file cannot be read, or a field is wrong.
    """
    try:
        read: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ProjectError(
            "the policy file cannot be read", object=str(path), got=str(error).splitlines()[0][:120],
            hint="it is YAML with a `campaign` block",
        ) from None  # fmt: skip
    if not isinstance(read, dict):
        raise ProjectError("the policy file holds no blocks", object=str(path), expected="a `campaign` block")
    blocks = read if any(k in BLOCKS for k in read) else {"campaign": read}
    made: dict[str, Any] = {}
    for name, block in BLOCKS.items():
        if name not in blocks:
            continue
        values = blocks[name] or {}
        if name == "windows" and isinstance(values, dict):
            values = {"rows": base.windows.rows, **values}
        for key, value in _endless(values, name):
            raise ProjectError(
                f"{key}: not a finite number", object=str(path), expected="a finite number", got=str(value), hint=FIELDS
            )
        try:
            made[name] = block.model_validate(values)
        except ValidationError as error:
            raise _wrong(error, name, path) from None
    return replace(base, **made)


FIELDS = "see docs/project-file.md for the fields"


def _endless(values: Any, where: str) -> Iterator[tuple[str, float]]:
    """Numbers that are infinite or none, with their places."""
    if isinstance(values, float) and not math.isfinite(values):
        yield where, values
    elif isinstance(values, dict):
        for key, value in values.items():
            yield from _endless(value, f"{where}.{key}")
    elif isinstance(values, list):
        for i, value in enumerate(values):
            yield from _endless(value, f"{where}.{i}")


def _wrong(error: ValidationError, name: str, path: Path) -> ProjectError:
    first = error.errors(include_url=False)[0]
    where = ".".join([name, *map(str, first["loc"])])
    if first["type"] == "extra_forbidden":
        return ProjectError(f"{where}: there is no such field", object=str(path), hint=FIELDS)
    if first["type"] == "model_type":
        return ProjectError(
            f"{where}: no block",
            object=str(path),
            expected="keys with values",
            got=str(first["input"])[:80],
            hint=FIELDS,
        )
    said = first["msg"][:1].lower() + first["msg"][1:]
    return ProjectError(f"{where}: {said}", object=str(path), got=str(first.get("input"))[:80], hint=FIELDS)


def unheeded(setting: Setting) -> list[str]:
    """Keys of the blocks that are set away from their defaults, and that a replay does not heed."""
    found = []
    for name, keys in UNHEEDED.items():
        block = getattr(setting, name)
        by_gain = UNHEEDED_BY_GAIN if name == "campaign" and setting.campaign.opens == "gain" else ()
        default = type(block)()
        found += [f"{name}.{k}" for k in (*keys, *by_gain) if getattr(block, k) != getattr(default, k)]
    return found
