"""One fit with Lightning, and the honest predictions of several."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from trimtab.core.errors import ModelError
from trimtab.train.compiling import CompileWhenItPays
from trimtab.train.device import ON_CPU, Rows, Use, repeatable

Array = np.ndarray[Any, Any]
State = dict[str, torch.Tensor]
Look = Callable[[int, pl.LightningModule], None]
CHECKS = 8  # how often a fit is looked at on the rows held out
PREDICT_ROWS = 4096
GPU_LOOKS = 32  # steps between two looks at the loss on a GPU


@dataclass(frozen=True)
class Plan:
    """How a candidate is trained.

    Attributes:
        epochs: of the whole cycle.
        batch_size: rows of a step.
        seed: of weights, order and augmentation.
        name: the candidate's, for errors.
        use: on which device, and how.
        notes: what is found out on the way, for the record.
    """

    epochs: int
    batch_size: int
    seed: int
    name: str
    use: Use = ON_CPU
    notes: dict[str, Any] = field(default_factory=dict)

    def steps(self, rows: int) -> int:
        """Optimizer steps of a whole fit on so many rows."""
        return self.epochs * steps_an_epoch(rows, self.batch_size)


def steps_an_epoch(rows: int, batch_size: int) -> int:
    """Whole batches in the rows, at least one: a short last batch would unsettle batch normalisation."""
    return max(1, rows // batch_size)


class Batches:
    """Rows in batches, in a new order each epoch; what is left over changes from epoch to epoch."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor, batch_size: int, seed: int, use: Use = ON_CPU) -> None:
        self.rows, self.batch_size = Rows(x, y, use), batch_size
        self._generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return steps_an_epoch(len(self.rows), self.batch_size)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        order = torch.randperm(len(self.rows), generator=self._generator)
        for i in range(len(self)):
            yield self.rows.take(order[i * self.batch_size : (i + 1) * self.batch_size])


class _Watcher(pl.Callback):
    """Stops a fit whose loss is no number, and looks at it after some of its epochs."""

    def __init__(self, plan: Plan, look: Look | None, epochs: int, every: int) -> None:
        self.plan, self.look = plan, look
        self.epochs = set(range(epochs, 0, -every))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Lightning's hook after each step."""
        if self.plan.use.accelerator == "gpu" and batch_idx % GPU_LOOKS:
            return  # each look waits for the GPU
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if loss is not None and not bool(torch.isfinite(loss)):
            raise ModelError(
                f"the loss of candidate {self.plan.name!r} is {float(loss):g} in epoch {trainer.current_epoch + 1}",
                object=f"candidates.{self.plan.name}", expected="a finite loss", got=f"{float(loss):g}",
                hint="lower params.learning_rate, and look at the data for values far outside the usual",
            )  # fmt: skip

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Lightning's hook after each epoch."""
        if self.look is not None and trainer.current_epoch + 1 in self.epochs:
            self.look(trainer.current_epoch + 1, pl_module)


def fit(
    module: pl.LightningModule,
    x: torch.Tensor,
    y: torch.Tensor,
    plan: Plan,
    stop: int = 0,
    look: Look | None = None,
) -> pl.LightningModule:
    """Train a module of a candidate's own.

    Args:
        module: fresh; trained in place.
        x: preprocessed rows.
        y: their targets.
        plan: how.
        stop: epoch after which to stop early; 0: after all.
        look: called with epoch and module after some epochs.

    Raises:
        ModelError: the loss is not finite, or the module itself fails.
    """
    batches = Batches(x, y, plan.batch_size, plan.seed, plan.use)
    run(module, batches, plan, stop or plan.epochs, look, every=max(1, round(plan.epochs / CHECKS)))
    return module.cpu().eval()


def run(
    module: pl.LightningModule,
    batches: Any,
    plan: Plan,
    epochs: int,
    look: Look | None,
    every: int,
    networks: Sequence[torch.nn.Module] = (),
) -> None:
    """Run Lightning's trainer, with nothing of its own around it.

    Args:
        module: what is trained, in place.
        batches: an iterable of batches, gone through once an epoch.
        plan: for seed, device and name.
        epochs: how often.
        look: called with epoch and module after every `every`-th epoch, counted back from the last.
        every: how many epochs lie between two looks.
        networks: parts of the module that may be compiled where that pays.

    Raises:
        ModelError: the loss is not finite, or the module itself fails.
    """
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)  # what hardware there is, a line each fit
    callbacks: list[pl.Callback] = [_Watcher(plan, look, epochs, every)]
    if plan.use.compiles and networks:
        callbacks.append(CompileWhenItPays(networks, epochs * len(batches), plan.notes))
    with warnings.catch_warnings(), repeatable(plan):
        # Lightning advises about data loader workers, and about epochs shorter than its logging interval.
        warnings.filterwarnings("ignore", module="lightning")
        trainer = pl.Trainer(
            max_epochs=epochs,
            accelerator=plan.use.accelerator,
            devices=1,
            precision=plan.use.precision,
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        try:
            trainer.fit(module, train_dataloaders=batches)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(
                f"candidate {plan.name!r} failed in training: {type(error).__name__}: {error}",
                object=f"candidates.{plan.name}",
                hint="see the task's log; forward takes one float32 tensor, and returns logits [n, k] or values [n, 1]",
            ) from error


def predict(module: torch.nn.Module, x: torch.Tensor, outputs: int, name: str) -> Array:
    """Logits [n, k] or scaled values [n, 1] of preprocessed rows, float32; the module's mode is as before.

    Raises:
        ModelError: the module returns another shape, or values that are not finite.
    """
    training = module.training
    module.eval()
    device = next((p.device for p in module.parameters()), x.device)
    # A compiled network would be compiled once more for these other shapes.
    call = module.forward if getattr(module, "_compiled_call_impl", None) is not None else module
    with torch.no_grad():
        parts = [call(x[i : i + PREDICT_ROWS].to(device)).cpu() for i in range(0, len(x), PREDICT_ROWS)]
    module.train(training)
    raw = torch.cat(parts) if parts else torch.zeros(0, outputs)
    if tuple(raw.shape) != (len(x), outputs):
        raise ModelError(
            f"forward of candidate {name!r} returns another shape", object=f"candidates.{name}",
            expected=f"[n, {outputs}]", got=str(list(raw.shape)),
        )  # fmt: skip
    if not bool(torch.isfinite(raw).all()):
        raise ModelError(
            f"candidate {name!r} predicts values that are not finite", object=f"candidates.{name}",
            hint="lower params.learning_rate, and look at the data for values far outside the usual",
        )  # fmt: skip
    result: Array = raw.float().numpy()
    return result


def weights(module: torch.nn.Module) -> State:
    """A copy of the weights, on the CPU."""
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in module.state_dict().items()}
