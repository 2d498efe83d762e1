"""Candidates as LightningModules: the built-in ones, and `uses: package.module:build`.

The contract of `uses`: `build(facts, params)` returns a LightningModule that brings `training_step` (for batches
`(x, y)`) and `configure_optimizers`, and whose `forward` takes ONE float32 tensor of preprocessed rows, [n, d] (or
[n, channels, height, width] where the one feature is an image), and returns logits [n, k] or values [n, 1]. `y` is the
class's index, int64 [n], or the scaled value (mean 0, standard deviation 1), float32 [n, 1].
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import lightning.pytorch as pl
import torch
from torch import nn

from trimtab.core.blocks import Candidate
from trimtab.core.errors import ModelError, ProjectError
from trimtab.train import nets, params
from trimtab.train.augment import jitter

if TYPE_CHECKING:
    from torch.optim.lr_scheduler import LRScheduler


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


class Supervised(pl.LightningModule):
    """A built-in network under AdamW with one cycle of the learning rate (Smith and Topin 2018)."""

    def __init__(self, net: nets.Net, settings: params.Linear, facts: Facts) -> None:
        super().__init__()
        self.net = net
        self.settings = settings
        self.steps = max(2, facts.steps)
        self.loss: nn.Module = nn.CrossEntropyLoss() if facts.task == "classification" else nn.SmoothL1Loss()
        self.augment = settings.augment and len(facts.shape) == 3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits or scaled values."""
        return cast("torch.Tensor", self.net(x))

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> torch.Tensor:  # noqa: ARG002
        """The loss of one batch."""
        x, y = batch
        return cast("torch.Tensor", self.loss(self(jitter(x) if self.augment else x), y))

    def configure_optimizers(self) -> Any:
        """AdamW, and a cycle that rises for a tenth of the steps and falls for the rest."""
        rate = self.settings.learning_rate
        optimizer = torch.optim.AdamW(self.net.parameters(), lr=rate, weight_decay=self.settings.weight_decay)
        cycle: LRScheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=self.steps, pct_start=0.1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}


def build(candidate: Candidate, facts: Facts) -> pl.LightningModule:
    """A fresh module of a candidate; the caller seeds torch.

    Raises:
        ProjectError: its params, or the function that `uses` names, are wrong.
        ModelError: the function failed, or returned something else than a LightningModule.
    """
    name = candidate.name or candidate.kind or candidate.uses
    if not candidate.uses:
        settings = params.parse(candidate.kind or candidate.name, candidate.params, name)
        return Supervised(nets.build(settings, facts.shape, facts.outputs, name), settings, facts)
    module = _function(candidate.uses, name)(facts, dict(candidate.params))
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


def schedule(candidate: Candidate) -> params.Schedule:
    """Epochs and batch size that a candidate asks for.

    Raises:
        ProjectError: its params are wrong.
    """
    name = candidate.name or candidate.kind or candidate.uses
    settings: Mapping[str, Any] = candidate.params
    if candidate.uses:
        return params.parse_schedule(settings, name)
    return params.parse(candidate.kind or candidate.name, settings, name)
