"""A candidate of one's own: `uses: package.module:build`.

`build(facts, params)` returns a LightningModule that brings `training_step` (for batches `(x, y)`) and
`configure_optimizers`, and whose `forward` takes ONE float32 tensor of preprocessed rows, [n, d] (or
[n, channels, height, width] where the one feature is an image), and returns logits [n, k] or values [n, 1]. `y` is the
class's index, int64 [n], or the scaled value (mean 0, standard deviation 1), float32 [n, 1]. `params` is what the
project file says; `epochs` and `batch_size` among it are read by the stage too.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trimtab.core.errors import ModelError, ProjectError

if TYPE_CHECKING:
    import lightning.pytorch as pl

    from trimtab.core.blocks import Candidate


@dataclass(frozen=True)
class Facts:
    """What a candidate is built for.

    Attributes:
        task: `classification` or `regression`.
        shape: of one preprocessed row: [d], or [channels, height, width].
        outputs: number of classes, or 1.
        classes: their names, in the order of the outputs.
        rows: rows to train on.
        steps: optimizer steps of one fit, for schedules.
    """

    task: str
    shape: tuple[int, ...]
    outputs: int
    classes: tuple[str, ...]
    rows: int
    steps: int = 0


def build(candidate: Candidate, facts: Facts) -> pl.LightningModule:
    """A fresh module; the caller seeds torch.

    Raises:
        ProjectError: the function that `uses` names cannot be found.
        ModelError: the function failed, or returned something else than a LightningModule.
    """
    import lightning.pytorch as pl

    name = candidate.name or candidate.uses
    function = _function(candidate.uses, name)
    try:
        module = function(facts, dict(candidate.params))
    except Exception as error:
        raise ModelError(
            f"{candidate.uses} failed: {type(error).__name__}: {error}", object=f"candidates.{name}.uses",
            hint="it is called with facts (task, shape, outputs, classes, rows, steps) and the file's params",
        ) from error  # fmt: skip
    if not isinstance(module, pl.LightningModule):
        raise ModelError(
            f"{candidate.uses} returned no LightningModule", object=f"candidates.{name}.uses",
            expected="a lightning.pytorch.LightningModule", got=type(module).__name__,
        )  # fmt: skip
    return module


def _function(uses: str, name: str) -> Any:
    where, _, what = uses.partition(":")
    try:
        return getattr(importlib.import_module(where), what)
    except ImportError as error:
        raise ProjectError(
            f"{where} cannot be imported", object=f"candidates.{name}.uses", got=str(error),
            hint="install the package that holds it; on a cluster the stage image has to hold its wheel",
        ) from None  # fmt: skip
    except AttributeError:
        raise ProjectError(
            f"{where} has no {what!r}", object=f"candidates.{name}.uses", expected="package.module:build", got=uses
        ) from None
