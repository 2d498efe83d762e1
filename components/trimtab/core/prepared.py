"""What prepare leaves behind, as train, evaluate, select and export read it.

A prepared dataset is a dataset whose rows also have `_split` (`train` or `test`) and `_fold`: 0 to k - 1 for rows
whose predictions come from a fit that did not see their fold, -1 for rows that every fit sees (or, in the test
split, none does).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.core.datasets import read_manifest, read_table
from trimtab.core.errors import DataError
from trimtab.core.preprocessing import Preprocessing

if TYPE_CHECKING:
    import pyarrow as pa

    from trimtab.core.schema import Schema

Array = np.ndarray[Any, Any]
SPLIT = "_split"
FOLD = "_fold"


def truth_of(schema: Schema, table: pa.Table) -> Array:
    """The target of each row: the class's index, int64 [n], or the value, float64 [n].

    Raises:
        DataError: the target's column is missing, a row has none, or one of a class that the schema does not have.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    target = schema.target
    if target.name not in table.column_names:
        raise DataError(f"the target {target.name!r} is missing", object=target.name)
    column = table.column(target.name)
    if target.kind == "number":
        value: Array = pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy()
        wrong = np.flatnonzero(~np.isfinite(value))
    else:
        index = pc.index_in(column.cast(pa.string()), value_set=pa.array(list(target.classes), pa.string()))
        value = pc.fill_null(index, -1).to_numpy().astype(np.int64)
        wrong = np.flatnonzero(value < 0)
    if wrong.size:
        raise DataError(
            f"{wrong.size} rows have no usable target",
            object=target.name,
            expected="a finite number" if target.kind == "number" else f"one of {', '.join(target.classes[:20])}",
            got=repr(column[int(wrong[0])].as_py()),
            rows=wrong.tolist(),
            hint="leave these rows out; validate does so",
        )
    return value


@dataclass(frozen=True)
class Prepared:
    """A prepared dataset in memory.

    Attributes:
        folder: where it was read from.
        digest: the dataset's digest.
        schema: fields and target, resolved.
        table: all rows.
        preprocessing: fitted on its training rows.
    """

    folder: Path
    digest: str
    schema: Schema
    table: pa.Table
    preprocessing: Preprocessing

    @classmethod
    def load(cls, folder: Path) -> Prepared:
        """Read the folder.

        Raises:
            DataError: it is no prepared dataset, or has no training rows.
        """
        manifest, table = read_manifest(folder), read_table(folder)
        lacking = [name for name in (SPLIT, FOLD) if name not in table.column_names]
        if lacking:
            raise DataError(
                f"the dataset has no column {' and no column '.join(lacking)}", object=str(folder),
                hint="train on what prepare wrote, or keep these columns in a stage of your own behind it",
            )  # fmt: skip
        prepared = cls(folder, manifest.digest, manifest.schema, table, Preprocessing.load(folder))
        if not prepared.train_rows.size:
            raise DataError("no row is left to train on", object=str(folder), expected="_split: train", got="none")
        return prepared

    @cached_property
    def inputs(self) -> dict[str, Array]:
        """All rows, encoded as the graph takes them."""
        return self.schema.encode_table(self.table)

    @cached_property
    def truth(self) -> Array:
        """Class index or value of each row."""
        return truth_of(self.schema, self.table)

    @cached_property
    def folds(self) -> Array:
        """Fold of each row."""
        folds: Array = self.table.column(FOLD).to_numpy()
        return folds

    @cached_property
    def train_rows(self) -> Array:
        """Row numbers of the training split."""
        return self._rows("train")

    @cached_property
    def test_rows(self) -> Array:
        """Row numbers of the sealed test; none where the run brought rows to judge on."""
        return self._rows("test")

    def _rows(self, split: str) -> Array:
        import pyarrow.compute as pc

        rows: Array = np.flatnonzero(pc.equal(self.table.column(SPLIT), split).to_numpy())
        return rows

    def take(self, rows: Array) -> dict[str, Array]:
        """The encoded inputs of some rows."""
        return {name: tensor[rows] for name, tensor in self.inputs.items()}
