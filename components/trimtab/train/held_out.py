"""Fits on all folds but one, and from them the honest predictions and the length of the served fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from trimtab.train.calibrate import temperature
from trimtab.train.fits import Plan, State, fit, predict, weights

Array = np.ndarray[Any, Any]
Build = Callable[[int, int], pl.LightningModule]  # (rows, steps) → a fresh module


@dataclass(frozen=True)
class HeldOut:
    """What the fits on parts of the rows say.

    Attributes:
        rows: positions of the rows with an honest prediction, int64 [m].
        raw: their logits [m, k] or scaled values [m, 1], float32.
        epochs: after how many epochs the fits are best on held-out rows; the predictions are from there.
        state: weights at that epoch where there was but one fit, which is the served one then.
    """

    rows: Array
    raw: Array
    epochs: int
    state: State | None


def row_loss(raw: Array, y: Array) -> Array:
    """Cross-entropy of logits [n, k] or absolute error of values [n, 1], of each row."""
    if y.ndim == 2:
        error: Array = np.abs(raw - y)[:, 0].astype(np.float64)
        return error
    z = raw.astype(np.float64)
    z = z - z.max(axis=1, keepdims=True)
    entropy: Array = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]
    return entropy


def held_out(build: Build, x: torch.Tensor, y: torch.Tensor, folds: Array, plan: Plan, outputs: int) -> HeldOut:
    """Fit without each fold in turn, and predict it.

    One number is chosen with the held-out rows in view, the epochs, so the figures are honest but for that.

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
    truth = y.numpy()[order]
    whole = {epoch: np.concatenate(parts) for epoch, parts in looks.items() if len(parts) == len(numbers)}
    best = _best_epoch(whole, truth)
    back = np.argsort(order, kind="stable")
    return HeldOut(order[back], whole[best][back], best, states.get(best))


def _best_epoch(raw: dict[int, Array], truth: Array) -> int:
    """The whole cycle, unless stopping earlier is better by more than a standard error of the paired difference.

    A cycle ends with its smallest steps, so what is there in between looks worse than it will be; and what a
    temperature repairs is no reason to stop.
    """
    losses = {epoch: row_loss(_calibrated(one, truth), truth) for epoch, one in raw.items()}
    last = max(losses)
    best = min(losses, key=lambda epoch: (float(losses[epoch].mean()), -epoch))
    gain = losses[last] - losses[best]
    doubt = float(gain.std()) / np.sqrt(len(gain))
    return best if float(gain.mean()) > doubt else last


def _calibrated(raw: Array, truth: Array) -> Array:
    return raw / temperature(raw, truth) if truth.ndim == 1 else raw
