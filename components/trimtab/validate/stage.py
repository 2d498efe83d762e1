"""Validate: decides from the rows what the model may use, says so by name, and resolves the schema.

What can be answered is answered with a warning: a feature without values or with one value is dropped, rows without a
target are left out, repeated rows count once, classes too rare to learn are left out. What cannot raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from trimtab.core.datasets import iter_tables, read_manifest, write_dataset
from trimtab.core.errors import DataError
from trimtab.core.profile import Profile
from trimtab.core.refusals import refuse
from trimtab.core.schema import Schema
from trimtab.validate.decide import Decisions, decide
from trimtab.validate.repeats import Repeats
from trimtab.validate.report import render

if TYPE_CHECKING:
    import pyarrow as pa


class ValidateConfig(BaseModel):
    """What to hold the rows to.

    Attributes:
        schema: fields and target as declared.
        task: classification or regression.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)

    schema_: Schema = Field(alias="schema")
    task: Literal["classification", "regression"]


@dataclass(frozen=True)
class ValidateResult:
    """What was decided.

    Attributes:
        schema: resolved: classes and categories known, dropped fields removed (and in `ignored`).
        rows: rows kept.
        dropped: field → why it is not used.
        left_out_rows: rows left out, for whatever reason.
        warnings: what a person should know, in sentences.
        digest, judge_digest: of the two datasets.
    """

    schema: Schema
    rows: int
    dropped: dict[str, str]
    left_out_rows: int
    warnings: tuple[str, ...]
    digest: str
    judge_digest: str


def validate(
    config: ValidateConfig, data: Path, judge: Path, data_out: Path, judge_out: Path, report_out: Path
) -> ValidateResult:
    """Check rows and resolve the schema; streams, in bounded memory.

    Args:
        config: schema and task.
        data: dataset folder of rows to train on.
        judge: dataset folder of rows to judge on; may have no rows. Categories that training does not know stay
            in it; rows of such classes, which no version can be right about, are left out.
        data_out: where the kept rows go, with the resolved schema; its note has the `warnings` of ingest and these.
        judge_out: where the judge rows go, likewise.
        report_out: an HTML report.

    Raises:
        DataError: a folder is no dataset, lacks columns, or its rows cannot be learned from.
    """
    schema = config.schema_
    if (schema.target.kind == "category") != (config.task == "classification"):
        raise DataError("the target does not fit the task", object=schema.target.name, got=config.task)
    profile = Profile(schema)
    for table in iter_tables(data):
        _has_columns(table, schema, data)
        profile.add(table)
    refuse(profile, str(read_manifest(data).note.get("name") or "the data"))
    decisions = decide(profile)
    repeats = Repeats(schema, profile.repeated_ids())
    given = read_manifest(judge)
    said: list[str] = list(read_manifest(data).note.get("warnings") or ())
    judged = write_dataset(judge_out, _judge(judge, decisions), decisions.schema, given.note)
    warnings = list(decisions.warnings)

    def rows() -> Iterator[pa.Table]:
        """The kept rows; behind the last of them all is known that the note says."""
        yield from _kept(data, decisions, repeats)
        warnings.extend(repeats.warnings())
        if judged.rows < given.rows:
            warnings.append(
                f"{given.rows - judged.rows:,} of {given.rows:,} judge rows have no class that is learned here"
            )
        said.extend(warnings)

    note = {**read_manifest(data).note, "warnings": said}
    kept = write_dataset(data_out, rows(), decisions.schema, note)
    result = ValidateResult(
        schema=decisions.schema,
        rows=kept.rows,
        dropped=decisions.dropped,
        left_out_rows=profile.rows - kept.rows,
        warnings=tuple(warnings),
        digest=kept.digest,
        judge_digest=judged.digest,
    )
    report_out.parent.mkdir(parents=True, exist_ok=True)
    report_out.write_text(render(profile, decisions.dropped, warnings, kept.rows, judged.rows), encoding="utf-8")
    return result


def _has_columns(table: pa.Table, schema: Schema, folder: Path) -> None:
    missing = [n for n in (*schema.by_name, schema.target.name) if n not in table.column_names]
    if missing:
        raise DataError("the dataset lacks columns", object=str(folder), expected=", ".join(missing))


def _columns(table: pa.Table, decisions: Decisions) -> pa.Table:
    return table.select([n for n in table.column_names if n not in decisions.dropped])


def _answerable(table: pa.Table, decisions: Decisions) -> pa.Table:
    """The rows whose target the model can learn: those that have one, of a class that is kept."""
    import pyarrow as pa
    import pyarrow.compute as pc

    target = table[decisions.schema.target.name]
    if decisions.classes is None:
        return table.filter(pc.is_valid(target))
    return table.filter(pc.is_in(target, value_set=pa.array(decisions.classes, pa.string())))


def _kept(folder: Path, decisions: Decisions, repeats: Repeats) -> Iterator[pa.Table]:
    for table in iter_tables(folder):
        yield repeats.first(_columns(_answerable(table, decisions), decisions))


def _judge(folder: Path, decisions: Decisions) -> Iterator[pa.Table]:
    for table in iter_tables(folder):
        yield _columns(_answerable(table, decisions), decisions)
