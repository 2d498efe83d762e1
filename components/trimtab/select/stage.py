"""Choose the winner on honest predictions, open the sealed test once for it, and hold it to the gates.

A run that brought rows to be judged on has no sealed test of its own: those rows are it, and evaluate has scored them.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from trimtab.core.blocks import METRICS, Gates
from trimtab.core.errors import ModelError
from trimtab.core.metrics import FUNCTIONS, confusion, figures
from trimtab.core.policies import Block
from trimtab.core.prepared import Prepared
from trimtab.core.records import canonical
from trimtab.core.trained import Predictions, Scorer, TrainedModel
from trimtab.select.rank import Entrant, rank

Array = np.ndarray[Any, Any]
Figures = dict[str, dict[str, float]]


class SelectConfig(Block):
    """Settings of the stage."""

    task: Literal["classification", "regression"]
    metric: str
    gates: Gates = Gates()


@dataclass(frozen=True)
class Selection:
    """What came out; the same stands in the JSON file, with the winner's evaluation.

    Attributes:
        winner: name of the candidate.
        why: in words.
        metrics: its figures on the sealed test, each `value, low, high`.
        tested_on: `test`; `judge` where the rows to be judged on are the test; `folds` where there is neither.
        rows: how many rows that were.
        gates: each gate in words, and whether it holds.
        passed: all of them do.
        confusion: counts on the sealed test, where there is one.
    """

    winner: str
    why: str
    metrics: Figures
    tested_on: Literal["test", "judge", "folds"]
    rows: int
    gates: dict[str, bool]
    passed: bool
    confusion: list[list[int]]


def select(
    config: SelectConfig,
    prepared: Path,
    baseline: Path,
    models: list[Path],
    evaluations: list[Path],
    model_out: Path,
    out: Path,
) -> Selection:
    """Select a winner, copy its folder to `model_out`, and write what was decided to `out`.

    Args:
        config: settings.
        prepared: what prepare wrote.
        baseline: what baseline wrote.
        models: what train wrote, one folder a candidate.
        evaluations: what evaluate wrote, one folder a candidate, in any order.
        model_out: folder to write.
        out: JSON file to write.

    Raises:
        ModelError: there is no candidate, or one lacks its evaluation.
    """
    data = Prepared.load(prepared)
    classes = data.schema.target.classes
    entrants = [Entrant(TrainedModel.load(m), Predictions.load(m, classes)) for m in models]
    scored = {str(e["candidate"]): e for e in (_read(p / "evaluation.json") for p in evaluations)}
    lacking = [e.model.name for e in entrants if e.model.name not in scored]
    if not entrants or lacking:
        raise ModelError(
            "there is nothing to select from" if not entrants else f"candidate {lacking[0]!r} has no evaluation",
            object=str(prepared),
            expected="what train and evaluate wrote for each candidate",
            got=f"{len(models)} models, {len(evaluations)} evaluations",
        )
    naive = _read(baseline / "baseline.json")
    winner, why = rank(entrants, config.metric)
    folder = models[entrants.index(winner)]
    evaluation = scored[winner.model.name]
    metrics, tested_on, rows, better, table = _test(config, data, folder, evaluation, naive)
    gates = _gates(config.gates, metrics, better)
    result = Selection(winner.model.name, why, metrics, tested_on, rows, gates, all(gates.values()), table)
    if model_out.exists():
        shutil.rmtree(model_out)
    shutil.copytree(folder, model_out)
    candidates = [
        {"name": e.model.name, "parameters": e.model.parameters, "metrics": e.model.figures} for e in entrants
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    facts = {**vars(result), "metric": config.metric, "threshold": None, "candidates": candidates}
    out.write_bytes(canonical({**facts, "baseline": naive, "evaluation": evaluation, "judge": evaluation["judge"]}))
    return result


def _test(
    config: SelectConfig, data: Prepared, model: Path, evaluation: dict[str, Any], naive: dict[str, Any]
) -> tuple[Figures, Literal["test", "judge", "folds"], int, bool, list[list[int]]]:
    """Figures of the winner on the sealed test, what that was, its rows, whether the baseline is beaten, confusion."""
    rows = data.test_rows
    sign = 1.0 if METRICS[config.metric][1] else -1.0
    if rows.size:
        truth = data.truth[rows]
        prediction = Scorer(model, data.preprocessing).predict(data.take(rows))
        constant = np.asarray(naive["constant"], np.float64)
        dull = np.tile(constant, (len(rows), 1)) if config.task == "classification" else np.full(len(rows), constant[0])
        metric = FUNCTIONS[config.metric]
        better = sign * (metric(truth, prediction) - metric(truth, dull)) > 0
        found = {n: f.facts() for n, f in figures(config.task, truth, prediction).items()}
        return found, "test", len(rows), better, confusion(truth, prediction) if config.task == "classification" else []
    ours, theirs = evaluation["metrics"], naive["metrics"]
    better = sign * (ours[config.metric]["value"] - theirs[config.metric]["value"]) > 0
    if evaluation["judge_metrics"]:
        return evaluation["judge_metrics"], "judge", int(evaluation["judge_rows"]), better, []
    return ours, "folds", int(evaluation["rows"]), better, []


def _gates(gates: Gates, metrics: Figures, better: bool) -> dict[str, bool]:
    held = {f"{n} at least {v:g}": metrics[n]["value"] >= v for n, v in sorted(gates.at_least.items())}
    held |= {f"{n} at most {v:g}": metrics[n]["value"] <= v for n, v in sorted(gates.at_most.items())}
    return {**held, "better than the baseline": better} if gates.beats_baseline else held


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(
            f"the folder holds no readable {path.name}", object=str(path.parent), got=str(error)[:200]
        ) from None
    return found
