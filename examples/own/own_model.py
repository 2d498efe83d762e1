"""A model of one's own: `uses: own_model:build` in project.yaml."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn


class Residual(pl.LightningModule):
    """A linear model, and a small network for what it leaves over."""

    def __init__(self, inputs: int, outputs: int, width: int, task: str) -> None:
        super().__init__()
        self.straight = nn.Linear(inputs, outputs)
        self.bent = nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, outputs))
        self.loss: nn.Module = nn.CrossEntropyLoss() if task == "classification" else nn.MSELoss()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Preprocessed rows [n, d] to logits [n, k]."""
        return self.straight(x) + self.bent(x)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> torch.Tensor:  # noqa: ARG002
        """The loss of one batch; y holds the classes' numbers."""
        x, y = batch
        return self.loss(self(x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """What moves the weights."""
        return torch.optim.AdamW(self.parameters(), lr=0.01, weight_decay=0.01)


def build(facts: Any, params: dict[str, Any]) -> pl.LightningModule:
    """What `uses` names: a fresh module for the data at hand (`trimtab.train.own.Facts`) and the file's params."""
    return Residual(facts.shape[0], facts.outputs, int(params.get("width", 16)), facts.task)
