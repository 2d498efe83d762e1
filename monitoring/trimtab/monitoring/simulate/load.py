"""Any labelled table as a stream: columns told apart, the label found, rows put in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.core.errors import DataError
from trimtab.core.schema import Field, Schema, Target
from trimtab.monitoring.simulate.stream import Stream

LABELS = ("label", "target", "class", "y", "outcome", "response")
# Whole numbers with at most so many different values, each so often on average, are classes.
MOST_CLASSES, ROWS_A_CLASS = 100, 10
# A text column with more different values than this names rows, it does not group them.
MOST_CATEGORIES = 1000
LEAST_ROWS = 100
SECOND = 1_000_000
# Beyond this a difference of two numbers leaves float32, which a model's inputs are; beyond that floats skip integers.
LARGEST, EXACT = 1e38, float(2**53)
MOMENTS = tuple(pa.timestamp(unit, zone) for unit in ("us", "ns") for zone in (None, "UTC"))
Ints = npt.NDArray[np.int64]
Task = Literal["", "classification", "regression"]


@dataclass(frozen=True)
class Loaded:
    """A stream, and what was done to make it one, in words."""

    stream: Stream
    notes: tuple[str, ...]


def load(path: Path, label: str = "", time: str = "", task: Task = "") -> Loaded:
    """Read a Parquet (or CSV) table.

    Args:
        path: the file.
        label: column to predict; by default one named like a label, else the last one.
        time: column to sort by; by default the rows are in order as they are.
        task: `classification` or `regression`; by default seen from the label.

    Raises:
        DataError: the file cannot be read, lacks a column, or has too few rows or features.
    """
    table = _read(path)
    notes: list[str] = []
    label = _column(table, label, "label", path) if label else _guess_label(table, time)
    if time:
        time = _column(table, time, "time", path)
        if time == label:
            raise DataError("the label cannot be the time as well", object=time, hint="name another --time column")
    known = pc.is_valid(table[label])
    if pa.types.is_floating(table[label].type):
        known = pc.fill_null(pc.is_finite(table[label]), False)
    # Rows by their number in the file, from 1, so that a message can name one.
    rows = np.flatnonzero(np.asarray(known.to_numpy(zero_copy_only=False), bool)) + 1
    unlabelled = table.num_rows - len(rows)
    if unlabelled:
        table = table.filter(known)
        notes.append(f"{unlabelled:,} rows without a label were left out")
    if table.num_rows < LEAST_ROWS:
        raise DataError(
            "too few labelled rows for a simulation", object=str(path), expected=f"at least {LEAST_ROWS}",
            got=str(table.num_rows), hint="name a longer table",
        )  # fmt: skip
    times = np.arange(table.num_rows, dtype=np.int64) * SECOND
    if time:
        order, times = _order(table[time], time)
        table, rows = table.take(pa.array(order)), rows[order]
    target, truth = _target(table[label], label, task, rows)
    fields: list[Field] = []
    columns: dict[str, Any] = {}
    for name in table.column_names:
        if name == label or (time and name == time):
            continue
        found = _feature(table[name], name, f"f{len(fields)}", rows)
        if isinstance(found, str):
            notes.append(f"column {name!r} is left out: {found}")
            continue
        field, column = found
        fields.append(field)
        columns[field.name] = column
    if not fields:
        raise DataError(
            "no column is left to predict from", object=str(path), expected="numbers or categories beside the label",
            hint="name a table with features",
        )  # fmt: skip
    schema = Schema(fields=tuple(fields), target=target)
    stream = Stream(path.name.split(".")[0], schema, pa.table({**columns, target.name: truth}), times)
    return Loaded(stream, tuple(notes))


def _read(path: Path) -> pa.Table:
    import pyarrow.parquet as pq

    if not path.is_file():
        raise DataError("there is no such file", object=str(path), hint="name a Parquet or CSV file")
    try:
        if path.name.lower().endswith((".csv", ".csv.gz")):
            from pyarrow import csv

            table = csv.read_csv(path)
            # Texts that are not UTF-8 come as bytes, names as an error.
            if any(pa.types.is_binary(f.type) for f in table.schema) or not table.column_names:
                raise UnicodeError
        else:
            with pq.ParquetFile(path) as file:
                _once(file.schema_arrow.names, path)
            table = pq.read_table(path)
    except UnicodeError:
        raise DataError(
            "the table is not UTF-8", object=str(path), expected="Parquet, or CSV in UTF-8", got="other bytes",
            hint="save it as UTF-8, for instance with `iconv -f latin1 -t utf-8`",
        ) from None  # fmt: skip
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            "the table cannot be read", object=str(path), expected="Parquet, or CSV with a header",
            got=str(error).splitlines()[0][:160], hint="write it again, for instance with pandas' to_parquet",
        ) from None  # fmt: skip
    _once(table.column_names, path)
    if table.num_columns < 2:
        raise DataError(
            "the table has too few columns", object=str(path), expected="features and a label",
            got=", ".join(table.column_names) or "none", hint="name a labelled table",
        )  # fmt: skip
    # pandas' index is no feature.
    return table.select([n for n in table.column_names if not n.startswith("__index_level_")])


def _once(names: Sequence[str], path: Path) -> None:
    twice = sorted({repr(n) for n in names if list(names).count(n) > 1})
    if twice:
        raise DataError("columns come twice", object=str(path), got=", ".join(twice), hint="give each its own name")


def _column(table: pa.Table, name: str, what: str, path: Path) -> str:
    if name not in table.column_names:
        shown = ", ".join(table.column_names[:12]) + (", …" if table.num_columns > 12 else "")
        raise DataError(
            f"the table has no {what} column {name!r}", object=str(path), expected=f"one of {shown}", got=name,
            hint=f"name another --{what}",
        )  # fmt: skip
    return name


def _guess_label(table: pa.Table, time: str) -> str:
    names: list[str] = [n for n in table.column_names if not time or n != time]
    by_name, last = {n.lower(): n for n in names}, names[-1]
    return next((by_name[n] for n in LABELS if n in by_name), last)


def _order(column: pa.ChunkedArray, name: str) -> tuple[Ints, Ints]:
    """The rows' order by time, and their times in microseconds, rising."""
    column = _plain(column)
    kind = column.type
    try:
        if pa.types.is_string(kind):
            column = _moments(column)
        elif pa.types.is_date(kind):
            column = column.cast(pa.timestamp("us"))
        elif not (pa.types.is_integer(kind) or pa.types.is_timestamp(kind)):
            column = column.cast(pa.float64())
        kind = column.type
        finer = pa.types.is_timestamp(kind) and kind.unit == "ns"
        if pa.types.is_timestamp(kind):
            column = column.cast(pa.timestamp("ns" if finer else "us", kind.tz)).cast(pa.int64())
    except pa.ArrowException as error:
        raise DataError(
            "the time column cannot be read as times", object=name, expected="numbers, dates or RFC 3339 texts",
            got=str(error).splitlines()[0][:120], hint="leave --time out where the rows are in order already",
        ) from None  # fmt: skip
    empty = column.null_count
    if not empty and pa.types.is_floating(column.type):
        empty = len(column) - int(pc.sum(pc.is_finite(column)).as_py())
    if empty:
        raise DataError(
            "the time column has empty cells", object=name, expected="a time in each row",
            got=f"{empty} of {len(column)} without",
            hint="fill them, or leave --time out where the rows are in order already",
        )  # fmt: skip
    values = np.asarray(column.to_numpy())
    order = np.argsort(values, kind="stable")
    if pa.types.is_timestamp(kind):
        return order, (values[order] // (1000 if finer else 1)).astype(np.int64)
    # Plain numbers order the rows; what unit they are in is not known.
    return order, np.arange(len(values), dtype=np.int64) * SECOND


def _moments(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts as moments: RFC 3339, also without a zone, to the nanosecond."""
    for kind in MOMENTS:
        try:
            return column.cast(kind)
        except pa.ArrowException:
            continue
    return column.cast(MOMENTS[0])


def _doubles(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers as float64; whole numbers beyond 2**53 come as the nearest one."""
    return column.cast(pa.float64(), safe=False)


def _small(values: pa.ChunkedArray, name: str, rows: Ints) -> None:
    """Refuse finite numbers that a model's inputs (float32) cannot hold."""
    found = np.abs(np.asarray(values.to_numpy(), np.float64))
    over = np.flatnonzero(np.isfinite(found) & (found > LARGEST))
    if len(over):
        raise DataError(
            "a number is too large", object=f"column {name!r}, row {rows[over].min():,}",
            expected=f"at most {LARGEST:g} either side of 0", got=f"{found[over[rows[over].argmin()]]:g}",
            hint="scale the column, or leave it out",
        )  # fmt: skip


def _target(column: pa.ChunkedArray, name: str, task: Task, rows: Ints) -> tuple[Target, pa.ChunkedArray]:
    column = _plain(column)
    kind = column.type
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if not number and not (pa.types.is_string(kind) or pa.types.is_boolean(kind)):
        raise DataError(
            "the label is neither a number nor a class", object=name, expected="numbers, texts or booleans",
            got=str(kind), hint="name another --label",
        )  # fmt: skip
    if task == "regression" and not number:
        raise DataError(
            "a regression needs numbers", object=name, expected="numbers", got=str(kind), hint="leave --task out"
        )
    distinct = pc.count_distinct(column).as_py()
    if not task:
        whole = not number or bool(pc.all(pc.equal(pc.floor(_doubles(column)), _doubles(column))).as_py())
        classes = whole and (not number or (distinct <= MOST_CLASSES and distinct * ROWS_A_CLASS <= len(column)))
        task = "classification" if classes else "regression"
    if distinct < 2:
        raise DataError("every row has the same label", object=name, hint="name another --label")
    if task == "regression":
        values = _doubles(column)
        _small(values, name, rows)
        return Target(name="target", kind="number"), values
    if distinct > MOST_CATEGORIES:
        raise DataError(
            "the label has too many classes", object=name, expected=f"at most {MOST_CATEGORIES}", got=str(distinct),
            hint="name another --label",
        )  # fmt: skip
    texts = _texts(column)
    from trimtab.core.profile import natural

    found = sorted((t for t in pc.unique(texts).to_pylist()), key=natural)
    return Target(name="target", kind="category", classes=tuple(found)), texts


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Classes as text; the empty text has a name, and whole numbers have no point."""
    if pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        values = _doubles(column)
        if bool(pc.all(pc.and_(pc.equal(pc.floor(values), values), pc.less(pc.abs(values), EXACT))).as_py()):
            column = values.cast(pa.int64())
    texts = column.cast(pa.string())
    return pc.if_else(pc.equal(texts, ""), pa.scalar("(empty)"), texts)


def _feature(column: pa.ChunkedArray, called: str, name: str, rows: Ints) -> tuple[Field, Any] | str:
    """A column as a field, or why it is none."""
    column = _plain(column)
    kind = column.type
    if column.null_count == len(column):
        return "it is empty"
    if (
        pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
    ):
        values = _doubles(column)
        _small(values, called, rows)
        finite = pc.fill_null(pc.is_finite(values), False)
        values = pc.if_else(finite, values, pa.scalar(None, pa.float64()))
        if values.null_count == len(values):
            return "it has no finite number"
        return Field(name=name, kind="number", nullable=True), values
    if pa.types.is_string(kind):
        distinct = pc.count_distinct(column).as_py()
        if distinct > MOST_CATEGORIES or distinct > len(column) / 2:
            return f"{distinct:,} different texts name rows rather than group them"
        return Field(name=name, kind="category", nullable=True), column
    if pa.types.is_temporal(kind):
        return "times are no input; name it with --time to sort by it"
    return f"values of type {kind} are neither numbers nor categories"


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Without dictionaries and large or view strings."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    return column
