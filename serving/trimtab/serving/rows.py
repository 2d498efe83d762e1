"""What one answered request leaves for the prediction log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np


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
            matrix, [n, k], where the request held nothing else. What it left out is left out here.
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
