"""What happens to a row before the network: imputation, scaling, encoding.

Fitted by prepare on the training rows, applied by train and evaluate in numpy, and written into the ONNX graph by
export, operation for operation in float32, so that both give the same numbers. Order of the features: all numbers,
then a missing-flag for each number that was missing in training, then each category's slots, then each image flat.
A schema whose one feature is an image stays an image: [n, channels, height, width].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from trimtab.core.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from trimtab.core.schema import Schema

Array = np.ndarray[Any, Any]
LIMIT = 10.0  # scaled numbers are cut off at so many standard deviations
SLOTS = 64  # a category field gets at most so many slots of its own, the rest share one
FILE = "preprocessing.json"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Number(_Part):
    """One number: fill where missing, subtract mean, divide by scale, cut at ±`LIMIT`; `flag`: tell that it was."""

    name: str
    fill: float
    mean: float
    scale: float
    flag: bool


class Category(_Part):
    """One category: a slot for each known value, one shared by all others where `other`, one for null where `null`.

    What has no slot (an unseen value, a null) is all zeros.
    """

    name: str
    known: tuple[str, ...]
    other: bool
    null: bool

    @property
    def width(self) -> int:
        """Number of slots."""
        return len(self.known) + self.other + self.null

    @property
    def index(self) -> dict[str, int]:
        """Text → row of `table`; the empty text is null. Anything else is row 0."""
        found = {text: i + 1 for i, text in enumerate(self.known)}
        return {**found, "": len(self.known) + 1}

    def table(self) -> Array:
        """float32 [known + 2, width]: row 0 is any other value, the last one null."""
        table = np.zeros((len(self.known) + 2, self.width), np.float32)
        table[np.arange(len(self.known)) + 1, np.arange(len(self.known))] = 1
        if self.other:
            table[0, len(self.known)] = 1
        if self.null:
            table[-1, -1] = 1
        return table


class Image(_Part):
    """One image [height, width] or [height, width, channels]: subtract mean, divide by scale, for all values alike."""

    name: str
    shape: tuple[int, ...]
    mean: float
    scale: float


class TargetScale(_Part):
    """A number that is predicted: the network works on (value - mean) / scale."""

    mean: float = 0.0
    scale: float = 1.0


class Preprocessing(_Part):
    """Everything between the graph's inputs and the network.

    Attributes:
        numbers, categories, images: one entry a feature, in the schema's order.
        single_input: the numbers come as one tensor `input`.
        target: how a predicted number is scaled.
    """

    numbers: tuple[Number, ...] = ()
    categories: tuple[Category, ...] = ()
    images: tuple[Image, ...] = ()
    single_input: bool = False
    target: TargetScale = TargetScale()

    @property
    def is_image(self) -> bool:
        """The one feature is an image, which stays one."""
        return len(self.images) == 1 and not self.numbers and not self.categories

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row as the network takes it: [d], or [channels, height, width]."""
        if self.is_image:
            height, width, *channels = self.images[0].shape
            return (channels[0] if channels else 1, height, width)
        flat = len(self.numbers) + sum(n.flag for n in self.numbers) + sum(c.width for c in self.categories)
        return (flat + sum(int(np.prod(i.shape)) for i in self.images),)

    def apply(self, inputs: Mapping[str, Array]) -> Array:
        """Encoded rows (see `Schema.tensors`) as the network takes them: float32 [n, *shape]."""
        parts: list[Array] = []
        if self.numbers:
            parts += self._numbers(inputs)
        for category in self.categories:
            index = category.index
            rows = np.fromiter((index.get(text, 0) for text in inputs[category.name][:, 0]), np.int64)
            parts.append(category.table()[rows])
        for image in self.images:
            scaled = (inputs[image.name] - np.float32(image.mean)) / np.float32(image.scale)
            if self.is_image:
                return np.moveaxis(scaled.reshape(len(scaled), *image.shape[:2], -1), 3, 1).copy()
            parts.append(scaled.reshape(len(scaled), -1))
        return np.concatenate(parts, axis=1)

    def _numbers(self, inputs: Mapping[str, Array]) -> list[Array]:
        block = inputs["input"] if self.single_input else np.concatenate([inputs[n.name] for n in self.numbers], axis=1)
        fill, mean, scale = (self.vector(which) for which in ("fill", "mean", "scale"))
        missing = np.isnan(block)
        scaled = (np.where(missing, fill, block) - mean) / scale
        flags = [i for i, n in enumerate(self.numbers) if n.flag]
        out = [np.clip(scaled, np.float32(-LIMIT), np.float32(LIMIT))]
        return [*out, missing[:, flags].astype(np.float32)] if flags else out

    def vector(self, which: str) -> Array:
        """`fill`, `mean` or `scale` of all numbers: float32 [k]."""
        return np.array([getattr(n, which) for n in self.numbers], np.float32)

    def save(self, folder: Path) -> None:
        """Write it as canonical JSON."""
        from trimtab.core.records import canonical

        (folder / FILE).write_bytes(canonical(self.model_dump(mode="json")))

    @classmethod
    def load(cls, folder: Path) -> Preprocessing:
        """Read what `save` wrote.

        Raises:
            DataError: the folder holds none that can be read.
        """
        try:
            return cls.model_validate_json((folder / FILE).read_bytes())
        except (OSError, ValueError) as error:
            raise DataError(
                f"the folder holds no readable {FILE}", object=str(folder), got=str(error)[:200],
                hint="it is what prepare writes",
            ) from None  # fmt: skip


def _scale(values: Array) -> float:
    spread = float(values.std()) if values.size else 0.0
    return spread if spread > 1e-12 else 1.0


def _number(name: str, values: Array) -> Number:
    missing = np.isnan(values)
    seen = values[~missing]
    fill = float(np.median(seen)) if seen.size else 0.0
    filled = np.where(missing, fill, values)
    return Number(name=name, fill=fill, mean=float(filled.mean()), scale=_scale(filled), flag=bool(missing.any()))


def _category(name: str, texts: Array) -> Category:
    found, counts = np.unique(texts[:, 0].astype(str), return_counts=True)
    order = sorted(zip(found.tolist(), counts.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
    own = [text for text, _ in order if text]
    return Category(
        name=name, known=tuple(sorted(own[:SLOTS])), other=len(own) > SLOTS, null=any(not text for text in found)
    )


def fit(schema: Schema, inputs: Mapping[str, Array], target: Array | None = None) -> Preprocessing:
    """Learn the preprocessing.

    Args:
        schema: the fields.
        inputs: the training rows, encoded (see `Schema.encode_table`).
        target: the values to predict, float [n], of a regression.
    """
    numbers, categories, images = [], [], []
    place = {f.name: i for i, f in enumerate(f for f in schema.features if f.kind == "number")}
    for field in schema.features:
        if field.kind == "number":
            column = inputs["input"][:, place[field.name]] if schema.single_input else inputs[field.name][:, 0]
            numbers.append(_number(field.name, column.astype(np.float64)))
        elif field.kind == "category":
            categories.append(_category(field.name, inputs[field.name]))
        else:
            low, high = field.range or (None, None)
            pixels = inputs[field.name].astype(np.float64)
            known = low is not None and high is not None
            images.append(
                Image(
                    name=field.name,
                    shape=field.shape,
                    mean=float(low or 0.0) if known else float(pixels.mean()),
                    scale=float((high or 0.0) - (low or 0.0)) if known else _scale(pixels),
                )
            )
    scale = TargetScale(mean=float(target.mean()), scale=_scale(target)) if target is not None else TargetScale()
    return Preprocessing(
        numbers=tuple(numbers),
        categories=tuple(categories),
        images=tuple(images),
        single_input=schema.single_input,
        target=scale,
    )
