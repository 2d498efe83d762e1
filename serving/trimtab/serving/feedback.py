"""Feedback: what a label looks like, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, StrictInt, field_validator, model_validator

from trimtab.core.errors import RequestError
from trimtab.core.ids import parse_prediction_id
from trimtab.core.privacy import keyed_hash
from trimtab.core.records import rfc3339
from trimtab.core.values import category_text

if TYPE_CHECKING:
    from trimtab.core.schema import Schema

MAX_LABELS = 1000
TEXT = Field(default=None, min_length=1, max_length=200)


class Label(BaseModel):
    """What turned out to be true of one row."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = Field(default=None, description="the prediction's id, `<UUIDv7>-<row>`", max_length=60)
    key: str | StrictInt | None = Field(default=None, description="the row's own key, as its `id` field had it")
    value: bool | int | float | str = Field(description="the true class, or the true number")
    labelled_at: datetime | None = Field(default=None, description="when it was found out, RFC 3339 with offset")
    source: str | None = TEXT

    @field_validator("id")
    @classmethod
    def _well_formed(cls, value: str | None) -> str | None:
        if value is not None and parse_prediction_id(value) is None:
            raise ValueError("a prediction id is <UUIDv7>-<row>, as X-Prediction-Id gave it")
        return value

    @field_validator("labelled_at", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        if isinstance(value, (int, float)):
            raise ValueError("a time is text in RFC 3339, e.g. 2026-11-21T14:05:00Z")
        return value

    @field_validator("labelled_at")
    @classmethod
    def _with_offset(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a time needs its offset, e.g. 2026-11-21T14:05:00Z")
        if value is not None and not 1 < value.year < 9999:  # no moment in UTC, or almost none
            raise ValueError("a time lies between the years 2 and 9998")
        return value

    @model_validator(mode="after")
    def _names_one(self) -> Label:
        if (self.id is None) == (self.key is None):
            raise ValueError("a label names its prediction by `id` or by `key`, one of the two")
        for name in ("key", "value"):
            text = getattr(self, name)
            if isinstance(text, str) and not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
                raise ValueError(f"`{name}` holds half of a character (a lone surrogate)")
        if self.key == "" or (isinstance(self.key, str) and len(self.key) > 200):
            raise ValueError("a key is text of 1 to 200 characters, or a whole number")
        return self


class Feedback(BaseModel):
    """Up to 1,000 labels; the first bad one refuses the whole call."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(default=None, description="the model's name, checked when given")
    labels: list[Label] = Field(min_length=1, max_length=MAX_LABELS)


class Receipt(BaseModel):
    """How many labels are on disk."""

    accepted: int


def check_labels(
    feedback: Feedback, model: str, schema: Schema | None, arrived: str, hash_key: bytes
) -> list[dict[str, Any]]:
    """Feedback as lines of the labels log.

    Args:
        feedback: the call.
        model: the model that this server serves.
        schema: the champion's; without one a value is taken as it is.
        arrived: RFC 3339.
        hash_key: where the schema's key is private by `hash`, labels keep its hash too.

    Raises:
        RequestError: 404, another model; 400, a value is no class of the target or no number, or the log does not
            keep the key.
    """
    if feedback.model is not None and feedback.model != model:
        name = repr(feedback.model[:80])
        raise RequestError(404, f"model {name} is not served here", object="model", expected=model, got=name)
    hide = key_hider(schema, hash_key)
    rows = []
    for i, label in enumerate(feedback.labels):
        rows.append(
            {
                "_id": label.id,
                "_key": None if label.key is None else hide(str(label.key), f"labels[{i}].key"),
                "value": label_text(label.value, schema, f"labels[{i}].value"),
                "labelled_at": rfc3339(label.labelled_at) if label.labelled_at else arrived,
                "arrived_at": arrived,
                "source": label.source,
            }
        )
    return rows


def key_hider(schema: Schema | None, hash_key: bytes) -> Callable[[str, str], str]:
    """What makes of a row's own key, and the place it came from, what the log has of it."""
    field = schema.id_field if schema is not None else None

    def hide(key: str, where: str) -> str:
        if field is not None and field.private == "hash":
            return keyed_hash(hash_key, key)
        if field is not None and field.private == "drop":
            raise RequestError(
                400,
                f"the log does not keep the private key {field.name!r}",
                object=where,
                expected="the prediction's `id`",
                got="a key",
            )
        return key

    return hide


def label_text(value: bool | float | str, schema: Schema | None, where: str) -> str:
    """A label's value as the log keeps it: the class's name, or the number as text.

    Raises:
        RequestError: 400, no class of the target, or no finite number.
    """
    if schema is not None and schema.target.kind == "number":
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if isinstance(value, bool) or not math.isfinite(number):
            raise RequestError(
                400, "a label is no number", object=where, expected="a finite number", got=repr(value)[:80]
            )
        return repr(number)
    if isinstance(value, float) and not math.isfinite(value):
        raise RequestError(400, "a label is no finite number", object=where, got=repr(value))
    text = category_text(value)
    classes = schema.target.classes if schema is not None else ()
    if not classes or text in classes:
        return text
    # A table may have taught the class `True` or `3.0` where JSON says true or 3.
    for known in classes:
        if isinstance(value, bool) and known.lower() == text:
            return known
        if not isinstance(value, str) and not isinstance(value, bool) and _same_number(known, value):
            return known
    shown = ", ".join(classes[:12]) + (", …" if len(classes) > 12 else "")
    raise RequestError(
        400, "a label is no class of the model", object=where, expected=f"one of {shown}", got=repr(value)[:80]
    )


def _same_number(text: str, value: float) -> bool:
    try:
        return float(text) == value
    except ValueError:
        return False
