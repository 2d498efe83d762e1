"""The fields of a model: what they are called, hold and mean, and how records become arrays.

A `Schema` is written in the project file, resolved by validate (classes and categories learned, useless fields
dropped), carried by every dataset and bundle, and used by the server on each request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic import Field as Setting

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


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no field name: expected {NAME_RULE}")


def _as_texts(value: Any) -> Any:
    """Classes or categories as text; YAML reads unquoted yes, no, on, off as truth values, which is refused."""
    if not isinstance(value, (list, tuple)):
        return value
    if any(isinstance(item, bool) for item in value):
        raise ValueError("a class or category is true or false: put quotes around it, e.g. 'yes'")
    return [str(v) if isinstance(v, (int, float)) else v for v in value]


Texts = Annotated[tuple[str, ...], BeforeValidator(_as_texts)]


class Field(BaseModel):
    """One field of a row."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Setting(description="the field's name in requests, logs and reports")
    kind: Kind = Setting(description="number, category and image are features; text, time and id are only kept")
    column: str = Setting(default="", description="its column in the source, where that has another name")
    unit: str = Setting(default="", description="unit of a number, e.g. `mm`")
    shape: tuple[int, ...] = Setting(default=(), description="height and width (and channels) of an image")
    range: tuple[float | None, float | None] | None = Setting(
        default=None, description="usual smallest and largest value; values outside are warned about, not refused"
    )
    categories: Texts = Setting(default=(), description="known categories; empty: learned from the data")
    nullable: bool = Setting(default=False, description="may be missing; numbers and categories are then imputed")
    private: Literal["", "drop", "hash"] = Setting(
        default="", description="never in log, reports or page: dropped, or kept as a keyed hash"
    )
    description: str = Setting(default="", description="what it means, in words")
    example: float | int | str | list[Any] | None = Setting(default=None, description="a value to try the model with")

    @model_validator(mode="after")
    def _consistent(self) -> Field:
        _check_name(self.name)
        if self.kind == "image":
            if not 2 <= len(self.shape) <= 3 or min(self.shape) < 1:
                raise ValueError("an image needs `shape`: [height, width] or [height, width, channels]")
            if self.nullable:
                raise ValueError("an image cannot be nullable: there is nothing to impute it with")
        elif self.shape:
            raise ValueError(f"`shape` is for images, and this is a {self.kind}")
        if self.categories and self.kind != "category":
            raise ValueError(f"`categories` is for kind category, and this is a {self.kind}")
        if len(set(self.categories)) != len(self.categories) or "" in self.categories:
            raise ValueError("`categories` must be different from each other and not empty (the empty text is null)")
        if self.range is not None:
            if self.kind not in ("number", "image"):
                raise ValueError(f"`range` is for numbers and images, and this is a {self.kind}")
            low, high = self.range
            if low is not None and high is not None and not low < high:
                raise ValueError(f"`range` runs from {low} to {high}: the first must be smaller")
        return self

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


class Target(BaseModel):
    """What is predicted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Literal["category", "number"]
    classes: Texts = ()
    unit: str = ""
    column: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Target:
        _check_name(self.name)
        if self.classes and self.kind == "number":
            raise ValueError("`classes` is for classification")
        if len(set(self.classes)) != len(self.classes) or "" in self.classes:
            raise ValueError("`classes` must be different from each other and not empty")
        return self

    @property
    def source_column(self) -> str:
        """The column of the source that holds it."""
        return self.column or self.name


class Schema(BaseModel):
    """Fields and target of a model.

    Attributes:
        fields: all declared fields, in order; validate removes those that it drops.
        target: what is predicted; its classes are known after validate.
        key: name of the id field by which labels find their rows; by default the first field of kind id.
        ignored: names a request may carry without effect: fields that validate dropped.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fields: tuple[Field, ...]
    target: Target
    key: str = ""
    ignored: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Schema:
        names = [f.name for f in self.fields]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"fields named twice: {', '.join(twice)}")
        if self.target.name in names:
            raise ValueError(f"{self.target.name!r} is the target and cannot be a field too")
        if self.key and self.key not in [f.name for f in self.fields if f.kind == "id"]:
            raise ValueError(f"the key {self.key!r} is no field of kind id")
        return self

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some attributes changed; what was derived from the old ones does not come along."""
        copy = super().model_copy(update=update, deep=deep)
        for name in set(vars(copy)) - set(type(self).model_fields):
            vars(copy).pop(name)
        return copy

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
