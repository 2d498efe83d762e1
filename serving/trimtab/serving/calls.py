"""One inference request on its way: what came with it, what it asks for, what the model said.

A protocol (`v1`, `v2`) is two pure functions around the model: `decode` makes tensors of a body, `encode` a body of a
prediction. What runs the model between them (at once, in a thread, joined with other requests) is no concern of theirs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from trimtab.core.errors import RequestError

if TYPE_CHECKING:
    from trimtab.serving.model import LoadedModel, Tensors


# A body as it came: memory of its own where it was read into its place.
Body = bytes | memoryview


class Call(NamedTuple):
    """What came with a body.

    Attributes:
        uuid: the request's UUID; row i has the id `<uuid>-<i>`.
        headers: by lower-case name.
    """

    uuid: str
    headers: Mapping[bytes, bytes]


class Decoded(NamedTuple):
    """A checked request.

    Attributes:
        tensors: the graph's inputs, n rows each.
        n: number of rows, at least one.
        records: the rows as received and typed, for the log: objects, columns or a matrix (see `rows.Answered`), of one
            row of a matrix its bytes.
        wanted: what the answer shall hold; each protocol's own.
    """

    tensors: Tensors
    n: int
    records: list[dict[str, Any]] | Mapping[str, Any] | np.ndarray[Any, Any] | bytes
    wanted: Any


class Prediction(NamedTuple):
    """What the model said of n rows.

    Attributes:
        outputs: n labels, or n numbers.
        probabilities: float32 [n, k], or None for regression.
        places: of many rows, the labels' places among the classes, integers [n].
    """

    outputs: list[Any]
    probabilities: np.ndarray[Any, Any] | None
    places: np.ndarray[Any, Any] | None = None


class Answer(NamedTuple):
    """A body; `json`: how many of its bytes are JSON where tensors follow, 0 where all are."""

    body: bytes
    json: int = 0


class Codec(NamedTuple):
    """A protocol.

    Attributes:
        name: as metrics call it.
        decode: body to tensors; raises RequestError 4xx, naming field, expected and got.
        encode: prediction to body.
        binary: whether its body may be something else than JSON.
        decode_bulk: `decode` for a body whose many rows are read in no time; None where looking at it takes longer.
    """

    name: str
    decode: Callable[[LoadedModel, bytes, Call], Decoded]
    encode: Callable[[LoadedModel, Call, Decoded, Prediction], Answer]
    binary: bool = False
    decode_bulk: Callable[[LoadedModel, Body, Call], Decoded | None] | None = None


def decoded(model: LoadedModel, records: list[dict[str, Any]], wanted: Any) -> Decoded:
    """Records as a request that can be run.

    Raises:
        RequestError: 400, there are no rows.
    """
    if not records:
        raise RequestError(400, "the request has no rows", object="instances", expected="at least one", got="none")
    return Decoded(model.schema.encode(records), len(records), records, wanted)


def read_output(model: LoadedModel, output: np.ndarray[Any, Any]) -> Prediction:
    """The graph's output, float32 [n, k] or [n, 1], as labels or numbers.

    Raises:
        RequestError: 422, the model has no finite answer for a row.
    """
    if len(output) == 1:  # plain Python is quicker here than numpy
        row = output[0].tolist()
        if not math.isfinite(sum(row)):
            _refuse_row(output)
        if model.classifies:
            return Prediction([model.label(row)], output)
        return Prediction(row, None)
    # One sum tells of a batch without bad values, for a fraction of what looking at each costs.
    if not math.isfinite(output.sum(dtype=np.float64)):
        _refuse_row(output)
    if model.classifies:
        places = model.places(output)
        return Prediction(model.named(places), output, places)
    return Prediction(output[:, 0].tolist(), None)


def _refuse_row(output: np.ndarray[Any, Any]) -> None:
    """Refuse the first row without a finite answer."""
    finite = np.isfinite(output).reshape(len(output), -1).all(axis=1)
    if not finite.all():
        raise RequestError(
            422,
            "the model has no finite answer for this row",
            object="instances",
            expected="values like those it was trained on",
            got="values for which it computes no number",
            rows=[int(np.flatnonzero(~finite)[0])],
        )
