"""When rows cannot be learned from: the sentence, naming file, column and rows, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trimtab.core.errors import DataError
from trimtab.core.profile import MIN_CLASS_ROWS, MIN_ROWS, MOST_CLASSES, Column, Profile

Where = Callable[[Sequence[int], int], str]


def row_numbers(rows: Sequence[int], count: int) -> str:
    """` (rows 3, 7 and 5 more)`, where nothing better than row numbers is known."""
    shown = list(rows)[:8]
    if not shown:
        return ""
    more = f" and {count - len(shown):,} more" if count > len(shown) else ""
    return f" on row{'s' if count > 1 else ''} {', '.join(map(str, shown))}{more}"


def refuse(profile: Profile, name: str, where: Where = row_numbers) -> None:
    """Raise where no model can be learned.

    Args:
        profile: the counts of all rows.
        name: what the rows came from, for the sentence.
        where: (rows, how many in all) → where they are, in words.

    Raises:
        DataError: no rows, no target, one class, too few rows, missing values where none may be, infinite values.
    """
    if profile.rows == 0:
        raise DataError("there are no rows", object=name, expected=f"at least {MIN_ROWS}", hint="check the source")
    for column in profile.columns.values():
        _check_column(column, name, where)
    _check_target(profile, name, where)
    if all((c := profile.columns[f.name]).present == 0 or c.constant for f in profile.schema.features):
        raise DataError(
            "every feature is constant or has no values, so there is nothing to learn from",
            object=name,
            got=", ".join(f.name for f in profile.schema.features)[:200],
            hint="check that the right columns are read",
        )


def _check_column(column: Column, name: str, where: Where) -> None:
    field = column.field
    if column.infinite_rows:
        raise DataError(
            f"column {field.source_column!r} holds infinite values"
            + where(column.infinite_rows, len(column.infinite_rows)),
            object=name,
            expected="finite numbers",
            hint="leave them empty where they mean missing, or correct them",
        )
    if column.missing and column.present and not field.nullable and field.kind in ("number", "category", "image"):
        raise DataError(
            f"column {field.source_column!r} is empty{where(column.missing_rows, column.missing)}, "
            f"{column.missing:,} of {column.rows:,} rows",
            object=name,
            expected="a value in every row, since the field is not nullable",
            hint=f"write `nullable: true` under fields.{field.name} to have them imputed, or fill them in",
        )


def _check_target(profile: Profile, name: str, where: Where) -> None:
    target, column = profile.schema.target, profile.target
    shown = target.source_column
    if column.infinite_rows:
        raise DataError(
            f"the target {shown!r} holds infinite values{where(column.infinite_rows, len(column.infinite_rows))}",
            object=name,
            expected="finite numbers",
            hint="correct them, or leave them empty: those rows are left out",
        )
    if column.present == 0:
        raise DataError(
            f"the target {shown!r} is empty in all {column.rows:,} rows",
            object=name,
            hint="check task.target and task.column, or the export",
        )
    if target.kind == "category":
        _check_classes(profile, name)
    elif column.low == column.high:
        raise DataError(
            f"the target {shown!r} is {column.low:g} in every row, so there is nothing to predict",
            object=name,
            expected="different values",
            hint="check the export, or add rows",
        )
    if column.present < MIN_ROWS:
        raise DataError(
            f"there are too few rows with a target in {shown!r}",
            object=name,
            expected=f"at least {MIN_ROWS} to learn from and to test on",
            got=f"{column.present} of {column.rows} rows",
            hint="collect more rows",
        )


def _check_classes(profile: Profile, name: str) -> None:
    target, column = profile.schema.target, profile.target
    if column.overflow or len(column.counts) > MOST_CLASSES:
        count = f"over {len(column.counts):,}" if column.overflow else f"{len(column.counts):,}"
        raise DataError(
            f"the target {target.source_column!r} has too many different values for classes",
            object=name,
            expected=f"at most {MOST_CLASSES:,}",
            got=count,
            hint="if it is a number, write task.kind: regression",
        )
    if len(column.counts) == 1:
        only = next(iter(column.counts))
        raise DataError(
            f"the target {target.source_column!r} has one class alone",
            object=name,
            expected="at least two classes",
            got=f"{only!r} in all {column.present:,} rows",
            hint="add rows of another class, or check the export",
        )
    if target.classes and not set(target.classes) & set(column.counts):
        raise DataError(
            f"the target {target.source_column!r} holds none of the declared classes",
            object=name,
            expected=", ".join(target.classes[:10]),
            got=", ".join(list(column.counts)[:10]),
            hint="correct task.classes, or leave it out to learn the classes",
        )
    if column.present >= MIN_ROWS and len(profile.classes()) < 2:
        raise DataError(
            f"fewer than two classes of {target.source_column!r} have enough rows",
            object=name,
            expected=f"at least {MIN_CLASS_ROWS} rows of each of two classes",
            got=", ".join(f"{c!r}: {n}" for c, n in column.counts.most_common(8)),
            hint="add rows of the rare classes",
        )
