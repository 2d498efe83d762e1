"""What follows from a profile: fields to drop, classes and categories to know, and warnings in sentences."""

from __future__ import annotations

from dataclasses import dataclass, replace

from trimtab.core.profile import MIN_CLASS_ROWS, MOST_CATEGORIES, Column, Profile, natural
from trimtab.core.schema import Field, Schema

MOSTLY = 0.5  # a share of missing values or of different categories that a person should know about


@dataclass(frozen=True)
class Decisions:
    """Outcome of looking at all rows.

    Attributes:
        schema: the resolved schema.
        dropped: field → why.
        classes: the classes whose rows are kept; None for a number.
        warnings: sentences.
    """

    schema: Schema
    dropped: dict[str, str]
    classes: list[str] | None
    warnings: tuple[str, ...]


def decide(profile: Profile) -> Decisions:
    """Decide from the counts of all rows; the profile has passed `core.refusals.refuse`."""
    schema, warnings = profile.schema, list[str]()
    dropped = {name: why for name, column in profile.columns.items() if (why := _useless(column))}
    warnings += [f"the field {name!r} was dropped: {why}" for name, why in dropped.items()]
    fields = []
    for name, column in profile.columns.items():
        if name in dropped:
            continue
        warnings += _about(column)
        fields.append(_resolved(column, warnings) if column.field.kind == "category" else column.field)
    missing = profile.target.missing
    if missing:
        warnings.append(f"{missing:,} of {profile.rows:,} rows have no {schema.target.name!r} and were left out")
    classes = _classes(profile, warnings) if schema.target.kind == "category" else None
    target = replace(schema.target, classes=tuple(classes or ()))
    key = "" if schema.key in dropped else schema.key
    resolved = Schema(
        fields=tuple(fields), target=target, key=key, ignored=tuple(dict.fromkeys((*schema.ignored, *dropped)))
    )
    return Decisions(resolved, dropped, classes, tuple(warnings))


def _useless(column: Column) -> str:
    """Why a feature cannot say anything; the empty text where it can."""
    field = column.field
    if field.kind not in ("number", "category", "image"):
        return ""
    if column.present == 0:
        return "it has no value in any row"
    if column.constant and not (field.kind == "number" and column.missing):
        only = repr(next(iter(column.counts))) if field.kind == "category" else f"{column.low:g}"
        only = "the same" if field.private else only
        # A constant that is sometimes missing still says whether it is there.
        if field.kind == "category" and column.missing:
            return ""
        return f"it is {only} in every row"
    if column.constant:
        return f"it is {'the same' if field.private else f'{column.low:g}'} wherever it has a value"
    return ""


def _about(column: Column) -> list[str]:
    field, notes = column.field, []
    if field.kind in ("number", "category") and column.missing > MOSTLY * column.rows:
        notes.append(f"the field {field.name!r} is missing in {column.missing:,} of {column.rows:,} rows")
    if column.outside:
        low, high = field.range or (None, None)
        notes.append(
            f"the field {field.name!r} has {column.outside:,} values outside its range {low} to {high}"
            + ("" if field.private else f" (from {column.low:g} to {column.high:g})")
        )
    many = len(column.counts) > max(50, MOSTLY * column.present)
    if field.kind == "category" and (many or column.overflow):
        notes.append(
            f"the field {field.name!r} has a category of its own in most rows: if it is free text or an id, "
            "declare that kind"
        )
    return notes


def _resolved(column: Column, warnings: list[str]) -> Field:
    """A category field with its categories known."""
    field, counts = column.field, column.counts
    if field.categories:
        unseen = {c: n for c, n in counts.items() if c not in field.categories}
        if unseen:
            shown = "private" if field.private else ", ".join(repr(c) for c in list(unseen)[:8])
            warnings.append(
                f"the field {field.name!r} has undeclared categories in {sum(unseen.values()):,} rows, which count as "
                f"unseen: {shown}"
            )
        return field
    kept = [c for c, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_CATEGORIES]]
    if len(kept) < len(counts) or column.overflow:
        warnings.append(
            f"the field {field.name!r} has more than {MOST_CATEGORIES:,} categories: the most frequent are known, the "
            "rest counts as unseen"
        )
    return replace(field, categories=tuple(sorted(kept, key=natural)))


def _classes(profile: Profile, warnings: list[str]) -> list[str]:
    target, counts = profile.schema.target, profile.target.counts
    classes = profile.classes()
    declared = target.classes
    strange = {c: n for c, n in counts.items() if declared and c not in declared}
    if strange:
        shown = ", ".join(f"{c!r} ({n:,})" for c, n in list(strange.items())[:8])
        warnings.append(f"rows of classes that task.classes does not name were left out: {shown}")
    rare = {c: n for c, n in counts.items() if n < MIN_CLASS_ROWS and c not in strange}
    if rare:
        shown = ", ".join(f"{c!r} ({n})" for c, n in list(rare.items())[:8])
        warnings.append(
            f"classes with fewer than {MIN_CLASS_ROWS} rows were left out, they cannot be learned and tested: {shown}"
        )
    never = [c for c in declared if c not in counts]
    if never:
        warnings.append(f"declared classes that no row has: {', '.join(map(repr, never[:8]))}")
    return classes
