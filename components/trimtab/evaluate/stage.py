"""A candidate's figures with intervals, and champion against challenger on the rows to be judged on.

The figures come from predictions of rows that the predicting fit did not see. The sealed test is not touched here:
select opens it once, for the winner.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from trimtab.core.datasets import read_manifest, read_table
from trimtab.core.errors import ModelError
from trimtab.core.metrics import calibration_error, confusion, figures, roc
from trimtab.core.policies import Block
from trimtab.core.prepared import Prepared
from trimtab.core.records import canonical
from trimtab.core.trained import Predictions, Scorer
from trimtab.evaluate.judge import Champion, compare_labels, compare_values, labels

if TYPE_CHECKING:
    import pyarrow as pa

    from trimtab.core.store import Store

FILE = "evaluation.json"
Array = np.ndarray[Any, Any]
Paired = dict[str, Any]


class EvaluateConfig(Block):
    """Settings of the stage: the candidate's name, and the model's by which the champion is found."""

    name: str
    task: Literal["classification", "regression"]
    metric: str
    model: str


@dataclass(frozen=True)
class Evaluation:
    """What came out; the same as `evaluation.json`.

    Attributes:
        candidate: its name.
        metrics: on honest predictions of the training rows, each `value, low, high`.
        rows: how many rows these are.
        confusion: counts [k][k], row = true class; empty for numbers.
        roc: `fpr, tpr, threshold`; empty for numbers.
        calibration_error: mean gap between confidence and share right; None for numbers.
        judge: counts against the champion on the rows to be judged on; None without a champion or rows.
        judge_metrics: the candidate's own figures there; None without rows.
        judge_rows: how many rows these are.
    """

    candidate: str
    metrics: dict[str, dict[str, float]]
    rows: int
    confusion: list[list[int]]
    roc: dict[str, list[float]]
    calibration_error: float | None
    judge: Paired | None
    judge_metrics: dict[str, dict[str, float]] | None
    judge_rows: int


def evaluate(
    config: EvaluateConfig,
    prepared: Path,
    model: Path,
    judge: Path,
    out: Path,
    store: Store | None,
    champion: Path | None = None,
) -> Evaluation:
    """Score one candidate and write `evaluation.json`.

    Args:
        config: settings.
        prepared: what prepare wrote.
        model: what train wrote.
        judge: dataset of the rows to be judged on; its note's `against` names the champion's version.
        out: folder to write.
        store: where the champion's bundle is.
        champion: folder of the champion's bundle, in place of the store's.

    Raises:
        ModelError: the model's folder does not hold, or the champion cannot be read.
        NotFound: the store has no such version.
        SignatureError: the champion's bundle does not hold.
    """
    data = Prepared.load(prepared)
    classes = data.schema.target.classes
    honest = Predictions.load(model, classes)
    scorer = Scorer(model, data.preprocessing)
    if not len(honest.rows):
        raise ModelError("the model has no honest predictions", object=str(model), hint="run train again")
    classify = config.task == "classification"
    paired, fresh = _judged(config, data, scorer, judge, store, champion)
    result = Evaluation(
        candidate=config.name,
        metrics={n: f.facts() for n, f in figures(config.task, honest.truth, honest.prediction).items()},
        rows=len(honest.rows),
        confusion=confusion(honest.truth, honest.prediction) if classify else [],
        roc=roc(honest.truth, honest.prediction) if classify else {},
        calibration_error=round(calibration_error(honest.truth, honest.prediction), 6) if classify else None,
        judge=paired,
        judge_metrics=fresh,
        judge_rows=read_manifest(judge).rows,
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / FILE).write_bytes(canonical({**vars(result), "classes": classes}))
    return result


def _judged(
    config: EvaluateConfig,
    data: Prepared,
    scorer: Scorer,
    judge: Path,
    store: Store | None,
    champion: Path | None,
) -> tuple[Paired | None, dict[str, dict[str, float]] | None]:
    """The paired counts, and the candidate's own figures, on the rows to be judged on."""
    manifest = read_manifest(judge)
    if not manifest.rows:
        return None, None
    table = read_table(judge)
    prediction = scorer.predict(data.schema.encode_table(table))
    against = str(manifest.note.get("against") or "")
    theirs = _champion(config, against, store, champion, table)
    target = table.column(data.schema.target.name)
    if config.task == "regression":
        values = np.asarray(target.to_numpy(), np.float64)
        own = {n: f.facts() for n, f in figures(config.task, values, prediction).items()}
        return None if theirs is None else {"against": against, **compare_values(values, prediction, theirs)}, own
    classes = data.schema.target.classes
    texts = np.array(target.to_pylist(), dtype=object)
    # A class that is new in these rows counts as wrong for both; figures need the classes the model knows.
    number = {name: i for i, name in enumerate(classes)}
    truth = np.array([number.get(text, -1) for text in texts], np.int64)
    known = truth >= 0
    own = {n: f.facts() for n, f in figures(config.task, truth[known], prediction[known]).items()} if any(known) else {}
    if theirs is None:
        return None, own
    return {"against": against, **compare_labels(texts, labels(prediction, classes), theirs)}, own


def _champion(
    config: EvaluateConfig, against: str, store: Store | None, folder: Path | None, table: pa.Table
) -> Array | None:
    """The champion's answers, or None where there is none to be judged against."""
    if folder is not None:
        return Champion(folder).answers(table)
    if not against or store is None:
        return None
    from trimtab.core import settings
    from trimtab.core.bundle import fetch_bundle
    from trimtab.core.signing import trusted_keys

    with tempfile.TemporaryDirectory(prefix="trimtab-champion-") as scratch:
        keys = trusted_keys(settings.load().trusted_keys)
        manifest = fetch_bundle(store, config.model, against, Path(scratch), keys)
        return Champion(Path(scratch), manifest.threshold).answers(table)
