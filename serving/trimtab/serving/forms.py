"""A schema's fields as JSON Schema: what a value may be, and an example of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from trimtab.core.ids import PREDICTION_ID
from trimtab.core.values import FLOAT32_MAX, LENGTHS
from trimtab.serving.explain import text_categories

if TYPE_CHECKING:
    from trimtab.core.schema import Field, Schema

Doc = dict[str, Any]
# Images with more values than this have no example: it would be longer than all else.
EXAMPLE_VALUES = 4096
_LARGEST = {"minimum": -FLOAT32_MAX, "maximum": FLOAT32_MAX}
NUMBER: Doc = {"type": "number", **_LARGEST}
NULL: Doc = {"type": "null"}
# RFC 3339 with its offset, as it is read; a date alone is the start of its day in UTC.
_DAY = r"^(19|2[0-9])[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
TIME = _DAY + r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
OFFSET = r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"


def instance_form(schema: Schema, tell: bool = True) -> Doc:
    """One row of V1's `instances`: an object by field name, or an array of the features in their order.

    Args:
        schema: the fields.
        tell: whether the reader may know what the data holds (known categories, examples of the project's own).
    """
    words = {name for name, _ in text_categories(schema)}
    forms = {field.name: field_form(field, field.name in words, tell) for field in schema.fields}
    required = [field.name for field in schema.features if not field.nullable]
    named: Doc = {
        "type": "object",
        "properties": {**forms, **{name: {"description": "taken and not used"} for name in schema.ignored}},
        "required": required,
        "additionalProperties": False,
    }
    ways = [named]
    features = [forms[field.name] for field in schema.features]
    if len(schema.features) != 1 or schema.features[0].kind != "image":
        ways.append(
            {
                "type": "array",
                "description": "in the order " + ", ".join(field.name for field in schema.features),
                "prefixItems": features,
                "items": False,
                "minItems": len(features),
                "maxItems": len(features),
            }
        )
    if len(features) == 1:
        ways.append({**features[0], "description": f"{schema.features[0].name} by itself"})
    return {"anyOf": ways}


def field_form(field: Field, words: bool, tell: bool = True) -> Doc:
    """What a value of a field may be in JSON.

    Args:
        field: the field.
        words: it is a category whose known ones are words, so that a number is a mistake.
        tell: see `instance_form`.
    """
    form: Doc
    if field.kind == "image":
        form = _image(field.shape)
    elif field.kind == "number":
        form = {**NUMBER, "type": ["number", "null"]} if field.nullable else dict(NUMBER)
    elif field.kind == "time":
        form = {"anyOf": [{"type": "string", "pattern": f"{TIME}{OFFSET}"}, {"enum": ["", None]}]}
    else:
        form = _text(field, words)
    if text := _words(field, tell):
        form["description"] = text
    if (example := example_value(field, tell)) is not None:
        form["examples"] = [example]
    return form


def _text(field: Field, words: bool) -> Doc:
    """Text, ids and categories; the empty text is null."""
    required = field.kind == "category" and not field.nullable
    text: Doc = {"type": "string"}
    if required:
        text["minLength"] = 1
    if field.kind in LENGTHS:
        text["maxLength"] = LENGTHS[field.kind]
    ways = [text]
    if not words:
        ways.append(dict(NUMBER))
    if field.kind == "category":
        ways.append({"type": "boolean"})
    if not required:
        ways.append(NULL)
    return {"anyOf": ways} if len(ways) > 1 else text


def _image(shape: tuple[int, ...]) -> Doc:
    """Nested arrays of the image's shape; a flat one of as many numbers is taken too."""
    form: Doc = dict(NUMBER)
    for length in reversed(shape):
        form = {"type": "array", "items": form, "minItems": length, "maxItems": length}
    size = math.prod(shape)
    return {"anyOf": [form, {"type": "array", "items": dict(NUMBER), "minItems": size, "maxItems": size}]}


def _words(field: Field, tell: bool) -> str:
    """A field in words: what it means, its unit, its usual range or known categories; nothing of private data."""
    parts = [field.description] if field.description else []
    if field.unit:
        parts.append(f"in {field.unit}")
    if field.range is not None:
        low, high = field.range
        ends = [f"from {low:g}" if low is not None else "", f"to {high:g}" if high is not None else ""]
        parts.append(" ".join(["usually", *filter(None, ends)]))
    if field.categories and tell and not field.private:
        shown = ", ".join(field.categories[:20]) + (", …" if len(field.categories) > 20 else "")
        parts.append(f"known: {shown}")
    if field.kind in {"text", "time", "id"}:
        parts.append("kept beside the prediction, not given to the model")
    if field.private:
        parts.append("private: kept as a keyed hash alone" if field.private == "hash" else "private: not kept")
    return "; ".join(parts)


def example_value(field: Field, tell: bool = True) -> Any:
    """A value to try a field with: the project's own, else one within its range; None where there is none to show."""
    tell = tell and not field.private
    if field.example is not None and tell:
        return field.example
    low, high = field.range or (None, None)
    if field.kind == "category" and field.categories and tell:
        return field.categories[0]
    if field.kind == "category":
        return "" if field.nullable else "other"
    middle = (low + high) / 2 if low is not None and high is not None else (low or high or 0.0)
    if field.kind == "number":
        return middle
    if field.kind == "image" and field.size <= EXAMPLE_VALUES:
        value: Any = float(low or 0)
        for length in reversed(field.shape):
            value = [value] * length
        return value
    return None


def example_row(schema: Schema, tell: bool = True) -> Doc | None:
    """A row to try the model with; None where an image is too large to show."""
    row = {field.name: example_value(field, tell) for field in schema.features}
    return None if any(value is None for value in row.values()) else row


def example_inputs(schema: Schema, tell: bool = True) -> list[Doc] | None:
    """The same row as V2's inputs."""
    row = example_row(schema, tell)
    if row is None:
        return None
    if schema.single_input:
        values = [row[field.name] for field in schema.features]
        return [{"name": "input", "shape": [1, len(values)], "datatype": "FP32", "data": values}]
    return [
        {"name": spec.name, "shape": [1, *spec.shape[1:]], "datatype": spec.dtype, "data": [row[spec.name]]}
        for spec in schema.tensors()
    ]


def tensor_forms(schema: Schema) -> tuple[list[str], Doc]:
    """The names of V2's inputs, and what one of them may be in JSON."""
    names = ["input"] if schema.single_input else [spec.name for spec in schema.tensors()]
    known = list(dict.fromkeys([*names, *(field.name for field in schema.fields)]))
    if len(schema.features) == 1:
        known = list(dict.fromkeys([*known, "input"]))
    kinds = ["BOOL", "BYTES", "FP16", "FP32", "FP64"] + [f"{u}INT{n}" for u in ("", "U") for n in (8, 16, 32, 64)]
    form: Doc = {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"type": "string", "enum": [*known, *schema.ignored]},
            "shape": {
                "type": "array",
                "minItems": 1,
                "maxItems": 8,
                "items": {"type": "integer", "minimum": 0},
                "description": "; ".join(f"{spec.name}: {list(spec.shape)}" for spec in schema.tensors()),
            },
            "datatype": {"type": "string", "enum": kinds},
            "data": {"type": "array", "description": "the values, flat or nested as the shape says"},
        },
    }
    return names, form


def label_form(schema: Schema | None) -> Doc:
    """One label of the feedback: which prediction, and what turned out to be true."""
    key: Doc = {"anyOf": [{"type": "string", "minLength": 1, "maxLength": 200}, {"type": "integer"}]}
    common: Doc = {
        "value": _value_form(schema),
        "labelled_at": {
            "anyOf": [{"type": "string", "pattern": f"{TIME}{OFFSET}"}, NULL],
            "description": "when it was found out, RFC 3339 with its offset; by default now",
        },
        "source": {"anyOf": [{"type": "string", "minLength": 1, "maxLength": 200}, NULL]},
    }
    by_id: Doc = {
        "type": "object",
        "title": "by prediction id",
        "additionalProperties": False,
        "required": ["id", "value"],
        "properties": {"id": {"type": "string", "pattern": f"^{PREDICTION_ID}$"}, "key": NULL, **common},
    }
    by_key: Doc = {
        "type": "object",
        "title": "by the row's own key",
        "additionalProperties": False,
        "required": ["key", "value"],
        "properties": {"key": key, "id": NULL, **common},
    }
    field = schema.id_field if schema is not None else None
    return by_id if field is not None and field.private == "drop" else {"anyOf": [by_id, by_key]}


def _value_form(schema: Schema | None) -> Doc:
    """The true value: a class as its name, as its number or as true or false; or a number."""
    if schema is None:
        return {"type": ["string", "number", "boolean"]}
    if schema.target.kind == "number":
        return {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^-?[0-9]{1,30}(\.[0-9]{1,30})?$"}]}
    values: list[Any] = list(schema.target.classes)
    for name in schema.target.classes:
        if name.lower() in {"true", "false"}:
            values.append(name.lower() == "true")
        try:
            number = float(name)
        except ValueError:
            continue
        if math.isfinite(number):
            values.append(int(number) if number.is_integer() else number)
    unique: list[Any] = []
    for value in values:
        if not any(type(value) is type(one) and value == one for one in unique):
            unique.append(value)
    return {"enum": unique}
