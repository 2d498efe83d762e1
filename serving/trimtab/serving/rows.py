"""What one answered request leaves for the log, as one line of JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from trimtab.core.privacy import keyed_hash

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
        records: the rows as received and typed.
        outputs: labels or numbers, one a row.
        probabilities: float32 [n, k]; None for regression.
    """

    version: str
    uuid: str
    micros: int
    latency_ms: float
    share: int
    records: list[dict[str, Any]]
    outputs: list[Any]
    probabilities: np.ndarray[Any, Any] | None


class Privacy:
    """Takes private fields out of records: dropped, or replaced by a keyed hash.

    Args:
        schema: says which fields are private.
        key: the hash's key, the same for all servers whose logs shall be joined.
    """

    def __init__(self, schema: Schema, key: bytes) -> None:
        self._dropped = [field.name for field in schema.fields if field.private == "drop"]
        self._hashed = [field.name for field in schema.fields if field.private == "hash"]
        self._key = key

    def clean(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The records without private values; the given ones stay as they are."""
        if not self._dropped and not self._hashed:
            return records
        cleaned = []
        for record in records:
            kept = {name: value for name, value in record.items() if name not in self._dropped}
            for name in self._hashed:
                if kept.get(name) is not None:
                    kept[name] = keyed_hash(self._key, kept[name])
            cleaned.append(kept)
        return cleaned


def encode_line(row: Answered, records: list[dict[str, Any]]) -> bytes:
    """The request as one line of JSON, its records already without private values."""
    return orjson.dumps(
        {
            "v": row.version,
            "i": row.uuid,
            "t": row.micros,
            "l": row.latency_ms,
            "s": row.share,
            "r": records,
            "y": row.outputs,
            "p": row.probabilities,
        },
        option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE,
    )
