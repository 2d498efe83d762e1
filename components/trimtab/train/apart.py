"""The fits of a candidate of one's own, one after another: without each fold in turn, then on all rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from trimtab.train.fits import Plan, State, fit, predict, steps_an_epoch, weights
from trimtab.train.honest import Fitted, best_check

Array = np.ndarray[Any, Any]
Build = Callable[[int, int], pl.LightningModule]  # (rows, steps) → a fresh module


def fit_apart(build: Build, x: torch.Tensor, y: torch.Tensor, folds: Array, plan: Plan, outputs: int) -> Fitted:
    """Fit without each fold in turn, predict it, and fit on all rows; one fold held out makes that fit the served one.

    One number is chosen with the held-out rows in view, the epochs; the predictions are honest but for that.

    Args:
        build: makes a fresh module; torch is seeded before each call.
        x: all training rows, preprocessed.
        y: their targets.
        folds: fold of each row; -1 is never held out.
        plan: how to fit.
        outputs: width of the predictions.

    Raises:
        ModelError: a fit failed.
    """
    numbers = sorted({int(f) for f in folds if f >= 0})
    looks: dict[int, list[Array]] = {}
    states: dict[int, State] = {}
    rows: list[Array] = []
    for number in numbers:
        out, kept = np.flatnonzero(folds == number), np.flatnonzero(folds != number)
        rows.append(out)
        unseen = x[torch.from_numpy(out)]

        def look(epoch: int, module: pl.LightningModule, unseen: torch.Tensor = unseen) -> None:
            looks.setdefault(epoch, []).append(predict(module, unseen, outputs, plan.name))
            if len(numbers) == 1:
                states[epoch] = weights(module)

        torch.manual_seed(plan.seed)
        module = build(len(kept), plan.steps(len(kept)))
        fit(module, x[torch.from_numpy(kept)], y[torch.from_numpy(kept)], plan, look=look)
    order = np.concatenate(rows)
    whole = {epoch: np.concatenate(parts) for epoch, parts in looks.items() if len(parts) == len(numbers)}
    best = best_check(whole, y.numpy()[order])
    seen = len(folds) - len(order) if best in states else len(folds)
    torch.manual_seed(plan.seed)
    served = build(seen, plan.steps(seen))
    if best in states:
        served.load_state_dict(states[best])
    else:
        fit(served, x, y, plan, stop=best)
    back = np.argsort(order, kind="stable")
    steps = best * steps_an_epoch(seen, plan.batch_size)
    return Fitted(served.cpu().eval(), order[back], whole[best][back], steps)
