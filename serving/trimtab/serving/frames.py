"""What answered requests leave on disk: frames of many rows, arrays as their bytes.

A frame holds requests of one version whose rows have one form:

    8 bytes     lengths of head and body, two unsigned 32-bit numbers, little-endian
    head        JSON: `v` version; a list each with one entry a request: `i` UUID, `k` rows, `t` microseconds since
                1970, `l` latency in ms, `s` share, `q` and `w` request and trace id (absent where all are empty);
                `y` labels or numbers, one a row; `c` the columns of the body as [name, dtype, shape];
                `j` columns that are no arrays; `r` rows as objects, where they came so, without their images
    body        the columns' bytes one after another; the probabilities are the column `""`

Joining requests before writing makes a row cost about a microsecond here, and nothing but a copy when it is read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
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
        private: whether anything is.
    """

    def __init__(self, schema: Schema, key: bytes) -> None:
        self._dropped = frozenset(field.name for field in schema.fields if field.private == "drop")
        self._hashed = frozenset(field.name for field in schema.fields if field.private == "hash")
        self.private = bool(self._dropped or self._hashed)
        self._key = key
        self._features = [field.name for field in schema.features]
        self._stay = [place for place, field in enumerate(schema.features) if not field.private]
        self._single = schema.single_input and MATRIX not in schema.by_name

    def clean(self, rows: list[dict[str, Any]] | Columns) -> list[dict[str, Any]] | Columns:
        """The rows, objects or columns, without private values; the given ones stay as they are."""
        if not self.private:
            return rows
        if not isinstance(rows, list):
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
    parts: dict[Any, list[Answered]] = {}
    forms = {(row.version, *row.records) if type(row.records) is not list else row.version for row in rows}
    if len(forms) == 1:
        return [_frame(rows, privacy[rows[0].version])]
    for row in rows:
        form = (row.version, *row.records) if type(row.records) is not list else row.version
        parts.setdefault(form, []).append(row)
    return [_frame(part, privacy[part[0].version]) for part in parts.values()]


def _frame(rows: Sequence[Answered], privacy: Privacy) -> bytes:
    # All requests' versions, all their ids, and so on: turning the table is cheaper than walking it.
    versions, uuids, times, latencies, shares, records, outputs, probabilities, requests, traces = zip(
        *rows, strict=True
    )
    head: dict[str, Any] = {
        "v": versions[0],
        "i": uuids,
        "k": list(map(len, outputs)),
        "t": times,
        "l": latencies,
        "s": shares,
        "y": list(chain.from_iterable(outputs)),
        "c": [],
    }
    head |= {letter: values for letter, values in (("q", requests), ("w", traces)) if any(values)}
    body: list[bytes] = []

    def check(name: str, n: int) -> None:
        if n != len(head["y"]):
            raise ValueError(f"column {name!r} holds {n} rows of {len(head['y'])}")

    def add(name: str, arrays: Sequence[Array]) -> None:
        joined = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        check(name, len(joined))
        head["c"].append([name, joined.dtype.str, joined.shape])
        body.append(joined.tobytes())

    if probabilities[0] is not None:
        add(PROBABILITIES, probabilities)
    given: Sequence[Any] = [privacy.clean(one) for one in records] if privacy.private else records
    if type(given[0]) is list:
        objects: list[dict[str, Any]] = list(chain.from_iterable(given))
        check("rows", len(objects))
        images = _images(objects)
        for name in images:
            add(name, [np.stack([record[name] for record in objects])])
        head["r"] = [{k: v for k, v in record.items() if k not in images} for record in objects] if images else objects
    else:
        head["j"] = {}
        for name in given[0]:
            values = [columns[name] for columns in given]
            if all(isinstance(value, np.ndarray) and value.dtype.kind in "fiub" for value in values):
                add(name, values)
            else:
                head["j"][name] = [_plain(value) for value in chain.from_iterable(values)]
                check(name, len(head["j"][name]))
    encoded = orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join([LENGTHS.pack(len(encoded), sum(map(len, body))), encoded, *body])


def _images(records: list[dict[str, Any]]) -> set[str]:
    """The fields that are arrays of one shape in all of these rows."""
    found = {name for name, value in records[0].items() if isinstance(value, np.ndarray) and value.dtype.kind == "f"}
    for name in list(found):
        first = records[0][name]
        if any(getattr(r.get(name), "shape", None) != first.shape or r[name].dtype.kind != "f" for r in records):
            found.remove(name)
    return found


def _plain(value: Any) -> Any:
    """A value of a text tensor, [n] or [n, 1], as JSON has it."""
    while isinstance(value, np.ndarray) and value.shape == (1,):
        value = value[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def join(found: Sequence[Frame]) -> list[Frame]:
    """Frames of the same form as one: a column is then made of many rows at once."""
    parts: dict[Any, list[Frame]] = {}
    for frame in found:
        head, columns = frame
        form = (
            tuple((name, array.shape[1:]) for name, array in columns.items()),
            tuple(head.get("j", ())),
            "r" in head,
        )
        parts.setdefault(form, []).append(frame)
    return [_joined(part) if len(part) > 1 else part[0] for part in parts.values()]


def _joined(part: list[Frame]) -> Frame:
    heads = [frame.head for frame in part]
    head: dict[str, Any] = {"v": heads[0]["v"]}
    for letter in ("i", "k", "t", "l", "s", "y", *(letter for letter in "r" if letter in heads[0])):
        head[letter] = [value for one in heads for value in one[letter]]
    for letter in ("q", "w"):
        if any(letter in one for one in heads):
            head[letter] = [value for one in heads for value in one.get(letter) or [""] * len(one["i"])]
    if "j" in heads[0]:
        head["j"] = {name: [value for one in heads for value in one["j"][name]] for name in heads[0]["j"]}
    names = part[0].columns
    return Frame(head, {name: np.concatenate([frame.columns[name] for frame in part]) for name in names})


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
