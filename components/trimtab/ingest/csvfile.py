"""CSV in bounded memory: every column as text, a block at a time, and precise words about what is wrong.

Text first, types later (`convert`): so that the rows of a bad value are known, and `NA` can be a category.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trimtab.core.errors import DataError
from trimtab.ingest.origin import Origin, open_bytes, open_text, pieces

# Arrow reads up to 32 blocks ahead, so the block's size bounds the memory; a row must fit into one.
BLOCK_BYTES = 1 << 20
MOST_BLOCK_BYTES = 32 << 20
DELIMITERS = ",;\t|"
_MAGIC = {
    b"PK\x03\x04": "a zip or Excel file",
    b"PAR1": "a Parquet file",
    b"\x1f\x8b": "a gzip file (name it .csv.gz)",
    b"\xd0\xcf\x11\xe0": "an old Excel file",
    b"%PDF": "a PDF",
    b"SQLi": "an SQLite database",
}


def read_header(path: Path, name: str, delimiter: str, encoding: str) -> list[str]:
    """The column names.

    Raises:
        DataError: the file is empty, not text, not in that encoding, or a name comes twice.
    """
    with open_bytes(path) as file:
        head = file.read(1 << 16)
    if not head.strip():
        raise DataError("the file is empty", object=name, expected="a header and rows", hint="check the export")
    kind = next((what for magic, what in _MAGIC.items() if head.startswith(magic)), "")
    if kind:
        raise DataError("not a CSV file", object=name, got=kind, hint="save it as CSV or Parquet")
    if encoding == "utf-8":
        for mark, found in ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
            if head.startswith(mark):
                _not_utf8(name, 1, found, "")
        check_utf8(path, name, head)
    with open_text(path, encoding) as text:
        header = [h.strip() for h in next(csv.reader(text, delimiter=delimiter), [])]
    twice = sorted({h for h in header if header.count(h) > 1})
    if twice:
        raise DataError("a column name comes twice in the header", object=name, got=", ".join(map(repr, twice)))
    return header


def guess_delimiter(path: Path, encoding: str = "utf-8") -> str:
    """The delimiter that a file's name and header suggest; a comma where nothing else fits."""
    with open_text(path, encoding) as text:
        line = text.readline(1 << 16)
    counts = {d: line.count(d) for d in DELIMITERS}
    best = max(counts, key=lambda d: counts[d])
    return best if counts[best] else ","


def _not_utf8(name: str, line: int, encoding: str, got: str) -> None:
    raise DataError(
        f"line {line} is not UTF-8",
        object=name,
        got=got,
        hint=f"save it as UTF-8, or name its encoding: {{path: {Path(name).name}, encoding: {encoding}}}",
    )


def check_utf8(path: Path, name: str, head: bytes | None = None) -> None:
    """Find the first byte that is not UTF-8.

    Args:
        path: the file.
        name: for the message.
        head: only these first bytes instead of the whole file.

    Raises:
        DataError: names the line and the bytes.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    line = 1
    with open_bytes(path) as file:
        for piece in [head] if head is not None else pieces(file):
            held = decoder.getstate()[0]
            try:
                decoder.decode(piece)
            except UnicodeDecodeError as error:
                bad = error.object[error.start : error.start + 4]
                line += (held + piece)[: error.start].count(b"\n")
                _not_utf8(name, line, "latin-1", f"the bytes {bad.hex(' ')}")
            line += piece.count(b"\n")


def read_csv(path: Path, origin: Origin, columns: list[str], header: list[str], block_bytes: int = 0) -> Iterator[Any]:
    """The wanted columns as text (empty is null), a block at a time.

    Args:
        path: the file, plain or .gz.
        origin: its name, delimiter and encoding.
        columns: what to read.
        header: all names, as `read_header` gave them.
        block_bytes: how much of the file is read at once; 0: as the length of the first row asks for.

    Yields:
        pa.Table of strings.

    Raises:
        DataError: a row has another number of values than the header, or the text is not as declared.
    """
    import pyarrow as pa
    import pyarrow.csv as pc

    wrong: list[tuple[int, int, int]] = []

    def note(row: Any) -> str:
        # Without a number there is nothing to point at, and one is always there when a single thread reads.
        wrong.append((row.number or 0, row.expected_columns, row.actual_columns))
        return "skip"

    options = {
        "read_options": pc.ReadOptions(
            use_threads=False,
            block_size=block_bytes or _block_bytes(path),
            encoding=origin.encoding,
            column_names=header,
            skip_rows=0,
            skip_rows_after_names=1,
        ),
        "parse_options": pc.ParseOptions(delimiter=origin.delimiter, newlines_in_values=True, invalid_row_handler=note),
        "convert_options": pc.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()),
            include_columns=columns,
            strings_can_be_null=True,
            null_values=[""],
            quoted_strings_can_be_null=True,
        ),
    }
    try:
        with pc.open_csv(str(path), **options) as reader:
            for batch in reader:
                if wrong:
                    break
                yield pa.Table.from_batches([batch])
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        _explain(error, path, origin)
    if wrong:
        _, expected, got = wrong[0]
        origin.refuse(
            f"{'a row has' if len(wrong) == 1 else 'rows have'} another number of values than the header"
            + _lines(path, origin, expected),
            expected=str(expected),
            got=str(got),
            hint="quote values that hold the delimiter, and look for a quote that is not closed",
        )


def _lines(path: Path, origin: Origin, expected: int, shown: int = 8) -> str:
    """The lines whose number of values is wrong, in words."""
    found: list[int] = []
    with open_text(path, origin.encoding) as text:
        reader = csv.reader(text, delimiter=origin.delimiter)
        for record in reader:
            if record and len(record) != expected:
                found.append(reader.line_num)
                if len(found) > shown:
                    break
    more = ", …" if len(found) > shown else ""
    return f" on line{'s' if len(found) > 1 else ''} {', '.join(map(str, found[:shown]))}{more}" if found else ""


def _block_bytes(path: Path) -> int:
    """A block that holds some rows like the first ones."""
    with open_bytes(path) as file:
        longest = max(len(file.readline(MOST_BLOCK_BYTES)) for _ in range(3))
    return min(MOST_BLOCK_BYTES, max(BLOCK_BYTES, 4 * longest))


def _explain(error: Exception, path: Path, origin: Origin) -> None:
    text = str(error)
    if "UTF8" in text or "UTF-8" in text or isinstance(error, UnicodeDecodeError):
        if origin.encoding == "utf-8":
            check_utf8(path, origin.name)
        raise DataError("the text is not in that encoding", object=origin.name, expected=origin.encoding) from None
    if "straddling" in text:
        raise DataError(
            "a value never ends",
            object=origin.name,
            expected="rows that end within some MB",
            hint="look for a quote that is not closed",
        ) from None
    if isinstance(error, LookupError) or "encoding" in text:
        raise DataError("no such encoding", object=origin.name, got=origin.encoding) from None
    raise DataError("the file cannot be read as CSV", object=origin.name, got=text[:200]) from None
