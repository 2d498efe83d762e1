"""Refusals that need the value as it was sent: a number beyond 32 bits, a number where a category is text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.core.errors import RequestError
from trimtab.core.values import FLOAT32_MAX, describe

if TYPE_CHECKING:
    from trimtab.core.schema import Schema

RANGE = "a number from -3.4e38 to 3.4e38"
Texts = Sequence[tuple[str, int]]


def text_categories(schema: Schema) -> Texts:
    """The category fields whose known categories are words, each with its place among the features.

    A number can only be a mistake there. Where a category reads as a number (a code, a class of cabin), a number in
    JSON means that category, as it does in a table.
    """
    return tuple(
        (field.name, place)
        for place, field in enumerate(schema.features)
        if field.kind == "category" and field.categories and not any(_is_number(text) for text in field.categories)
    )


def check_texts(instances: Sequence[object], texts: Texts, width: int) -> None:
    """Refuse numbers for the fields of `text_categories` in V1 instances.

    Args:
        instances: as they were sent.
        texts: what `text_categories` gave; nothing is looked at where it is empty.
        width: number of features, which is the length of an instance that is an array.

    Raises:
        RequestError: 400, naming field and row.
    """
    for row, instance in enumerate(instances):
        for name, place in texts:
            if type(instance) is dict:
                value = instance.get(name)
            elif type(instance) is list and len(instance) == width:
                value = instance[place]
            else:
                value = instance if width == 1 else None
            if type(value) is int or type(value) is float:
                _refuse_number(name, "text", describe(value), [row])


def check_text_tensors(tensors: Mapping[str, np.ndarray[Any, Any]], texts: Texts) -> None:
    """The same for V2: such a field's tensor is BYTES.

    Raises:
        RequestError: 400, naming the field.
    """
    for name, _ in texts:
        tensor = tensors.get(name)
        if tensor is not None and tensor.dtype.kind != "O":
            _refuse_number(name, "text (BYTES)", "numbers", [])


def holds_truth(value: object) -> bool:
    """Whether true or false stands among the values of an array of arrays; numpy takes them for 1 and 0 there.

    >>> holds_truth([[1, 2], [3, True]]), holds_truth([0, 1])
    (True, False)
    """
    if type(value) is not list:
        return type(value) is bool
    kinds = set(map(type, value))
    return bool in kinds or (list in kinds and any(map(holds_truth, value)))


def check_images(instances: Sequence[object], schema: Schema) -> None:
    """Refuse true and false among the values of images in V1 instances.

    Raises:
        RequestError: 400, naming field and row.
    """
    features = schema.features
    for row, instance in enumerate(instances):
        for place, field in enumerate(features):
            if field.kind != "image":
                continue
            value = instance
            if type(instance) is dict:
                value = instance.get(field.name)
            elif type(instance) is list and len(features) > 1 and len(instance) == len(features):
                value = instance[place]
            if holds_truth(value):
                raise RequestError(
                    400,
                    f"field {field.name!r} is not the image expected",
                    object=field.name,
                    expected="numbers",
                    got="values that are not numbers: true or false",
                    rows=[row],
                )


def clearer(error: RequestError, instances: object, names: Sequence[str]) -> RequestError:
    """A V1 refusal, said anew where its cause is a number that 32 bits cannot hold; JSON has no other odd number.

    Args:
        error: as the schema raised it; it names field and row.
        instances: as they were sent.
        names: the features in order.
    """
    if error.status != 400 or len(error.rows) != 1 or not isinstance(instances, list):
        return error
    name, row = error.object, error.rows[0]
    value = instances[row]
    if isinstance(value, dict):
        value = value.get(name)
    elif isinstance(value, list) and len(value) == len(names) and len(names) > 1 and name in names:
        value = value[names.index(name)]
    large = _too_large(value)
    if large is None:
        return error
    return RequestError(
        400, f"field {name!r} holds a number too large for 32 bits", object=name, expected=RANGE, got=large, rows=[row]
    )


def clearer_tensor(
    error: RequestError, tensors: Mapping[str, np.ndarray[Any, Any]], names: Sequence[str]
) -> RequestError:
    """The same for V2, where null is NaN."""
    if error.status != 400 or len(error.rows) != 1:
        return error
    tensor = tensors.get(error.object)
    if tensor is None and (tensor := tensors.get("input")) is not None and error.object in names:
        single = tensor.ndim == 2 and tensor.shape[1] == len(names)  # one tensor with a column a feature
        tensor = tensor[:, names.index(error.object)] if single else tensor
    if tensor is None or tensor.dtype.kind != "f" or error.rows[0] >= len(tensor):
        return error
    values = tensor[error.rows[0]].ravel()
    beyond = values[np.isfinite(values) & (np.abs(values) > FLOAT32_MAX)]
    if not beyond.size:
        return error
    return RequestError(
        400,
        f"input {error.object!r} holds a number too large for 32 bits",
        object=error.object,
        expected=RANGE,
        got=describe(float(beyond[0])),
        rows=error.rows,
    )


def _too_large(value: object) -> str | None:
    """The first number beyond 32 bits within a value and its arrays, in a few words."""
    if isinstance(value, list):
        return next((found for one in value if (found := _too_large(one)) is not None), None)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not abs(value) <= FLOAT32_MAX:
        return describe(value)
    return None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _refuse_number(name: str, expected: str, got: str, rows: list[int]) -> None:
    raise RequestError(400, f"field {name!r} is a category", object=name, expected=expected, got=got, rows=rows)
