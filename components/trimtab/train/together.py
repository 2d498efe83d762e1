"""All fits of a built-in candidate in one: a network for each fold held out, and the served one, side by side.

A step of Lightning costs more than one of a small network does, so the networks share steps: each has rows, order and
weights of its own, and the sum of their losses moves each as if it were alone (AdamW works weight by weight).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import nn

from trimtab.train import nets
from trimtab.train.augment import jitter
from trimtab.train.device import Rows
from trimtab.train.fits import CHECKS, Plan, State, predict, run, weights
from trimtab.train.honest import Fitted, best_check
from trimtab.train.params import Cnn, Linear

if TYPE_CHECKING:
    from torch.optim.lr_scheduler import LRScheduler

Array = np.ndarray[Any, Any]
Batch = list[tuple[torch.Tensor, torch.Tensor]]


class Together(pl.LightningModule):
    """Networks under AdamW with one cycle of the learning rate (Smith and Topin 2018)."""

    def __init__(self, members: Sequence[nets.Net], settings: Linear, classify: bool, steps: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.settings = settings
        self.steps = max(2, steps)
        self.loss: nn.Module = nn.CrossEntropyLoss() if classify else nn.SmoothL1Loss()
        self.convolves = isinstance(settings, Cnn)

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:  # noqa: ARG002
        """The sum of the losses, each network on a batch of its own."""
        inputs: Sequence[torch.Tensor] = [x for x, _ in batch]
        if self.settings.augment and inputs[0].ndim == 4:
            inputs = torch.tensor_split(
                jitter(torch.cat(list(inputs))), np.cumsum([len(x) for x in inputs])[:-1].tolist()
            )
        if self.convolves:
            inputs = [x.contiguous(memory_format=torch.channels_last) for x in inputs]
        losses = [self.loss(net(x), y) for net, x, (_, y) in zip(self.members, inputs, batch, strict=True)]
        return torch.stack(losses).sum()

    def configure_optimizers(self) -> Any:
        """AdamW, and a cycle that rises for a tenth of the steps and falls for the rest."""
        rate = self.settings.learning_rate
        optimizer = torch.optim.AdamW(
            self.members.parameters(), lr=rate, weight_decay=self.settings.weight_decay, fused=True
        )
        cycle: LRScheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=self.steps, pct_start=0.1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}


class _Parts:
    """Batches without end for each network, from its own rows, in an order drawn anew each time they are used up."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor, parts: Sequence[Array], plan: Plan, length: int) -> None:
        self.rows, self.plan, self.length = Rows(x, y, plan.use), plan, length
        self._streams = [self._stream(torch.from_numpy(rows), i) for i, rows in enumerate(parts)]

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Batch]:
        for _ in range(self.length):
            chosen = [next(stream) for stream in self._streams]
            yield [self.rows.take(rows) for rows in chosen]

    def _stream(self, rows: torch.Tensor, number: int) -> Iterator[torch.Tensor]:
        generator = torch.Generator().manual_seed(self.plan.seed * 1000 + number)
        size = min(self.plan.batch_size, len(rows))
        while True:
            order = rows[torch.randperm(len(rows), generator=generator)]
            # What does not fill a batch waits for another order: a short one would unsettle batch normalisation.
            for start in range(0, len(order) - size + 1, size):
                yield order[start : start + size]


def fit_together(
    settings: Linear,
    x: torch.Tensor,
    y: torch.Tensor,
    folds: Array,
    plan: Plan,
    outputs: int,
) -> Fitted:
    """Fit without each fold in turn, and on all rows (with a single fold held out, that fit is the served one).

    Args:
        settings: of the built-in candidate.
        x: all training rows, preprocessed.
        y: their targets.
        folds: fold of each row; -1 is never held out.
        plan: how to fit; its steps are those of all rows.
        outputs: number of classes, or 1.

    Raises:
        ProjectError: the candidate does not fit the rows' shape.
        ModelError: the loss is not finite.
    """
    numbers = sorted({int(f) for f in folds if f >= 0})
    held = [np.flatnonzero(folds == n) for n in numbers]
    parts = [np.flatnonzero(folds != n) for n in numbers]
    if len(numbers) > 1:
        parts.append(np.arange(len(folds)))
    torch.manual_seed(plan.seed)
    members = [nets.build(settings, tuple(x.shape[1:]), outputs, plan.name) for _ in parts]
    if isinstance(settings, Cnn):
        for net in members:
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    length = max(1, round(plan.steps(len(folds)) / CHECKS))
    checks = CHECKS if plan.steps(len(folds)) >= CHECKS else 1
    module = Together(members, settings, y.ndim == 1, length * checks)
    looks: dict[int, Array] = {}
    states: dict[int, State] = {}

    def look(check: int, _: pl.LightningModule) -> None:
        pairs = zip(members, held, strict=False)  # the served network, where there is one more, is not looked at
        looks[check] = np.concatenate(
            [predict(net, x[torch.from_numpy(out)], outputs, plan.name) for net, out in pairs]
        )
        states[check] = weights(members[-1])

    run(module, _Parts(x, y, parts, plan, length), plan, checks, look, every=1, networks=members)
    order = np.concatenate(held)
    best = best_check(looks, y.numpy()[order])
    served = members[-1].cpu()
    served.load_state_dict(states[best])
    back = np.argsort(order, kind="stable")
    return Fitted(served.eval(), order[back], looks[best][back], best * length)
