"""The fields of a model: what they are called, hold and mean, and how records become arrays.

A `Schema` is written in the project file, resolved by validate (classes and categories learned, useless fields
dropped), carried by every dataset and bundle, and used by the server on each request.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self

from trimtab.core.dataclass_checks import check_choice, check_texts, settle, tuple_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from trimtab.core.instances import Reader

Kind = Literal["number", "category", "image", "text", "time", "id"]
KINDS: tuple[Kind, ...] = ("number", "category", "image", "text", "time", "id")
FEATURES: frozenset[Kind] = frozenset({"number", "category", "image"})
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}")
NAME_RULE = "a letter, then at most 62 letters, digits, '_', '.' or '-'"


class TensorSpec(NamedTuple):
    """One input of the ONNX graph: name, V2 data type, and shape with -1 for the rows."""

    name: str
    dtype: Literal["FP32", "BYTES"]
    shape: tuple[int, ...]


def _as_texts(value: Any) -> Any:
    """Classes or categories as text; YAML reads unquoted yes, no, on, off as truth values, which is refused."""
    if not isinstance(value, (list, tuple)):
        return value
    if any(isinstance(item, bool) for item in value):
        raise ValueError("a class or category is true or false: put quotes around it, e.g. 'yes'")
    return [str(v) if isinstance(v, (int, float)) else v for v in value]


class _AsTexts:
    """Tells pydantic, where a project file is read, to take numbers as texts."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Callable[[Any], Any]) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(_as_texts, handler(source))


Texts = Annotated[tuple[str, ...], _AsTexts]


# What pydantic does with unknown keys where it reads one of these.
_STRICT = {"extra": "forbid"}


# These are plain dataclasses, because the server reads a schema at its start and pydantic's import and models would be
# a third of that start. In a project file pydantic reads them all the same: it knows dataclasses.
@dataclass(frozen=True)
class Field:
    """One field of a row.

    Raises:
        ValueError: the settings contradict each other, or one is not of its type.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    name: str = field(metadata={"description": "the field's name in requests, logs and reports"})
    kind: Kind = dataclasses.field(
        metadata={"description": "number, category and image are features; text, time and id are only kept"}
    )
    column: str = field(default="", metadata={"description": "its column in the source, where that has another name"})
    unit: str = field(default="", metadata={"description": "unit of a number, e.g. `mm`"})
    shape: tuple[int, ...] = field(default=(), metadata={"description": "height and width (and channels) of an image"})
    range: tuple[float | None, float | None] | None = field(
        default=None,
        metadata={"description": "usual smallest and largest value; values outside are warned about, not refused"},
    )
    categories: Texts = field(default=(), metadata={"description": "known categories; empty: learned from the data"})
    nullable: bool = field(
        default=False, metadata={"description": "may be missing; numbers and categories are then imputed"}
    )
    private: Literal["", "drop", "hash"] = field(
        default="", metadata={"description": "never in log, reports or page: dropped, or kept as a keyed hash"}
    )
    dtype: Literal["float64", "float32"] = field(
        default="float64",
        metadata={
            "description": "how a number is kept in datasets and in the log; the model takes `float32` in any case"
        },
    )
    description: str = field(default="", metadata={"description": "what it means, in words"})
    example: float | int | str | list[Any] | None = field(
        default=None, metadata={"description": "a value to try the model with"}
    )

    def __post_init__(self) -> None:
        check_texts(self, "name", "column", "unit", "description")
        _check_name(self.name)
        check_choice(self, "kind", KINDS)
        check_choice(self, "private", ("", "drop", "hash"))
        check_choice(self, "dtype", ("float64", "float32"))
        settle(self, "shape", tuple_of(self, "shape", int))
        settle(self, "categories", _texts(self, "categories"))
        if not isinstance(self.nullable, bool):
            raise ValueError(f"`nullable` is true or false, not {self.nullable!r}")
        if self.kind == "image":
            if not 2 <= len(self.shape) <= 3 or min(self.shape) < 1:
                raise ValueError("an image needs `shape`: [height, width] or [height, width, channels]")
            if self.nullable:
                raise ValueError("an image cannot be nullable: there is nothing to impute it with")
        elif self.shape:
            raise ValueError(f"`shape` is for images, and this is a {self.kind}")
        if self.dtype != "float64" and self.kind != "number":
            raise ValueError(f"`dtype` is for numbers, and this is of kind {self.kind}")
        if self.categories and self.kind != "category":
            raise ValueError(f"`categories` is for kind category, and this is a {self.kind}")
        if len(set(self.categories)) != len(self.categories) or "" in self.categories:
            raise ValueError("`categories` must be different from each other and not empty (the empty text is null)")
        if self.range is not None:
            self._check_range()
        if not isinstance(self.example, (float, int, str, list, type(None))):
            raise ValueError(f"`example` is a number, a text or a list, not {type(self.example).__name__}")

    def _check_range(self) -> None:
        if self.kind not in ("number", "image"):
            raise ValueError(f"`range` is for numbers and images, and this is a {self.kind}")
        ends: tuple[Any, ...] = tuple_of(self, "range", (int, float, type(None)))
        if len(ends) != 2:
            raise ValueError("`range` has two values, the smallest and the largest")
        try:
            low, high = (None if end is None else float(end) for end in ends)
        except OverflowError:
            low = high = math.inf
        if not all(end is None or math.isfinite(end) for end in (low, high)):
            raise ValueError("`range` has finite numbers; leave out an end with null")
        if low is not None and high is not None and not low < high:
            raise ValueError(f"`range` runs from {low} to {high}: the first must be smaller")
        settle(self, "range", (low, high))

    @property
    def source_column(self) -> str:
        """The column of the source that holds it."""
        return self.column or self.name

    @property
    def size(self) -> int:
        """Number of values in one row of it: the product of an image's shape, else 1."""
        size = 1
        for length in self.shape:
            size *= length
        return size


@dataclass(frozen=True)
class Target:
    """What is predicted.

    Raises:
        ValueError: as `Field`.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    name: str
    kind: Literal["category", "number"]
    classes: Texts = ()
    unit: str = ""
    column: str = ""

    def __post_init__(self) -> None:
        check_texts(self, "name", "unit", "column")
        _check_name(self.name)
        check_choice(self, "kind", ("category", "number"))
        settle(self, "classes", _texts(self, "classes"))
        if self.classes and self.kind == "number":
            raise ValueError("`classes` is for classification")
        if len(set(self.classes)) != len(self.classes) or "" in self.classes:
            raise ValueError("`classes` must be different from each other and not empty")

    @property
    def source_column(self) -> str:
        """The column of the source that holds it."""
        return self.column or self.name


@dataclass(frozen=True)
class Schema:
    """Fields and target of a model.

    Attributes:
        fields: all declared fields, in order; validate removes those that it drops.
        target: what is predicted; its classes are known after validate.
        key: name of the id field by which labels find their rows; by default the first field of kind id.
        ignored: names a request may carry without effect: fields that validate dropped.

    Raises:
        ValueError: the parts contradict each other.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    fields: tuple[Field, ...]
    target: Target
    key: str = ""
    ignored: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        settle(self, "fields", tuple_of(self, "fields", Field))
        settle(self, "ignored", tuple_of(self, "ignored", str))
        if not isinstance(self.target, Target):
            raise ValueError(f"`target` is no target: {self.target!r}")
        check_texts(self, "key")
        names = [f.name for f in self.fields]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"fields named twice: {', '.join(twice)}")
        if self.target.name in names:
            raise ValueError(f"{self.target.name!r} is the target and cannot be a field too")
        if self.key and self.key not in [f.name for f in self.fields if f.kind == "id"]:
            raise ValueError(f"the key {self.key!r} is no field of kind id")

    @classmethod
    def from_json(cls, body: bytes | str) -> Self:
        """The schema that `to_json` wrote.

        Raises:
            ValueError: it is none.
        """
        try:
            return cls.from_facts(json.loads(body))
        except RecursionError:
            raise ValueError("it is nested too deeply") from None

    @classmethod
    def from_facts(cls, facts: object) -> Self:
        """The schema that `to_facts` gave.

        Raises:
            ValueError: it is none.
        """
        values = _known(cls, facts)
        fields = values["fields"]
        if not isinstance(fields, (list, tuple)):
            raise ValueError("`fields` is a list")
        values["fields"] = tuple(Field(**_known(Field, field)) for field in fields)
        values["target"] = Target(**_known(Target, values["target"]))
        return cls(**values)

    def to_facts(self) -> dict[str, Any]:
        """All settings as JSON's types."""
        return {
            "fields": [_facts(field) for field in self.fields],
            "target": _facts(self.target),
            "key": self.key,
            "ignored": list(self.ignored),
        }

    def to_json(self) -> str:
        """The same as text."""
        return json.dumps(self.to_facts(), ensure_ascii=False)

    @cached_property
    def features(self) -> tuple[Field, ...]:
        """The model's inputs: number, category and image fields, in order."""
        return tuple(f for f in self.fields if f.kind in FEATURES)

    @cached_property
    def by_name(self) -> Mapping[str, Field]:
        """The fields by name."""
        return {f.name: f for f in self.fields}

    @cached_property
    def id_field(self) -> Field | None:
        """The field of kind id by which labels find their rows, where there is one."""
        ids = [f for f in self.fields if f.kind == "id"]
        return next((f for f in ids if f.name == self.key), ids[0] if ids else None)

    @cached_property
    def time_field(self) -> Field | None:
        """The first field of kind time, where there is one."""
        return next((f for f in self.fields if f.kind == "time"), None)

    @cached_property
    def single_input(self) -> bool:
        """All features are numbers: the graph has one input `input`, float32 [n, k]."""
        return bool(self.features) and all(f.kind == "number" for f in self.features)

    def tensors(self) -> list[TensorSpec]:
        """The graph's inputs: one `input` [n, k] where all features are numbers, else one a feature."""
        if self.single_input:
            return [TensorSpec("input", "FP32", (-1, len(self.features)))]
        shapes = {"number": (-1, 1), "category": (-1, 1)}
        return [
            TensorSpec(f.name, "BYTES" if f.kind == "category" else "FP32", shapes.get(f.kind, (-1, *f.shape)))
            for f in self.features
        ]

    @cached_property
    def _reader(self) -> Reader:
        from trimtab.core.instances import Reader

        return Reader(self)

    def parse_instances(self, instances: object) -> list[dict[str, Any]]:
        """V1 `instances` as records: every field typed, null where it is null or absent.

        Values are float, str, datetime (UTC) or float32 array of the image's shape.

        Args:
            instances: a list of objects by field name, or of arrays in the order of the features. A schema with
                one feature takes the bare value too (an image as nested list).

        Raises:
            RequestError: 400, names field, expected, got and row.
        """
        return self._reader.parse_instances(instances)

    def from_tensors(self, tensors: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        """V2 inputs as records, the same as `parse_instances` gives.

        Args:
            tensors: one a field ([n], [n, 1] or [n, *shape]), or a single `input` [n, k] where all are numbers.

        Raises:
            RequestError: 400, names field, expected, got and row.
        """
        return self._reader.from_tensors(tensors)

    def encode(self, records: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """Records as the graph's inputs (see `tensors`); null numbers are NaN, null categories the empty text."""
        return self._reader.encode(records)

    def arrow_fields(self, *, logged: bool = False) -> list[pa.Field]:
        """The fields as Arrow types: datasets', or the prediction log's where `logged` (private ones go or hash)."""
        from trimtab.core.tables import arrow_fields

        return arrow_fields(self, logged=logged)

    def encode_table(self, table: pa.Table) -> dict[str, np.ndarray]:
        """A table's feature columns as the graph's inputs, vectorised."""
        from trimtab.core.tables import encode_table

        return encode_table(self, table)


def _facts(part: Field | Target) -> dict[str, Any]:
    values = {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
    if values.get("dtype") == "float64":  # what was written before there was a choice reads, and digests, as it did
        del values["dtype"]
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _known(kind: type[Any], facts: object) -> dict[str, Any]:
    """A JSON object as arguments of one of these classes: no unknown ones, and none missing."""
    if not isinstance(facts, Mapping):
        raise ValueError(f"a {kind.__name__.lower()} is an object, not {type(facts).__name__}")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(facts) - set(fields))
    if unknown:
        raise ValueError(f"a {kind.__name__.lower()} has no {', '.join(unknown)}")
    missing = [n for n, f in fields.items() if f.default is dataclasses.MISSING and n not in facts]
    if missing:
        raise ValueError(f"a {kind.__name__.lower()} needs {', '.join(missing)}")
    return dict(facts)


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no field name: expected {NAME_RULE}")


def _texts(part: object, name: str) -> tuple[str, ...]:
    settle(part, name, _as_texts(getattr(part, name)))
    return tuple_of(part, name, str)
