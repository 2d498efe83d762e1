"""What must hold between the blocks of a project file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from trimtab.core.blocks import BUILT_IN, METRICS, PROJECT_NAME, Candidate, Data, Gates, Serving, Task, metrics_for
from trimtab.core.policies import Rollout
from trimtab.core.schema import FEATURES, NAME_RULE
from trimtab.core.schema import NAME as FIELD_NAME
from trimtab.core.schema import Field as SchemaField

Found = tuple[tuple[str | int, ...], str]


def nearest(name: str, names: Iterable[str]) -> str:
    """What to say about a name that is none of the known ones.

    >>> nearest("acuracy", ["accuracy", "auroc"])
    "did you mean 'accuracy'?"
    """
    names = list(names)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(names)}"


def rules(parts: Mapping[str, Any]) -> list[Found]:
    """The mistakes between blocks: each a path and a message.

    Args:
        parts: the blocks that are valid by themselves, by name; rules about absent ones are left out.
    """
    return [*_name(parts), *_fields(parts), *_metrics(parts), *_candidates(parts), *_serving(parts), *_rollout(parts)]


def _name(parts: Mapping[str, Any]) -> Iterator[Found]:
    name = parts.get("name")
    if isinstance(name, str) and not PROJECT_NAME.fullmatch(name):
        yield (
            ("name",),
            (
                f"{name!r} is no project name: expected at most 28 of a-z, 0-9 and '-', starting with a letter "
                "and not ending with '-'"
            ),
        )


def _serving(parts: Mapping[str, Any]) -> Iterator[Found]:
    serving: Serving | None = parts.get("serving")
    if serving is not None and serving.max_replicas is not None and serving.max_replicas < serving.replicas:
        yield (
            ("serving", "max_replicas"),
            f"expected at least `replicas` ({serving.replicas}), got {serving.max_replicas}",
        )


def _fields(parts: Mapping[str, Any]) -> Iterator[Found]:
    task: Task | None = parts.get("task")
    fields: dict[str, SchemaField] | None = parts.get("fields")
    data: Data | None = parts.get("data")
    if task is not None and not FIELD_NAME.fullmatch(task.target):
        yield ("task", "target"), f"{task.target!r} is no field name: expected {NAME_RULE}"
    if task is not None and task.kind == "regression" and task.classes:
        yield ("task", "classes"), "classes are for classification, and this is a regression"
    if task is not None and task.kind == "classification" and len(task.classes) == 1:
        yield ("task", "classes"), "one class alone leaves nothing to predict: name at least two, or none"
    if task is not None and len(set(task.classes)) != len(task.classes):
        yield ("task", "classes"), "a class is named twice"
    if fields is None:
        return
    if task is not None and task.target in fields:
        yield ("fields", task.target), "this is the target (task.target): take it out of `fields`"
    if not any(f.kind in FEATURES for f in fields.values()):
        yield ("fields",), "there is no feature: at least one field of kind number, category or image is needed"
    columns: dict[str, str] = {}
    for name, field in fields.items():
        other = columns.setdefault(field.source_column, name)
        if other != name:
            yield ("fields", name, "column"), f"{field.source_column!r} is the column of field {other!r} already"
        if task is not None and field.source_column == (task.column or task.target) and name != task.target:
            yield ("fields", name, "column"), f"{field.source_column!r} is the target's column"
    ids = [n for n, f in fields.items() if f.kind == "id"]
    if data is not None and data.key and data.key not in ids:
        yield (
            ("data", "key"),
            f"{data.key!r} is no field of kind id: " + (nearest(data.key, ids) if ids else "there is none"),
        )


def _metrics(parts: Mapping[str, Any]) -> Iterator[Found]:
    task: Task | None = parts.get("task")
    gates: Gates | None = parts.get("gates")
    named: list[Found] = []
    if isinstance(parts.get("metric"), str) and parts["metric"]:
        named.append((("metric",), parts["metric"]))
    if gates is not None:
        named += [(("gates", kind, m), m) for kind in ("at_least", "at_most") for m in getattr(gates, kind)]
    for path, metric in named:
        fitting = metrics_for(task.kind) if task is not None else list(METRICS)
        if metric not in fitting:
            what = f"is not for {task.kind}" if task is not None and metric in METRICS else "is no metric"
            yield path, f"{metric!r} {what}: {nearest(metric, fitting)}"


def _candidates(parts: Mapping[str, Any]) -> Iterator[Found]:
    candidates: dict[str, Candidate] | None = parts.get("candidates")
    fields: dict[str, SchemaField] | None = parts.get("fields")
    if candidates is None:
        return
    if not candidates:
        yield ("candidates",), f"there is no candidate: name at least one, e.g. {BUILT_IN[0]}"
    for name, candidate in candidates.items():
        if not PROJECT_NAME.fullmatch(name):
            yield ("candidates", name), f"{name!r} is no candidate name: expected at most 28 of a-z, 0-9 and '-'"
        if candidate.uses:
            continue
        if candidate.kind not in BUILT_IN:
            yield (
                ("candidates", name),
                (
                    f"{candidate.kind!r} is no built-in kind: {nearest(candidate.kind, BUILT_IN)} "
                    "(`uses: package.module:build` names your own)"
                ),
            )
        elif candidate.kind == "cnn" and fields is not None and all(f.kind != "image" for f in fields.values()):
            yield ("candidates", name), "a cnn needs a field of kind image, and there is none"


def _rollout(parts: Mapping[str, Any]) -> Iterator[Found]:
    rollout: Rollout | None = parts.get("rollout")
    if rollout is None or rollout.shares is None:
        return
    shares = list(rollout.shares)
    if shares != sorted(set(shares)) or any(not 0 < s < 100 for s in shares):
        yield ("rollout", "shares"), f"shares rise and lie between 1 and 99 percent, got {shares}"
