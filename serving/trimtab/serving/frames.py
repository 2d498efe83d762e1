"""What answered requests leave on disk: frames of many rows, arrays as their bytes.

A frame holds requests of one version whose rows have one form:

    8 bytes     lengths of head and body, two unsigned 32-bit numbers, little-endian
    head        JSON: `v` version; a list each with one entry a request: `i` UUID, `k` rows, `t` microseconds since
                1970, `l` latency in ms, `s` share, `q` and `w` request and trace id (absent where all are empty);
                `y` labels or numbers, one a row; `c` the columns of the body as [name, dtype, shape];
                `j` columns that are no arrays; `r` rows as objects, where they came so
    body        the columns' bytes one after another; the probabilities are the column `""`

Joining requests before writing makes a row cost about a microsecond here, and nothing but a copy when it is read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson

from trimtab.core.privacy import keyed_hash

if TYPE_CHECKING:
    from trimtab.core.schema import Schema
    from trimtab.serving.rows import Answered

Array = np.ndarray[Any, Any]
Columns = Mapping[str, Any]
LENGTHS = struct.Struct("<II")
# The column of the probabilities; no field has an empty name.
PROBABILITIES = ""
# All features of a schema that has only numbers, in one matrix.
MATRIX = "input"


class Frame(NamedTuple):
    """A frame as it was read: its head, and its arrays by name."""

    head: dict[str, Any]
    columns: dict[str, Array]

    @property
    def rows(self) -> int:
        """How many rows it holds."""
        return len(self.head["y"])


class Privacy:
    """Takes private fields out of rows: dropped, or replaced by a keyed hash.

    Args:
        schema: says which fields are private.
        key: the hash's key, the same for all servers whose logs shall be joined.

    Attributes:
        matrix: names of the features that stay in the matrix, in order.
    """

    def __init__(self, schema: Schema, key: bytes) -> None:
        self._dropped = frozenset(field.name for field in schema.fields if field.private == "drop")
        self._hashed = frozenset(field.name for field in schema.fields if field.private == "hash")
        self._key = key
        self._features = [field.name for field in schema.features]
        self.matrix = matrix_names(schema)
        self._stay = [place for place, field in enumerate(schema.features) if not field.private]
        self._single = schema.single_input and MATRIX not in schema.by_name

    def clean(self, rows: list[dict[str, Any]] | Columns) -> list[dict[str, Any]] | Columns:
        """The rows, objects or columns, without private values; the given ones stay as they are."""
        if not self._dropped and not self._hashed:
            return rows
        if isinstance(rows, Mapping):
            return self._columns(rows)
        cleaned = []
        for record in rows:
            kept = {name: value for name, value in record.items() if name not in self._dropped}
            for name in self._hashed:
                if kept.get(name) is not None:
                    kept[name] = keyed_hash(self._key, kept[name])
            cleaned.append(kept)
        return cleaned

    def _columns(self, columns: Columns) -> Columns:
        kept: dict[str, Any] = {}
        for name, values in columns.items():
            if self._single and name == MATRIX:
                kept[name] = values[:, self._stay]
                for place, feature in enumerate(self._features):
                    if feature in self._hashed:
                        kept[feature] = self._hashes(values[:, place])
            elif name in self._hashed:
                kept[name] = self._hashes(values)
            elif name not in self._dropped:
                kept[name] = values
        return kept

    def _hashes(self, values: Any) -> list[str | None]:
        if isinstance(values, np.ndarray):
            values = [*values] if values.ndim > 1 and values.shape[1:] != (1,) else values.ravel().tolist()
        return [
            None if value is None or (isinstance(value, float) and value != value) else keyed_hash(self._key, value)
            for value in values
        ]


def matrix_names(schema: Schema) -> list[str]:
    """The fields that a logged matrix holds, in order: the features that are not private."""
    return [field.name for field in schema.features if not field.private]


def encode(rows: Sequence[Answered], privacy: Mapping[str, Privacy]) -> list[bytes]:
    """Answered requests as frames.

    Args:
        rows: in any order; each with one row at least.
        privacy: of each version.

    Raises:
        Exception: a value is of no type that can be written (numpy's or orjson's own error).
    """
    parts: dict[Any, list[tuple[Answered, Any]]] = {}
    for row in rows:
        records = privacy[row.version].clean(row.records)
        parts.setdefault(_form(row, records), []).append((row, records))
    return [_frame([row for row, _ in part], [records for _, records in part]) for part in parts.values()]


def _form(row: Answered, records: list[dict[str, Any]] | Columns) -> Any:
    """Requests of the same form go into one frame."""
    if isinstance(records, Mapping):
        return row.version, tuple(records), tuple(map(type, records.values()))
    return row.version


def _frame(rows: list[Answered], records: list[Any]) -> bytes:
    counts = [len(row.outputs) for row in rows]
    head: dict[str, Any] = {
        "v": rows[0].version,
        "i": [row.uuid for row in rows],
        "k": counts,
        "t": [row.micros for row in rows],
        "l": [row.latency_ms for row in rows],
        "s": [row.share for row in rows],
        "y": [value for row in rows for value in row.outputs],
        "c": [],
    }
    for letter, name in (("q", "request"), ("w", "trace")):
        values = [getattr(row, name) for row in rows]
        if any(values):
            head[letter] = values
    body: list[bytes] = []

    def add(name: str, arrays: list[Array]) -> None:
        joined = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        if len(joined) != len(head["y"]):
            raise ValueError(f"column {name!r} holds {len(joined)} rows of {len(head['y'])}")
        head["c"].append([name, joined.dtype.str, joined.shape])
        body.append(joined.tobytes())

    if rows[0].probabilities is not None:
        add(PROBABILITIES, [row.probabilities for row in rows if row.probabilities is not None])
    if isinstance(records[0], Mapping):
        lists: dict[str, list[Any]] = {}
        for name, first in records[0].items():
            if isinstance(first, np.ndarray) and first.dtype.kind in "fiub":
                add(name, [columns[name] for columns in records])
            else:
                lists[name] = [_plain(value) for columns in records for value in columns[name]]
        head["j"] = lists
    else:
        head["r"] = [record for one in records for record in one]
    encoded = orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join([LENGTHS.pack(len(encoded), sum(map(len, body))), encoded, *body])


def _plain(value: Any) -> Any:
    """A value of a text tensor, [n] or [n, 1], as JSON has it."""
    while isinstance(value, np.ndarray) and value.shape == (1,):
        value = value[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def decode(body: bytes, start: int = 0) -> Iterator[tuple[Frame, int]]:
    """The whole frames of a segment, each with the place behind it; what is torn at the end is left out.

    Args:
        body: the segment.
        start: where a frame begins.

    Raises:
        ValueError: what is whole is no frame.
    """
    view = memoryview(body)
    while len(view) - start >= LENGTHS.size:
        head_length, body_length = LENGTHS.unpack_from(view, start)
        place = start + LENGTHS.size + head_length
        if place + body_length > len(view):
            return
        head = orjson.loads(view[start + LENGTHS.size : place])
        start = place + body_length
        columns = {}
        for name, dtype, shape in head["c"]:
            kind, size = np.dtype(dtype), 1
            for length in shape:
                size *= length
            columns[name] = np.frombuffer(view, kind, size, place).reshape(shape)
            place += size * kind.itemsize
        if place != start:
            raise ValueError(f"the columns of a frame end at byte {place}, the frame at {start}")
        yield Frame(head, columns), start
