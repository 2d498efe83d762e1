"""What the built-in candidates can be told in `params`, and what they do when told nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError

from trimtab.core.errors import ProjectError
from trimtab.core.policies import Block


class Schedule(Block):
    """How long and on how many rows at a time; a candidate of one's own has these two as well."""

    epochs: int = Field(default=0, ge=0, le=10_000, description="passes over the rows, at most; 0: by their number")
    batch_size: int = Field(default=0, ge=0, le=1_000_000, description="rows of one step; 0: by their number")


class Linear(Schedule):
    """Logistic or linear regression."""

    learning_rate: float = Field(default=2e-2, gt=0, le=10, description="highest learning rate of the cycle")
    weight_decay: float = Field(default=1e-1, ge=0, le=10, description="AdamW's weight decay")
    augment: bool = Field(default=False, description="turn, scale and shift images a little in training")


class Mlp(Linear):
    """A network of fully connected layers."""

    learning_rate: float = Field(default=3e-3, gt=0, le=10, description="highest learning rate of the cycle")
    weight_decay: float = Field(default=1e-2, ge=0, le=10, description="AdamW's weight decay")
    hidden: tuple[int, ...] = Field(default=(128, 64), min_length=1, max_length=8, description="widths of the layers")
    dropout: float = Field(default=0.2, ge=0, lt=1, description="share of units left out in training")


class Cnn(Linear):
    """A convolutional network for one image field."""

    learning_rate: float = Field(default=5e-3, gt=0, le=10, description="highest learning rate of the cycle")
    weight_decay: float = Field(default=1e-2, ge=0, le=10, description="AdamW's weight decay")
    channels: tuple[int, ...] = Field(default=(24, 48), min_length=1, max_length=6, description="channels, by halving")
    hidden: int = Field(default=64, ge=1, le=8192, description="width of the layer before the last")
    dropout: float = Field(default=0.3, ge=0, lt=1, description="share of units left out in training")
    augment: bool = Field(default=True, description="turn, scale and shift images a little in training")


KINDS: dict[str, type[Linear]] = {"linear": Linear, "mlp": Mlp, "cnn": Cnn}


def parse(kind: str, params: Mapping[str, Any], name: str) -> Linear:
    """The settings of a built-in candidate.

    Raises:
        ProjectError: the kind is none, or `params` has a name or value that it does not take.
    """
    model = KINDS.get(kind)
    if model is None:
        raise ProjectError("not a built-in candidate", object=f"candidates.{name}", expected=", ".join(KINDS), got=kind)
    try:
        return model.model_validate(dict(params))
    except ValidationError as error:
        raise _wrong(error, name, model) from None


def parse_schedule(params: Mapping[str, Any], name: str) -> Schedule:
    """`epochs` and `batch_size` of a candidate of one's own, from among its params.

    Raises:
        ProjectError: they are no such numbers.
    """
    try:
        return Schedule.model_validate({k: params[k] for k in Schedule.model_fields if k in params})
    except ValidationError as error:
        raise _wrong(error, name, Schedule) from None


def _wrong(error: ValidationError, name: str, model: type[Schedule]) -> ProjectError:
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    return ProjectError(
        f"params of candidate {name!r}: {path}: {first['msg']}",
        object=f"candidates.{name}.params.{path}",
        expected=f"some of {', '.join(model.model_fields)}",
        got=repr(first.get("input"))[:60],
    )
