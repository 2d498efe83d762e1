"""What answered requests leave on disk: frames of many rows, arrays as their bytes.

A frame holds requests of one version whose rows have one form:

    8 bytes     lengths of head and body, two unsigned 32-bit numbers, little-endian
    head        JSON: `v` version; a list each with one entry a request: `i` UUID, `k` rows, `t` microseconds since
                1970, `l` latency in ms, `s` share, `q` and `w` request and trace id (absent where all are empty);
                `y` labels or numbers, one a row; `c` the columns of the body as [name, dtype, shape];
                `j` columns that are no arrays; `r` rows as objects, where they came so, without their images
    body        the columns' bytes one after another; the probabilities are the column `""`

or single rows of numbers (`singles`) as they were packed, one after another:

    head        JSON: `v` version; `f` a row's parts as [name, dtype, shape]: those above by their letters, `y` as the
                label's place in `z` or as a number, `x` the features, `p` the probabilities; `z` the classes

Joining requests before writing makes a row cost less than a microsecond here, and nothing but a copy when it is read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from mmap import mmap
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson

from trimtab.core.privacy import keyed_hash

if TYPE_CHECKING:
    from trimtab.core.schema import Schema
    from trimtab.serving.rows import Answered

Array = np.ndarray[Any, Any]
Columns = Mapping[str, Any]
# Bytes of a frame, or the memory of a column.
Part = bytes | memoryview
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

    def objects(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows without private values; the given ones stay as they are."""
        if not self.private:
            return rows
        cleaned = []
        for record in rows:
            kept = {name: value for name, value in record.items() if name not in self._dropped}
            for name in self._hashed:
                if kept.get(name) is not None:
                    kept[name] = keyed_hash(self._key, kept[name])
            cleaned.append(kept)
        return cleaned

    def columns(self, columns: Columns) -> Columns:
        """The same of rows that came as columns."""
        if not self.private:
            return columns
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


def rows_head(version: str, parts: Sequence[Sequence[Any]], classes: Sequence[str]) -> bytes:
    """The head of every frame of packed rows of a version."""
    return orjson.dumps({"v": version, "f": parts, "z": classes})


def of_rows(head: bytes, views: Sequence[memoryview], privacy: Privacy) -> list[Part]:
    """Packed rows as a frame, without private values.

    Args:
        head: as of `rows_head`.
        views: their memory, whole rows in each.
        privacy: the version's.
    """
    if not privacy.private:
        return [LENGTHS.pack(len(head), sum(map(len, views))), head, *views]
    told, columns = _read_rows(orjson.loads(head), b"".join(views))
    building = Building(told["v"], told["y"].tolist())
    uuids = [uuid.decode() for uuid in told["i"].tolist()]
    counts, times, latencies, shares = (told[letter].tolist() for letter in "ktls")
    building.requests(uuids, counts, times, latencies, shares, [], [])
    if PROBABILITIES in columns:
        building.add(PROBABILITIES, [columns[PROBABILITIES]])
    building.columns([privacy.columns({MATRIX: columns[MATRIX]})])
    return building.packed()


def _read_rows(head: dict[str, Any], body: bytes | memoryview) -> Frame:
    """Packed rows as any other frame, what came with each request as arrays.

    Raises:
        ValueError: the body is not of whole rows, or a label is none of the classes.
    """
    rows = np.frombuffer(body, np.dtype([(name, dtype, *map(tuple, shape)) for name, dtype, *shape in head["f"]]))
    told: dict[str, Any] = {letter: rows[letter] for letter in "itlsy"}
    told |= {"v": head["v"], "k": np.ones(len(rows), np.int64), "j": {}}
    columns = {MATRIX: rows["x"]}
    if head["z"]:
        if not ((rows["y"] >= 0) & (rows["y"] < len(head["z"]))).all():
            raise ValueError(f"a label is none of the {len(head['z'])} classes")
        told["y"] = np.array(head["z"], object)[rows["y"]]
        columns[PROBABILITIES] = rows["p"]
    return Frame(told, columns)


def encode(rows: Sequence[Answered], privacy: Mapping[str, Privacy]) -> list[Part]:
    """Answered requests as frames.

    Args:
        rows: in any order; each with one row at least.
        privacy: of each version.

    Returns:
        The frames' bytes in parts, to be written one after another.

    Raises:
        Exception: a value is of no type that can be written (numpy's or orjson's own error).
    """
    parts: dict[Any, list[Any]] = {}
    for row in rows:
        parts.setdefault((row.version, _form(row.records)), []).append(row)
    return [written for (version, _), part in parts.items() for written in _frame(part, privacy[version])]


def _form(records: Any) -> tuple[str, ...] | None:
    """The columns that a request's rows have, for those of one frame have the same; None for objects."""
    if isinstance(records, np.ndarray):
        return (MATRIX,)
    return None if isinstance(records, list) else tuple(records)


def _frame(rows: Sequence[Answered], privacy: Privacy) -> list[Part]:
    """Requests of one form as a frame."""
    versions, uuids, times, latencies, shares, records, outputs, probabilities, requests, traces = zip(
        *rows, strict=True
    )
    building = Building(versions[0], list(chain.from_iterable(outputs)))
    building.requests(uuids, list(map(len, outputs)), times, latencies, shares, requests, traces)
    if probabilities[0] is not None:
        building.add(PROBABILITIES, probabilities)
    if isinstance(records[0], list):
        building.objects(list(chain.from_iterable(map(privacy.objects, records))))
    else:
        building.columns([privacy.columns(_columns(one)) for one in records])
    return building.packed()


def _columns(records: Any) -> Columns:
    """Rows that came as columns or as a matrix, as columns."""
    return {MATRIX: records} if isinstance(records, np.ndarray) else records


class Building:
    """A frame that is being made.

    Args:
        version: the one that answered.
        outputs: its labels or numbers, one a row.
    """

    def __init__(self, version: str, outputs: Sequence[Any]) -> None:
        self._rows = len(outputs)
        self._head: dict[str, Any] = {"v": version, "y": outputs, "c": []}
        self._body: list[Part] = []

    def requests(
        self,
        uuids: Sequence[str],
        counts: Sequence[int],
        times: Sequence[int],
        latencies: Sequence[float],
        shares: Sequence[int],
        requests: Sequence[str],
        traces: Sequence[str],
    ) -> None:
        """What came with each request, and how many rows it has."""
        self._head |= {"i": uuids, "k": counts, "t": times, "l": latencies, "s": shares}
        self._head |= {letter: values for letter, values in (("q", requests), ("w", traces)) if any(values)}

    def add(self, name: str, arrays: Sequence[Array]) -> None:
        """A column of numbers, of all requests one after another."""
        joined = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        self._check(name, len(joined))
        self._head["c"].append([name, joined.dtype.str, joined.shape])
        self._body.append(np.ascontiguousarray(joined).reshape(-1).view(np.uint8).data)

    def columns(self, given: Sequence[Columns]) -> None:
        """The rows as columns, those of each request."""
        others = self._head["j"] = {}
        for name in given[0]:
            values = [columns[name] for columns in given]
            if all(isinstance(value, np.ndarray) and value.dtype.kind in "fiub" for value in values):
                self.add(name, values)
            else:
                others[name] = [_plain(value) for value in chain.from_iterable(values)]
                self._check(name, len(others[name]))

    def objects(self, rows: list[dict[str, Any]]) -> None:
        """The rows as objects."""
        self._check("rows", len(rows))
        images = _images(rows)
        for name in images:
            self.add(name, [np.stack([record[name] for record in rows])])
        self._head["r"] = [{k: v for k, v in row.items() if k not in images} for row in rows] if images else rows

    def packed(self) -> list[Part]:
        """The frame's parts."""
        encoded = orjson.dumps(self._head, option=orjson.OPT_SERIALIZE_NUMPY)
        return [LENGTHS.pack(len(encoded), sum(map(len, self._body))), encoded, *self._body]

    def _check(self, name: str, n: int) -> None:
        if n != self._rows:
            raise ValueError(f"column {name!r} holds {n} rows of {self._rows}")


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


def alike(found: Sequence[Frame]) -> list[list[Frame]]:
    """Frames by their form: a column is then made of many rows at once."""
    parts: dict[Any, list[Frame]] = {}
    for frame in found:
        head, columns = frame
        form = (
            tuple((name, array.shape[1:]) for name, array in columns.items()),
            tuple(head.get("j", ())),
            "r" in head,
        )
        parts.setdefault(form, []).append(frame)
    return list(parts.values())


def join(part: Sequence[Frame], without: Sequence[str] = ()) -> Frame:
    """Frames of one form as one, without some columns."""
    heads = [frame.head for frame in part]
    head: dict[str, Any] = {"v": heads[0]["v"]}
    for letter in ("i", "k", "t", "l", "s", "y", *(letter for letter in "r" if letter in heads[0])):
        head[letter] = _chained([one[letter] for one in heads])
    for letter in ("q", "w"):
        if any(letter in one for one in heads):
            head[letter] = [value for one in heads for value in one.get(letter) or [""] * len(one["i"])]
    if "j" in heads[0]:
        head["j"] = {name: [value for one in heads for value in one["j"][name]] for name in heads[0]["j"]}
    names = [name for name in part[0].columns if name not in without]
    return Frame(head, {name: np.concatenate([frame.columns[name] for frame in part]) for name in names})


def _chained(values: Sequence[Any]) -> Any:
    """Values of several frames one after another: an array where all are arrays."""
    if all(isinstance(one, np.ndarray) for one in values):
        return np.concatenate(values)
    return list(chain.from_iterable(values))


def decode(body: bytes | mmap, start: int = 0) -> Iterator[tuple[Frame, int]]:
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
        if "f" in head:
            yield _read_rows(head, view[place:start]), start
            continue
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
