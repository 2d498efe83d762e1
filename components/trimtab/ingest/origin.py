"""Where a piece of a source lies, so that an error can point at it: file and line, or file and row."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

from trimtab.core.errors import DataError

SHOWN = 8


@dataclass(frozen=True)
class Origin:
    """A file, dataset or stretch of the log.

    Attributes:
        name: as a person knows it.
        path: the file, for text files whose lines can be looked up; else None.
        delimiter, encoding: how to read it as text.
    """

    name: str
    path: Path | None = None
    delimiter: str = ","
    encoding: str = "utf-8"

    def lines(self, rows: Sequence[int]) -> list[int]:
        """The lines (1-based) on which these rows (0-based, ascending) end; read only when something is wrong."""
        if self.path is None or not rows:
            return []
        wanted, row = list(rows)[:SHOWN], -1
        found: list[int] = []
        with open_text(self.path, self.encoding) as file:
            reader = csv.reader(file, delimiter=self.delimiter)
            next(reader, None)
            for record in reader:
                if not record:
                    continue
                row += 1
                if row == wanted[len(found)]:
                    found.append(reader.line_num)
                    if len(found) == len(wanted):
                        break
        return found

    def where(self, rows: Sequence[int], count: int | None = None) -> str:
        """` on line 4`, ` on lines 4, 9 and 11 more`, or the same with rows where there are no lines."""
        count = len(rows) if count is None else count
        if not rows:
            return ""
        numbers, noun = self.lines(rows), "line"
        if len(numbers) < min(len(rows), SHOWN):
            numbers, noun = list(rows)[:SHOWN], "row"
        more = f" and {count - len(numbers):,} more" if count > len(numbers) else ""
        return f" on {noun}{'s' if count > 1 else ''} {', '.join(map(str, numbers))}{more}"

    def refuse(
        self,
        message: str,
        rows: Sequence[int] = (),
        count: int | None = None,
        *,
        expected: str = "",
        got: str = "",
        hint: str = "",
    ) -> NoReturn:
        """Raise a DataError about these rows (0-based within this origin)."""
        rows = [int(r) for r in rows]
        raise DataError(
            message + self.where(rows, count),
            object=self.name,
            expected=expected,
            got=got,
            hint=hint,
        )


def open_bytes(path: Path) -> IO[bytes]:
    """The file's bytes, unpacked where its name ends in .gz."""
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")  # type: ignore[return-value]


def open_text(path: Path, encoding: str = "utf-8") -> IO[str]:
    """The file's text; what cannot be decoded is replaced, since this is for pointing at places alone."""
    encoding = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
    return io.TextIOWrapper(open_bytes(path), encoding=encoding, errors="replace", newline="")


def pieces(file: IO[bytes], size: int = 1 << 20) -> Iterator[bytes]:
    """A file's bytes in pieces."""
    while piece := file.read(size):
        yield piece
