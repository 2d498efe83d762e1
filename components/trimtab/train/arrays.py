"""A built-in candidate fitted on arrays, as the stage fits it on a prepared dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.core.blocks import Candidate
from trimtab.train import params, stage

if TYPE_CHECKING:
    from trimtab.train.honest import Fitted

Array = np.ndarray[Any, Any]


def fit_arrays(kind: str, x: Array, y: Array, folds: Array, outputs: int, seed: int = 0) -> Fitted:
    """Fit a built-in candidate at its default params: honest predictions by folds, and the served network.

    Args:
        kind: `linear`, `mlp` or `cnn`.
        x: preprocessed rows, float32 [n, *shape].
        y: class indices [n], or scaled values float32 [n, 1].
        folds: fold of each row; -1 is never held out.
        outputs: number of classes, or 1.
        seed: of weights and order.

    Raises:
        ProjectError: there is no such candidate, or it does not fit the rows' shape.
        ModelError: the loss is not finite.
    """
    import torch

    from trimtab.train.together import fit_together

    settings = params.parse(kind, {}, kind)
    task = "classification" if y.ndim == 1 else "regression"
    config = stage.TrainConfig(candidate=Candidate(name=kind, kind=kind), name=kind, task=task, metric="", seed=seed)
    plan = stage._plan(config, settings, len(x))
    return fit_together(settings, torch.from_numpy(x), torch.from_numpy(y), folds, plan, outputs)
