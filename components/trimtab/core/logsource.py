"""A stretch of the prediction log, joined with its labels, as rows to train on and rows to judge on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from trimtab.core.errors import DataError
from trimtab.core.records import parse_time

if TYPE_CHECKING:
    import pyarrow as pa

    from trimtab.core.schema import Schema
    from trimtab.core.store import Store

HOUR = "%Y-%m-%dT%H"
BATCH_FILES = 500


def _moment(value: Any) -> datetime | None:
    return parse_time(value) if value else None


def _hour_of(key: str) -> datetime:
    """The hour folder of a log or label file: …/<hour>/<server>-<n>.parquet."""
    return parse_time(key.split("/")[-2] + ":00:00+00:00")


def fix_log(source: dict[str, Any], store: Store) -> dict[str, Any]:
    """A log source with the fixed lists of its files: `files` (predictions) and `labels`.

    Raises:
        DataError: the log has no file in that stretch, or the list cannot be read.
        NotFound: there is no such list.
    """
    from trimtab.core import labels, predictions
    from trimtab.core.sources import read_log_list

    if "list" in source:
        import hashlib

        read_log_list(store, source["list"])
        digest = hashlib.sha256(store.get(source["list"])).hexdigest()[:32]
        return {"list": source["list"], "digest": digest}
    if "files" in source and "labels" in source:
        return source
    model = source["model"]
    since, until = _moment(source.get("since")), _moment(source.get("until"))
    horizon = _moment(source.get("labels_until"))
    first = since.replace(minute=0, second=0, microsecond=0) - timedelta(hours=1) if since else None
    files = [
        key
        for version in predictions.versions(store, model)
        for key in predictions.list_files(store, model, version)
        # A file's hour is that of its rows, give or take a batch that was held over the full hour.
        if (first is None or _hour_of(key) >= first) and (until is None or _hour_of(key) <= until)
    ]
    if not files:
        raise DataError(
            "the prediction log has no file there",
            object=f"log of {model}",
            got=f"since {source.get('since')}, until {source.get('until')}",
            hint="serve the model first, or widen the stretch",
        )
    label_files = [
        key
        for key in labels.list_files(store, model)
        if (first is None or _hour_of(key) >= first) and (horizon is None or _hour_of(key) <= horizon)
    ]
    return {**source, "files": sorted(files), "labels": sorted(label_files)}


@dataclass
class LogRows:
    """What a stretch of the log gives.

    Attributes:
        train: tables of the schema's fields, target, `_id` and `_time`.
        judge: the same, at or after `judge_from`.
        against: the champion version that the judge rows are for.
        warnings: what was left out, counted.
    """

    train: list[pa.Table]
    judge: list[pa.Table]
    against: str
    warnings: list[str]


def _batches(files: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(files), BATCH_FILES):
        yield files[start : start + BATCH_FILES]


def read_log(source: dict[str, Any], store: Store, schema: Schema) -> LogRows:
    """Read a fixed log source: labelled rows alone, newest label of a row counts, split at `judge_from`.

    Args:
        source: what `fix_log` gave.
        store: where the files are.
        schema: fields and target of the project.

    Raises:
        DataError: a field is not in the log (private, or not served), or no row there has a label.
        NotFound: a listed file is gone.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from trimtab.core import labels, predictions
    from trimtab.core.sources import read_log_list

    if "list" in source:
        source = fix_log(read_log_list(store, source["list"]), store)
    model = source["model"]
    hidden = [f.name for f in schema.features if f.private]
    if hidden:
        raise DataError(
            "private features are not in the prediction log, so it cannot be trained on",
            object=f"log of {model}",
            got=", ".join(hidden),
            hint="train on a table that holds them",
        )
    since, until = _moment(source.get("since")), _moment(source.get("until"))
    judge_from, horizon = _moment(source.get("judge_from")), _moment(source.get("labels_until"))
    columns = ["_id", "_time", *(f.name for f in schema.fields if f.private != "drop")]
    parts = []
    for batch in _batches(source["files"]):
        table = predictions.read_files(store, batch, columns=columns)
        mask = pc.is_valid(table["_time"])
        if since:
            mask = pc.and_(mask, pc.greater_equal(table["_time"], pa.scalar(since, table["_time"].type)))
        if until:
            mask = pc.and_(mask, pc.less(table["_time"], pa.scalar(until, table["_time"].type)))
        parts.append(table.filter(mask))
    table = predictions.concat(parts, f"the log of {model}")
    answers = labels.read_files(store, source["labels"])
    key = schema.id_field.name if schema.id_field else None
    joined = labels.join(table, answers, key, horizon)
    labelled = joined.filter(pc.is_valid(joined["_truth"]))
    warnings = []
    if labelled.num_rows < joined.num_rows:
        warnings.append(f"{joined.num_rows - labelled.num_rows} of {joined.num_rows} logged rows have no label yet")
    if not labelled.num_rows:
        raise DataError(
            "no logged row there has a label",
            object=f"log of {model}",
            got=f"{joined.num_rows} rows, {answers.num_rows} labels",
            hint="send labels to /feedback or with: trimtab label",
        )
    labelled = labelled.sort_by([("_time", "ascending"), ("_id", "ascending")])
    rows = _as_rows(labelled, schema)
    if judge_from is None:
        return LogRows([rows], [], str(source.get("against") or ""), warnings)
    late = pc.greater_equal(rows["_time"], pa.scalar(judge_from, rows["_time"].type))
    return LogRows([rows.filter(pc.invert(late))], [rows.filter(late)], str(source.get("against") or ""), warnings)


def _as_rows(labelled: pa.Table, schema: Schema) -> pa.Table:
    """The log's columns as a dataset's: fields in order, target, `_id`, `_time`."""
    import pyarrow as pa

    from trimtab.core.tables import TIME, target_field

    columns: dict[str, Any] = {}
    for field in schema.arrow_fields():
        if field.name in labelled.column_names:
            columns[field.name] = labelled[field.name].cast(field.type)
        else:
            columns[field.name] = pa.nulls(labelled.num_rows, field.type)
    target = target_field(schema)
    try:
        columns[target.name] = labelled["_truth"].cast(target.type)
    except pa.ArrowInvalid as error:
        raise DataError("a label is no number", object=target.name, expected="a number", got=str(error)) from None
    columns["_id"] = labelled["_id"].cast(pa.string())
    columns["_time"] = labelled["_time"].cast(TIME)
    return pa.table(columns)
