"""A guess at what an unknown table holds, for `trimtab init --from`: each column's kind, the target, and why."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.core.errors import DataError
from trimtab.core.profile import MIN_CLASS_ROWS, natural
from trimtab.core.schema import NAME, Kind
from trimtab.ingest import csvfile
from trimtab.ingest.columns import Seen
from trimtab.ingest.origin import Origin

TARGETS = ("target", "label", "class", "outcome", "y", "response", "churn", "churned", "default", "survived", "price")
ID_NAME = re.compile(r"(^|[_\s.-])(id|key|uuid|guid|nr|no|number|index)$|Id$|ID$|^(id|uuid)", re.ASCII)
FEW = 15  # a number with at most so many different values may be a class
MOST_GUESSED = 200  # a text column with more different values is text, not a category


@dataclass(frozen=True)
class Guess:
    """One column's guess.

    Attributes:
        column: its name in the table.
        name: the field's name.
        kind: its kind; None where the column is left out.
        why: what the guess rests on.
        nullable: some values are missing.
        shape: of an image.
        dtype: of a number.
    """

    column: str
    name: str
    kind: Kind | None
    why: str
    nullable: bool = False
    shape: tuple[int, ...] = ()
    dtype: str = "float64"


@dataclass(frozen=True)
class Table:
    """What was found out about a table.

    Attributes:
        rows: rows in it.
        options: `delimiter`, `encoding`, `nulls` that its source needs.
        target: name, and `column` where that differs.
        task: classification or regression; `why_target`, `why_task`: what that rests on.
        fields: the other columns, in order.
    """

    rows: int
    options: dict[str, Any]
    target: Guess
    task: str
    why_target: str
    why_task: str
    fields: tuple[Guess, ...]


def look(path: Path) -> tuple[list[Seen], dict[str, Any]]:
    """Read a whole table once.

    Returns:
        what each column holds, and the source's options.

    Raises:
        DataError: it cannot be read.
    """
    if path.name.lower().endswith(".parquet"):
        return _look_parquet(path), {}
    options: dict[str, Any] = {}
    encoding = "utf-8"
    try:
        csvfile.check_utf8(path, str(path))
    except DataError:
        with path.open("rb") as file:
            encoding = "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "latin-1"
        options["encoding"] = encoding
    delimiter = csvfile.guess_delimiter(path, encoding)
    if delimiter != ("\t" if ".tsv" in path.name.lower() else ","):
        options["delimiter"] = delimiter
    origin = Origin(str(path), path, delimiter, encoding)
    header = csvfile.read_header(path, origin.name, delimiter, encoding)
    names = [h for h in header if h]
    seen = {name: Seen(name) for name in names}
    for table in csvfile.read_csv(path, origin, names, header):
        for name, column in seen.items():
            column.add(table[name])
    return list(seen.values()), options


def _look_parquet(path: Path) -> list[Seen]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path, memory_map=False, buffer_size=1 << 20, pre_buffer=False)
        seen = {name: Seen(name) for name in file.schema_arrow.names}
        for batch in file.iter_batches(batch_size=16_384, use_threads=False):
            for name, column in seen.items():
                column.add(batch.column(name))
    except (pa.ArrowException, OSError) as error:
        raise DataError("the file cannot be read as Parquet", object=str(path), got=str(error)[:200]) from None
    return list(seen.values())


def guess_table(path: Path, target: str = "") -> Table:
    """Guess fields, target and task of a table.

    Args:
        path: a CSV or Parquet file.
        target: the target's column, where the user knows it.

    Raises:
        DataError: the file cannot be read, has no rows, or no column can be the target.
    """
    seen, options = look(path)
    rows = seen[0].rows if seen else 0
    if not rows:
        raise DataError("the table has no rows", object=str(path), expected="a header and rows")
    words = sorted({w for s in seen if s.typed == "text" for w in s.infinite_words})
    if words:
        options["nulls"] = words
    taken: set[str] = set()
    guesses = {s.name: _guess(s, _field_name(s.name, taken), words) for s in seen}
    chosen, why = _target(seen, guesses, target, path)
    task, why_task = _task(chosen)
    fields = tuple(g for name, g in guesses.items() if name != chosen.name)
    if not any(g.kind in ("number", "category", "image") for g in fields):
        raise DataError("no column looks like a feature", object=str(path), expected="numbers, categories or images")
    return Table(rows, options, guesses[chosen.name], task, why, why_task, fields)


def _field_name(column: str, taken: set[str]) -> str:
    """A field name for a column, the column's own where that will do."""
    name = column
    if not NAME.fullmatch(name):
        plain = unicodedata.normalize("NFKD", column.replace("ß", "ss")).encode("ascii", "ignore").decode()
        name = re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_")[:60] or "column"
        name = name if name[0].isalpha() else f"x_{name}"[:60]
    base, number = name, 2
    while name in taken:
        name, number = f"{base[:58]}_{number}", number + 1
    taken.add(name)
    return name


def _guess(seen: Seen, name: str, infinite: list[str]) -> Guess:
    column = seen.name
    missing = seen.empty + seen.nulls

    def is_(kind: Kind | None, why: str, *, nullable: bool = False, shape: tuple[int, ...] = ()) -> Guess:
        dtype = "float32" if kind == "number" and seen.narrow else "float64"
        return Guess(column, name, kind, why, nullable, shape, dtype)

    if seen.typed == "other":
        return is_(None, "a type of value that no field has")
    if seen.present == 0:
        return is_(None, "it has no values")
    if seen.typed == "list":
        return _image(seen, is_)
    if seen.times == seen.present:
        return is_("time", "every value reads as a time")
    some = f"; {missing:,} of {seen.rows:,} are missing" if missing else ""
    if seen.typed == "number" and seen.infinite:
        return is_(None, f"{seen.infinite:,} values are infinite: correct them to use it")
    if seen.numbers == seen.present and seen.typed != "truth":
        named = bool(ID_NAME.search(column))
        if named and seen.unique and seen.whole == seen.present:
            return is_("id", "a whole number of its own in every row")
        lost = seen.infinite
        some = (
            f"; {missing + lost:,} of {seen.rows:,} are missing" + (f" ({lost} infinite)" if lost else "")
            if (missing + lost)
            else ""
        )
        return is_("number", f"from {seen.low:g} to {seen.high:g}{some}", nullable=bool(missing or lost))
    return _words(seen, is_, infinite)


def _words(seen: Seen, is_: Callable[..., Guess], infinite: list[str]) -> Guess:
    different = len(seen.counts)
    lost = sum(seen.counts.get(w, 0) for w in infinite)
    empty = seen.empty + lost
    some = f"; {empty:,} of {seen.rows:,} are missing" if empty else ""
    mean = seen.length / max(1, seen.rows - seen.empty)
    if seen.unique and different + seen.overflow > 20 and not seen.spaces and mean <= 64:
        return is_("id", "a text of its own in every row")
    if not seen.lines and not seen.overflow and different <= MOST_GUESSED and different <= max(20, seen.rows // 4):
        note = ""
        if 0.8 <= seen.numbers / max(1, seen.present) < 1:
            odd = [v for v in seen.counts if not re.fullmatch(r"\s*[+-]?[\d.]+([eE][+-]?\d+)?\s*", v)]
            note = f"; mostly numbers, but also {', '.join(map(repr, odd[:3]))}"
        return is_("category", f"{different} different values{some}{note}", nullable=bool(empty))
    if 0.8 <= seen.numbers / max(1, seen.present) < 1:
        odd = [v for v in seen.counts if not re.fullmatch(r"\s*[+-]?[\d.]+([eE][+-]?\d+)?\s*", v)]
        return is_("text", f"mostly numbers, but also {', '.join(map(repr, odd[:3]))}: clean it to use it as a number")
    return is_("text", f"{'over ' if seen.overflow else ''}{different:,} different texts: kept, not used by the model")


def _image(seen: Seen, is_: Callable[..., Guess]) -> Guess:
    if len(seen.shapes) != 1 or seen.empty:
        return is_(None, "lists of different lengths")
    shape = next(iter(seen.shapes))
    side = math.isqrt(shape[0]) if len(shape) == 1 else 0
    if len(shape) == 1 and side > 1 and side * side == shape[0]:
        return is_("image", f"a list of {shape[0]} numbers in every row", shape=(side, side))
    if len(shape) in (2, 3) and min(shape) > 0:
        return is_("image", "nested lists of one shape", shape=tuple(shape))
    return is_(None, "lists that are no square image")


def _target(seen: list[Seen], guesses: dict[str, Guess], wanted: str, path: Path) -> tuple[Seen, str]:
    by_name = {s.name: s for s in seen}
    if wanted:
        if wanted not in by_name:
            from trimtab.core.project_rules import nearest

            raise DataError(f"there is no column {wanted!r}", object=str(path), hint=nearest(wanted, by_name))
        if not _can_be_target(by_name[wanted], guesses[wanted]):
            raise DataError(
                f"the column {wanted!r} cannot be the target",
                object=str(path),
                expected="different numbers, or classes of several rows each",
                got=guesses[wanted].why,
            )
        return by_name[wanted], "as you said"
    fit = [s for s in seen if _can_be_target(s, guesses[s.name])]
    for name in TARGETS:
        for s in fit:
            if s.name.lower() == name:
                return s, "its name"
    if not fit:
        raise DataError(
            "no column can be the target",
            object=str(path),
            expected="a column of different numbers, or of classes of several rows each",
        )
    return fit[-1], "the last column that can be predicted"


def _can_be_target(seen: Seen, guess: Guess) -> bool:
    if guess.kind == "number":
        return seen.low < seen.high
    return guess.kind == "category" and sum(1 for n in seen.counts.values() if n >= MIN_CLASS_ROWS) >= 2


def _task(seen: Seen) -> tuple[str, str]:
    classes = sorted((c for c, n in seen.counts.items() if n >= MIN_CLASS_ROWS), key=natural)
    numeric = seen.numbers == seen.present and seen.typed != "truth"
    if not numeric:
        return "classification", f"{len(seen.counts)} different texts"
    few = not seen.overflow and len(seen.counts) <= FEW and seen.whole == seen.present and not seen.infinite
    if few and len(classes) >= 2:
        return "classification", f"{len(seen.counts)} different whole numbers"
    return "regression", f"numbers from {seen.low:g} to {seen.high:g}"
