"""A trained model's folder: what train writes, and how evaluate, select and export use it without torch.

`weights.safetensors` and `model.json` are the model; `network.onnx` is the same network from preprocessed features
to logits (or scaled values), for ONNX Runtime; `predictions.parquet` has the honest predictions on rows that the
predicting fit did not see; `parity.parquet` has rows with torch's own outputs, for the parity check of the export.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from trimtab.core.errors import ModelError
from trimtab.core.preprocessing import Preprocessing, TargetScale

Array = np.ndarray[Any, Any]
MODEL, WEIGHTS, NETWORK = "model.json", "weights.safetensors", "network.onnx"
PREDICTIONS, PARITY = "predictions.parquet", "parity.parquet"
ROW, TRUTH, PROBABILITIES, VALUE = "_row", "_truth", "_probabilities", "_value"
BATCH = 4096


class TrainedModel(BaseModel):
    """`model.json`.

    Attributes:
        name, kind, uses, params: the candidate.
        task: classification or regression.
        classes: in the order of the outputs.
        shape: of one preprocessed row.
        outputs: number of classes, or 1.
        parameters: number of weights, which parsimony is measured by.
        temperature: what logits are divided by before the softmax (Guo et al. 2017).
        target: how a predicted number is scaled back.
        embedding: width of the penultimate layer, 0 where the network has none to show.
        steps: optimizer steps of the served fit.
        figures: metrics on the honest predictions, each `value, low, high`.
        residuals: of a regression: mean, standard deviation and quantiles of the honest absolute errors.
        prepared: digest of the dataset it was trained on.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    kind: str
    uses: str = ""
    params: dict[str, Any] = {}
    task: Literal["classification", "regression"]
    classes: tuple[str, ...] = ()
    shape: tuple[int, ...]
    outputs: int
    parameters: int
    temperature: float = 1.0
    target: TargetScale = TargetScale()
    embedding: int = 0
    steps: int = 0
    seed: int = 0
    threads: int = 1
    figures: dict[str, dict[str, float]] = {}
    residuals: dict[str, float] = {}
    prepared: str = ""

    @classmethod
    def load(cls, folder: Path) -> TrainedModel:
        """Read a trained model's `model.json`.

        Raises:
            ModelError: the folder holds none that can be read.
        """
        try:
            return cls.model_validate_json((folder / MODEL).read_bytes())
        except (OSError, ValueError) as error:
            raise ModelError(
                f"the folder holds no readable {MODEL}", object=str(folder), got=str(error)[:200],
                hint="it is what train writes",
            ) from None  # fmt: skip


def probabilities(logits: Array, temperature: float) -> Array:
    """Softmax of logits [n, k] over a temperature, float64."""
    scaled = logits.astype(np.float64) / temperature
    raised: Array = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


class Scorer:
    """A trained model that predicts encoded rows by ONNX Runtime.

    Args:
        folder: what train wrote.
        preprocessing: of the dataset it was trained on.

    Raises:
        ModelError: the folder holds no such model, or its network cannot be loaded.
    """

    def __init__(self, folder: Path, preprocessing: Preprocessing) -> None:
        self.model = TrainedModel.load(folder)
        self.preprocessing = preprocessing
        self._session = open_session(folder / NETWORK)

    def predict(self, inputs: Mapping[str, Array]) -> Array:
        """Probabilities [n, k] or values [n] of encoded rows (see `Schema.tensors`), float64."""
        n = len(next(iter(inputs.values())))
        if n == 0:
            return np.zeros((0, self.model.outputs) if self.model.task == "classification" else 0)
        out = []
        for start in range(0, n, BATCH):
            part = {name: tensor[start : start + BATCH] for name, tensor in inputs.items()}
            out.append(self._session.run(["output"], {"features": self.preprocessing.apply(part)})[0])
        raw = np.concatenate(out)
        if self.model.task == "classification":
            return probabilities(raw, self.model.temperature)
        value: Array = raw[:, 0].astype(np.float64) * self.model.target.scale + self.model.target.mean
        return value


def open_session(path: Path) -> Any:
    """An ONNX Runtime session on one thread, which makes sums come out the same each time.

    Raises:
        ModelError: the graph cannot be loaded.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001  ONNX Runtime's exceptions have no base class of their own
        raise ModelError(
            "ONNX Runtime cannot load the graph", object=str(path), got=str(error)[:300],
            hint="use layers that ONNX opset 18 has",
        ) from None  # fmt: skip


@dataclass(frozen=True)
class Predictions:
    """Honest predictions.

    Attributes:
        rows: row numbers in the prepared dataset, int64 [n].
        folds: fold each row was held out in, int64 [n].
        truth: class indices or values [n].
        prediction: probabilities [n, k] or values [n].
    """

    rows: Array
    folds: Array
    truth: Array
    prediction: Array

    def save(self, path: Path, classes: tuple[str, ...]) -> None:
        """Write them as Parquet: `_row, _fold, _truth` and `_probabilities` or `_value`."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns: dict[str, Any] = {ROW: pa.array(self.rows, pa.int64()), "_fold": pa.array(self.folds, pa.int64())}
        if self.prediction.ndim == 2:
            columns[TRUTH] = pa.array([classes[i] for i in self.truth], pa.string())
            columns[PROBABILITIES] = list_column(self.prediction)
        else:
            columns[TRUTH] = pa.array(self.truth, pa.float64())
            columns[VALUE] = pa.array(self.prediction, pa.float64())
        pq.write_table(pa.table(columns), path, compression="zstd", compression_level=1)

    @classmethod
    def load(cls, folder: Path, classes: tuple[str, ...]) -> Predictions:
        """Read a trained model's predictions.

        Raises:
            ModelError: they are missing, or of other classes.
        """
        import pyarrow.parquet as pq

        path = folder / PREDICTIONS
        if not path.is_file():
            raise ModelError(f"the folder holds no {PREDICTIONS}", object=str(folder), hint="it is what train writes")
        table = pq.ParquetFile(path).read(use_threads=False)
        rows, folds = table.column(ROW).to_numpy(), table.column("_fold").to_numpy()
        if VALUE in table.column_names:
            return cls(rows, folds, table.column(TRUTH).to_numpy(), table.column(VALUE).to_numpy())
        number = {name: i for i, name in enumerate(classes)}
        truth = np.array([number.get(text, -1) for text in table.column(TRUTH).to_pylist()], np.int64)
        prediction = np.array(table.column(PROBABILITIES).to_pylist(), np.float64).reshape(len(rows), -1)
        if (truth < 0).any() or prediction.shape[1] != len(classes):
            raise ModelError("the predictions are of other classes than the data", object=str(path),
                             expected=", ".join(classes[:20]))  # fmt: skip
        return cls(rows, folds, truth, prediction)


def list_column(values: Array) -> Any:
    """A float array [n, k] as a column of lists of float32."""
    import pyarrow as pa

    n, k = values.shape
    flat = pa.array(np.ascontiguousarray(values, np.float32).ravel())
    return pa.ListArray.from_arrays(pa.array(np.arange(0, (n + 1) * k, k, dtype=np.int32)), flat)


def folder_digest(folder: Path) -> str:
    """sha256 over the files of a folder and their names, hex: the same files, the same digest."""
    import hashlib

    from trimtab.core.datasets import file_sha256

    whole = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        whole.update(f"{path.relative_to(folder).as_posix()}\n{file_sha256(path)}\n".encode())
    return whole.hexdigest()[:32]
