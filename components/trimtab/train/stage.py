"""Fit one candidate: honest predictions by folds, a calibrated served fit on every training row.

Up to a few thousand rows each fold in turn is held out of a fit: its predictions give metrics, calibration and the
reference sample, and how many epochs are best; then one fit on all rows is the model. Above, one fold is held out.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from trimtab.core.blocks import Candidate
from trimtab.core.errors import DataError
from trimtab.core.metrics import calibration_error, figures
from trimtab.core.policies import Block
from trimtab.core.prepared import Prepared
from trimtab.core.trained import PREDICTIONS, Predictions, TrainedModel, folder_digest, probabilities

if TYPE_CHECKING:
    import torch

    from trimtab.train.fits import Plan
    from trimtab.train.honest import Fitted
    from trimtab.train.params import Schedule

Array = np.ndarray[Any, Any]
# Steps and least batch of a fit on few rows: a convolution's step is dear, and cheaper by the row in larger batches.
ENOUGH = {"cnn": (250, 64)}
OTHERS = (500, 32)
LEAST_EPOCHS = 10
BATCHES = ((4_000, 0), (16_000, 64), (100_000, 256))
LARGE_BATCH = 1024


class TrainConfig(Block):
    """Settings of the stage."""

    candidate: Candidate
    name: str
    task: Literal["classification", "regression"]
    metric: str
    seed: int = 0
    threads: int = Field(default=1, ge=1, le=256)
    accelerator: Literal["cpu", "gpu"] = "cpu"
    precision: Literal["auto", "float32"] = "auto"
    deterministic: bool = False


@dataclass(frozen=True)
class TrainResult:
    """What came out.

    Attributes:
        figures: metrics on the honest predictions, each `value, low, high`.
        digest: of the model's folder.
        steps: optimizer steps of the served fit.
        parameters: number of weights.
        seconds: how long the fits took, wall.
        hardware: what they ran on and how, for the run record; no artifact holds it.
    """

    figures: dict[str, dict[str, float]]
    digest: str
    steps: int
    parameters: int
    seconds: float
    hardware: dict[str, Any] = field(default_factory=dict)


def train(config: TrainConfig, prepared: Path, out: Path) -> TrainResult:
    """Train a candidate on a prepared dataset and write the model's folder (see `core.trained`).

    Args:
        config: settings.
        prepared: what prepare wrote.
        out: folder to write.

    Raises:
        ProjectError: the candidate's params or `uses` are wrong, or it does not fit the inputs.
        DataError: the folder is no prepared dataset, or no row is held out.
        ModelError: the loss is not finite, or the candidate's own code fails.
    """
    import torch

    from trimtab.train import device
    from trimtab.train.save import save

    started = time.monotonic()
    torch.set_num_threads(config.threads)
    data = Prepared.load(prepared)
    rows = data.train_rows
    if not (data.folds[rows] >= 0).any():
        raise DataError("no row is held out to be judged on", object=str(prepared), expected="_fold: 0, 1, …", got="-1")
    fitted, plan = _fit(config, data, rows)
    honest = rows[fitted.rows]
    model = _describe(config, data, fitted, honest)
    out.mkdir(parents=True, exist_ok=True)
    _predictions(data, model, fitted.raw, honest).save(out / PREDICTIONS, model.classes)
    save(fitted.module, model, data, out)
    return TrainResult(
        figures=model.figures,
        digest=folder_digest(out),
        steps=model.steps,
        parameters=model.parameters,
        seconds=round(time.monotonic() - started, 3),
        hardware={**device.facts(plan), "threads": config.threads},
    )


def _fit(config: TrainConfig, data: Prepared, rows: Array) -> tuple[Fitted, Plan]:
    import torch

    from trimtab.train import own, params
    from trimtab.train.apart import fit_apart
    from trimtab.train.together import fit_together

    candidate, classes = config.candidate, data.schema.target.classes
    x = torch.from_numpy(data.preprocessing.apply(data.take(rows)))
    y = _targets(data, rows, config.task)
    folds = data.folds[rows]
    outputs = len(classes) if config.task == "classification" else 1
    if not candidate.uses:
        settings = params.parse(candidate.kind or candidate.name, candidate.params, config.name)
        plan = _plan(config, settings, len(rows), x.nbytes + y.nbytes)
        return fit_together(settings, x, y, folds, plan, outputs), plan
    shape = tuple(x.shape[1:])

    def build(n: int, steps: int) -> Any:
        return own.build(candidate, own.Facts(config.task, shape, outputs, classes, rows=n, steps=steps))

    plan = _plan(config, params.parse_schedule(candidate.params, config.name), len(rows), x.nbytes + y.nbytes)
    return fit_apart(build, x, y, folds, plan, outputs), plan


def _targets(data: Prepared, rows: Array, task: str) -> torch.Tensor:
    import torch

    truth = data.truth[rows]
    if task == "classification":
        return torch.from_numpy(truth.astype(np.int64))
    scale = data.preprocessing.target
    return torch.from_numpy(((truth - scale.mean) / scale.scale).astype(np.float32)[:, None])


def _plan(config: TrainConfig, asked: Schedule, n: int, row_bytes: int = 0) -> Plan:
    """Epochs and batch size: as asked, else a number of steps that is enough, and at least ten passes."""
    from trimtab.train import device
    from trimtab.train.fits import Plan, steps_an_epoch

    steps, least = ENOUGH.get(config.candidate.kind, OTHERS)
    batch = asked.batch_size or max(least, next((size for most, size in BATCHES if n <= most), LARGE_BATCH))
    epochs = asked.epochs or max(LEAST_EPOCHS, round(steps / steps_an_epoch(n, batch)))
    there = device.find(config.accelerator, config.name)
    how = device.use(there, row_bytes, precision=config.precision, deterministic=config.deterministic)
    return Plan(epochs, batch, config.seed, config.name, how)


def _predictions(data: Prepared, model: TrainedModel, raw: Array, rows: Array) -> Predictions:
    if model.task == "classification":
        prediction = probabilities(raw, model.temperature)
    else:
        prediction = raw[:, 0].astype(np.float64) * model.target.scale + model.target.mean
    return Predictions(rows, data.folds[rows].astype(np.int64), data.truth[rows], prediction)


def _describe(config: TrainConfig, data: Prepared, fitted: Fitted, rows: Array) -> TrainedModel:
    from trimtab.train.calibrate import temperature

    truth, raw, module = data.truth[rows], fitted.raw, fitted.module
    classify = config.task == "classification"
    model = TrainedModel(
        name=config.name,
        kind=config.candidate.kind,
        uses=config.candidate.uses,
        params=config.candidate.params,
        task=config.task,
        classes=data.schema.target.classes,
        shape=data.preprocessing.shape,
        outputs=raw.shape[1],
        parameters=sum(p.numel() for p in module.parameters()),
        temperature=temperature(raw, truth) if classify else 1.0,
        target=data.preprocessing.target,
        embedding=int(getattr(module, "embedding", 0)) if not config.candidate.uses else 0,
        steps=fitted.steps,
        seed=config.seed,
        threads=config.threads,
        prepared=data.digest,
    )
    prediction = _predictions(data, model, raw, rows).prediction
    found = {name: f.facts() for name, f in figures(config.task, truth, prediction, config.seed).items()}
    if classify:
        error = round(calibration_error(truth, prediction), 6)
        return model.model_copy(update={"figures": found, "residuals": {"calibration_error": error}})
    errors = np.abs(prediction - truth)
    residuals = {f"q{q:02d}": round(float(np.quantile(errors, q / 100)), 6) for q in (10, 50, 90, 95)}
    spread = {"mean": round(float(errors.mean()), 6), "std": round(float(errors.std()), 6)}
    return model.model_copy(update={"figures": found, "residuals": {**spread, **residuals}})
