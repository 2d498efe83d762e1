"""Split the rows into training and one sealed test, deal folds, and learn imputation, scaling and encoding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from trimtab.core.datasets import read_manifest, read_table, write_dataset
from trimtab.core.errors import DataError
from trimtab.core.policies import Block
from trimtab.core.prepared import FOLD, SPLIT, truth_of
from trimtab.core.preprocessing import fit
from trimtab.prepare.folds import folds, split

LEAST_ROWS = 10
# A fit on 4 of 5 folds is nearer to the served one than a fit on 2 of 3, which matters while rows are few; above, three
# folds are as good and cheaper, and above a few thousand rows one held-out fold is enough.
FEW, SOME = 400, 4000


class PrepareConfig(Block):
    """Settings of the stage."""

    task: Literal["classification", "regression"]
    test_fraction: float = Field(default=0.15, ge=0, le=0.5)
    folds: int = Field(default=5, ge=2, le=20, description="at most; more than 400 rows get three, more than 4,000 one")
    seed: int = 0


@dataclass(frozen=True)
class PrepareResult:
    """What came out.

    Attributes:
        rows: rows to train on.
        test_rows: rows of the sealed test; 0 where the run has rows to judge on, which are the test then.
        digest: of the dataset written.
        folds: number of folds; 1 is one held-out fold.
    """

    rows: int
    test_rows: int
    digest: str
    folds: int


def prepare(config: PrepareConfig, data: Path, judge: Path, out: Path) -> PrepareResult:
    """Write the dataset with `_split` and `_fold`, and `preprocessing.json` beside it.

    Args:
        config: settings.
        data: dataset folder, checked by validate.
        judge: dataset folder of the rows to judge on; where it has any, they are the sealed test and no row is
            taken away from training.
        out: dataset folder to write.

    Raises:
        DataError: fewer than 10 rows, or only one class, are left to train on.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    manifest, table = read_manifest(data), read_table(data)
    schema, n = manifest.schema, table.num_rows
    if n < LEAST_ROWS:
        raise DataError(
            f"{n or 'no'} rows are left to learn from", object=schema.target.name,
            expected=f"at least {LEAST_ROWS}, and a few hundred for a model worth serving", got=str(n),
            hint="bring more rows, or look at validate's report for those that were left out",
        )  # fmt: skip
    truth = truth_of(schema, table)
    strata = truth if config.task == "classification" else None
    _check_target(truth, config, schema.target.name)
    fraction = 0.0 if read_manifest(judge).rows else config.test_fraction
    test = split(strata, n, fraction, config.seed)
    train = np.flatnonzero(~test)
    k = _folds(config.folds, len(train))
    fold = np.full(n, -1, np.int32)
    fold[train] = folds(None if strata is None else strata[train], len(train), k, config.seed)
    table = table.append_column(SPLIT, pc.if_else(pa.array(test), "test", "train"))
    table = table.append_column(FOLD, pa.array(fold, pa.int32()))
    written = write_dataset(out, [table], schema, manifest.note)
    chosen = schema.encode_table(table.take(train))
    fit(schema, chosen, truth[train] if config.task == "regression" else None).save(out)
    return PrepareResult(rows=len(train), test_rows=int(test.sum()), digest=written.digest, folds=k)


def _folds(asked: int, rows: int) -> int:
    """How many folds so many rows are dealt into; at least four rows each."""
    if rows > SOME:
        return 1
    return max(2, min(asked if rows <= FEW else min(asked, 3), rows // 4))


def _check_target(truth: np.ndarray, config: PrepareConfig, name: str) -> None:
    if config.task == "classification" and len(np.unique(truth)) < 2:
        raise DataError(
            f"every row has the same class of {name!r}", object=name, expected="at least two classes", got="one",
            hint="bring rows of the other classes: there is nothing to learn from one",
        )  # fmt: skip
    if config.task == "regression" and np.ptp(truth) == 0:
        raise DataError(
            f"every row has the same {name!r}", object=name, expected="a number that varies", got=f"{truth[0]:g}",
            hint="check the target's column",
        )  # fmt: skip
