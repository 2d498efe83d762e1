"""What one answered request leaves for the prediction log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from trimtab.core.schema import Schema


class Answered(NamedTuple):
    """One answered request, before it is written.

    Attributes:
        version: the version that answered.
        uuid: the request's UUID; row i has the id `<uuid>-<i>`.
        micros: when it was answered, microseconds since 1970.
        latency_ms: from the request's arrival to its answer.
        share: percent of the traffic that the version had.
        records: the rows as received and typed: objects, or a column a field (an array, or a list where it is text).
            Where all features are numbers, their columns may be one matrix called `input`, null as NaN; or just that
            matrix, float64 or float32 [n, k], where the request held nothing else. What it left out is left out here.
        outputs: labels or numbers, one a row.
        probabilities: float32 [n, k]; None for regression.
        request, trace: the client's id of the request, and of its trace; empty without.
    """

    version: str
    uuid: str
    micros: int
    latency_ms: float
    share: int
    records: list[dict[str, Any]] | Mapping[str, Any] | np.ndarray[Any, Any]
    outputs: list[Any]
    probabilities: np.ndarray[Any, Any] | None
    request: str = ""
    trace: str = ""


def logged_dtype(schema: Schema) -> str:
    """The type in which the features of a row wait for the log, where all are numbers, as NumPy writes it.

    Four bytes each where the schema keeps no more of any. Hashes are of what was received, whatever is kept.
    """
    return "<f4" if all(field.dtype == "float32" and not field.private for field in schema.features) else "<f8"
