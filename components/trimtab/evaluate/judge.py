"""Challenger and champion on the same fresh labelled rows.

Counts of who was right where are what a paired test needs (McNemar 1947); for numbers, the difference of the absolute
errors.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.core.errors import ModelError
from trimtab.core.schema import Schema
from trimtab.core.trained import open_session

if TYPE_CHECKING:
    import pyarrow as pa

Array = np.ndarray[Any, Any]
BATCH = 4096


class Champion:
    """A published version in a folder, as it answers requests.

    Args:
        folder: its bundle.
        threshold: of a binary model, from its manifest.

    Raises:
        ModelError: the folder holds no bundle.
    """

    def __init__(self, folder: Path, threshold: float | None = None) -> None:
        try:
            self.schema = Schema.from_json((folder / "schema.json").read_bytes())
        except (OSError, ValueError) as error:
            raise ModelError("the champion's schema cannot be read", object=str(folder), got=str(error)[:200]) from None
        self.threshold = threshold
        self._session = open_session(folder / "model.onnx")

    def answers(self, table: pa.Table) -> Array:
        """Its label, str [n], or value, float64 [n], for each row."""
        raw = self.outputs(table)
        if self.schema.target.kind == "number":
            return np.asarray(raw[:, 0], np.float64)
        return labels(raw, self.schema.target.classes, self.threshold)

    def outputs(self, table: pa.Table) -> Array:
        """Its probabilities, float32 [n, k], or values, float32 [n, 1]."""
        inputs = self.schema.encode_table(_with_missing(table, self.schema))
        output = "probabilities" if self.schema.target.kind == "category" else "value"
        parts = []
        for i in range(0, table.num_rows, BATCH):
            part = {name: tensor[i : i + BATCH] for name, tensor in inputs.items()}
            parts.append(self._session.run([output], part)[0])
        return np.concatenate(parts)


def labels(p: Array, classes: tuple[str, ...], threshold: float | None = None) -> Array:
    """The class that probabilities [n, k] stand for, str [n]; `threshold` is for the second of two."""
    names = np.array(classes, dtype=object)
    if threshold is not None and len(classes) == 2:
        return np.asarray(names[(p[:, 1] >= threshold).astype(int)])
    return np.asarray(names[p.argmax(axis=1)])


def compare_labels(truth: Array, challenger: Array, champion: Array) -> dict[str, int]:
    """Rows by who was right: `n, both_right, challenger_only, champion_only, both_wrong`."""
    ours, theirs = challenger == truth, champion == truth
    return {
        "n": len(truth),
        "both_right": int(np.sum(ours & theirs)),
        "challenger_only": int(np.sum(ours & ~theirs)),
        "champion_only": int(np.sum(~ours & theirs)),
        "both_wrong": int(np.sum(~ours & ~theirs)),
    }


def compare_values(truth: Array, challenger: Array, champion: Array) -> dict[str, float]:
    """Mean absolute errors of both, and mean and standard deviation of challenger's less champion's."""
    ours, theirs = np.abs(challenger - truth), np.abs(champion - truth)
    difference = ours - theirs
    return {
        "n": len(truth),
        "mean_difference": round(float(difference.mean()), 9),
        "std_difference": round(float(difference.std(ddof=1)) if len(truth) > 1 else 0.0, 9),
        "challenger_loss": round(float(ours.mean()), 9),
        "champion_loss": round(float(theirs.mean()), 9),
    }


def _with_missing(table: pa.Table, schema: Schema) -> pa.Table:
    """The table with a column of nulls for each feature the champion has and today's data dropped."""
    import pyarrow as pa

    for field in schema.features:
        if field.name not in table.column_names:
            if field.kind == "image":
                raise ModelError("the champion needs an image that the rows do not have", object=field.name)
            kind = pa.float64() if field.kind == "number" else pa.string()
            table = table.append_column(field.name, pa.nulls(table.num_rows, kind))
    return table
