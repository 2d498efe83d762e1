"""What the server's answers become."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Prediction:
    """The answer to `Client.predict`.

    Attributes:
        ids: one prediction id a row, for labels.
        predictions: one label or number a row.
        version: which version answered.
        probabilities: one list a row, when they were asked for.
    """

    ids: list[str]
    predictions: list[Any]
    version: str
    probabilities: list[list[float]] | None = None


@dataclass(frozen=True)
class Inference:
    """The answer to `Client.infer`.

    Attributes:
        ids: one prediction id a row, for labels.
        outputs: flat data by output name.
        shapes: each output's shape.
        version: which version answered.
        id: the request's id, as V2 has it.
    """

    ids: list[str]
    outputs: dict[str, list[Any]]
    shapes: dict[str, list[int]]
    version: str
    id: str


def row_ids(first: str, rows: int) -> list[str]:
    """The ids of all rows of a request, from the first row's.

    >>> row_ids("0193a6a0-0000-7000-8000-000000000000-0", 2)[1]
    '0193a6a0-0000-7000-8000-000000000000-1'
    """
    base = first.rpartition("-")[0]
    return [f"{base}-{row}" for row in range(rows)]
