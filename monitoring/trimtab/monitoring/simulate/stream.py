"""A labelled table in the order of time: what a simulation replays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trimtab.core import preprocessing

if TYPE_CHECKING:
    from trimtab.core.preprocessing import Preprocessing
    from trimtab.core.schema import Schema

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Stream:
    """A labelled table.

    Attributes:
        name: for people.
        schema: its fields, and the target with all its classes.
        table: the fields' columns and the target's, in the order of time.
        times: of the rows, microseconds, rising.
    """

    name: str
    schema: Schema
    table: pa.Table
    times: Rows

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def classes(self) -> tuple[str, ...]:
        """The target's classes; empty for numbers."""
        return tuple(self.schema.target.classes)

    @cached_property
    def inputs(self) -> dict[str, npt.NDArray[Any]]:
        """The fields as the model's inputs."""
        return self.schema.encode_table(self.table)

    @cached_property
    def truth(self) -> npt.NDArray[Any]:
        """Class index or value of each row."""
        column = self.table[self.schema.target.name]
        if self.schema.target.kind == "number":
            return np.asarray(column.to_numpy(), np.float64)
        index = {name: i for i, name in enumerate(self.classes)}
        return np.array([index[t] for t in column.to_pylist()], np.int64)

    def take(self, rows: Rows) -> dict[str, npt.NDArray[Any]]:
        """The inputs of some rows."""
        return {name: values[rows] for name, values in self.inputs.items()}

    def prepared(self, rows: Rows) -> Preprocessing:
        """The preprocessing that these training rows ask for."""
        target = self.truth[rows] if self.schema.target.kind == "number" else None
        return preprocessing.fit(self.schema, self.take(rows), target)
