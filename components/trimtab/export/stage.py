"""Write the winner as a bundle: one ONNX graph proved equal to what was trained, with all that travels with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from trimtab.core.datasets import read_manifest
from trimtab.core.errors import ModelError
from trimtab.core.policies import Block
from trimtab.core.prepared import Prepared
from trimtab.core.records import canonical
from trimtab.core.trained import (
    NETWORK,
    PARITY,
    PROBABILITIES,
    VALUE,
    Predictions,
    Scorer,
    TrainedModel,
    folder_digest,
    open_session,
)  # fmt: skip
from trimtab.export import card
from trimtab.export.graph import compose
from trimtab.export.reference import expected, recorded_inputs, reference_table
from trimtab.export.report import limits, render

Array = np.ndarray[Any, Any]
PARITY_LIMIT = 1e-5


class ExportConfig(Block):
    """Settings of the stage.

    Attributes:
        model: the model's name.
        task: classification or regression.
        metric: what select decided by.
        reference_rows: rows of the reference sample, at most.
        statement: the problem in words, for the report.
        rows_per_day: predictions a day, for the report's figures; 0 where nobody knows.
        seed: of the samples.
    """

    model: str
    task: Literal["classification", "regression"]
    metric: str
    reference_rows: int = Field(default=5000, ge=30)
    statement: str = ""
    rows_per_day: float = 0
    seed: int = 0


@dataclass(frozen=True)
class ExportResult:
    """What came out.

    Attributes:
        parity: largest difference between torch's outputs and the graph's: of a probability, or of a value in
            standard deviations of the target.
        rows: rows that were compared.
        digest: of the bundle's folder.
        files: names in it.
    """

    parity: float
    rows: int
    digest: str
    files: tuple[str, ...]


def export(config: ExportConfig, model: Path, prepared: Path, selection: Path, out: Path) -> ExportResult:
    """Export a trained model.

    Args:
        config: settings.
        model: the winner's folder, as select gave it.
        prepared: what prepare wrote.
        selection: select's JSON.
        out: folder of the bundle's files (all but the manifest) to write.

    Raises:
        ModelError: the graph's outputs differ from torch's by 1e-5 or more, or the graph cannot be built.
    """
    import pyarrow.parquet as pq

    data = Prepared.load(prepared)
    described = TrainedModel.load(model)
    try:
        chosen = json.loads(selection.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError("the selection cannot be read", object=str(selection), got=str(error)[:200]) from None
    out.mkdir(parents=True, exist_ok=True)
    (out / "model.onnx").write_bytes(compose(data.schema, data.preprocessing, described, model / NETWORK))
    session = open_session(out / "model.onnx")
    worst, rows = check_parity(session, described, data, model / PARITY)
    honest = Predictions.load(model, data.schema.target.classes)
    test = Scorer(model, data.preprocessing).predict(data.take(data.test_rows))
    table = reference_table(data, honest, test, config.reference_rows, config.seed)
    pq.write_table(table.replace_schema_metadata(None), out / "reference.parquet", compression="zstd")
    remarks = tuple(map(str, read_manifest(prepared).note.get("warnings") or ()))
    inputs = recorded_inputs(data, config.seed)
    name = _output(described)
    (out / "expected.json").write_bytes(canonical(expected(inputs, {name: session.run([name], inputs)[0]})))
    (out / "schema.json").write_bytes(canonical(data.schema.to_facts()))
    unseen = np.concatenate([honest.truth, data.truth[data.test_rows]]), np.concatenate([honest.prediction, test])
    facts = card.card(config, data.schema, chosen, *unseen, tuple(limits(described, honest)))
    (out / card.FILE).write_bytes(canonical(facts))
    (out / "report.html").write_text(render(config, data.schema, described, chosen, honest, remarks), encoding="utf-8")
    files = tuple(sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()))
    return ExportResult(parity=worst, rows=rows, digest=folder_digest(out), files=files)


def _output(model: TrainedModel) -> str:
    return "probabilities" if model.task == "classification" else "value"


def check_parity(session: Any, model: TrainedModel, data: Prepared, path: Path) -> tuple[float, int]:
    """Hold the graph to torch's outputs on the rows that train recorded.

    Returns:
        The largest difference, and how many rows were compared.

    Raises:
        ModelError: a difference is 1e-5 or more, or the rows are missing.
    """
    import pyarrow.parquet as pq

    if not path.is_file():
        raise ModelError("there are no rows to prove parity on", object=str(path), hint="train writes them; run it")
    table = pq.ParquetFile(path).read(use_threads=False)
    got = session.run([_output(model)], data.schema.encode_table(table))[0].astype(np.float64)
    if model.task == "classification":
        wanted = np.array(table.column(PROBABILITIES).to_pylist(), np.float64)
        scale = 1.0
    else:
        wanted, scale = table.column(VALUE).to_numpy()[:, None], model.target.scale
    difference = np.abs(got - wanted).max(axis=1) / scale if got.shape == wanted.shape else np.array([np.inf])
    worst = float(difference.max()) if len(difference) else float("inf")
    if not worst < PARITY_LIMIT:
        raise ModelError(
            f"the exported graph differs from the trained model of candidate {model.name!r}",
            object="model.onnx",
            expected=f"differences below {PARITY_LIMIT:g} on {table.num_rows} rows",
            got=f"{worst:g}",
            rows=np.flatnonzero(~(difference < PARITY_LIMIT)).tolist(),
            hint="look for an operation that ONNX computes otherwise, or for one that is random in eval mode",
        )
    return worst, table.num_rows
