"""Candidates of a user's own, good and bad, for `uses`."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn


class Own(pl.LightningModule):
    def __init__(self, facts: Any, rate: float = 0.02) -> None:
        super().__init__()
        width = 1
        for length in facts.shape:
            width *= length
        # Layers that the built-in networks do not have.
        self.layers = nn.Sequential(nn.Flatten(), nn.LayerNorm(width), nn.Linear(width, 16), nn.GELU())
        self.last = nn.Linear(16, facts.outputs)
        self.rate = rate
        self.loss = nn.CrossEntropyLoss() if facts.task == "classification" else nn.MSELoss()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.last(self.layers(x))
        return out

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        x, y = batch
        loss: torch.Tensor = self.loss(self(x), y)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.rate)


class WrongShape(Own):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)[:, :1]

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        return super().forward(batch[0]).mean()


class Fails(Own):
    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        raise ValueError("nothing to see")


def build(facts: Any, params: dict[str, Any]) -> pl.LightningModule:
    return Own(facts, params.get("rate", 0.02))


def wrong_shape(facts: Any, params: dict[str, Any]) -> pl.LightningModule:
    return WrongShape(facts)


def fails(facts: Any, params: dict[str, Any]) -> pl.LightningModule:
    return Fails(facts)


def not_a_module(facts: Any, params: dict[str, Any]) -> Any:
    return nn.Linear(1, 1)
