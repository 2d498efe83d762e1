"""One loaded version: its ONNX session, its schema, and the proof that it computes what it was exported to compute."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from trimtab.core.errors import ModelError, TrimtabError
from trimtab.core.schema import Schema
from trimtab.serving.bound import Bound
from trimtab.serving.card import Card, read_card
from trimtab.serving.explain import text_categories
from trimtab.serving.limits import Limits, read_limits
from trimtab.serving.matrix import INPUT, Matrix
from trimtab.serving.prepared import Prepared

if TYPE_CHECKING:
    from trimtab.core.envelope import Manifest
    from trimtab.serving.v2_outputs import Known

logger = logging.getLogger(__name__)

Tensors = dict[str, np.ndarray[Any, Any]]

# So many rows are run at the warm-up to learn what a further row takes, where they cannot take longer than this.
BULK_ROWS, BULK_SECONDS = 256, 0.05
# What decoding, labels and counting take for a row beside the run, in seconds, about.
AROUND_SECONDS = 0.3e-6


class LoadedModel:
    """A version that passed every check.

    Attributes:
        name, version: which model it is.
        schema: what it takes and what it answers.
        output: `probabilities` (float32 [n, k]) or `value` (float32 [n, 1]).
        threshold: for two classes, the probability of the second from which it is the label; None: the larger one.
        names: of the features, in order.
        texts: category fields that only take text (see `explain.text_categories`).
        limits: what its project says about the size of a request, and the page.
        row_seconds: the time of a one-row run, measured at warm-up.
        more_seconds: that of each row beyond the first, at most.
        matrix: reads rows at once, where all features are numbers.
        prepared: what all its answers have in common.
        known: what stood before the bytes of many rows, and what it was read as; see `v2.decode_bulk`.
        card: what the page says about it.
    """

    def __init__(
        self, name: str, version: str, schema: Schema, session: Any, threshold: float | None, limits: Limits
    ) -> None:
        self.name = name
        self.version = version
        self.schema = schema
        self.limits = limits
        self.names = tuple(field.name for field in schema.features)
        self.texts = text_categories(schema)
        self.classes = schema.target.classes
        self.threshold = threshold if len(self.classes) == 2 else None
        self.output = "probabilities" if schema.target.kind == "category" else "value"
        self.row_seconds = self.more_seconds = 0.0
        self.matrix = Matrix(schema) if schema.single_input and INPUT not in schema.by_name else None
        self.prepared = Prepared(name, version, self.classes)
        self.known: dict[bytes, Known] = {}
        self.card = Card()
        self._session = session
        self._outputs = [self.output]
        self._bound: Bound | None = None

    @property
    def classifies(self) -> bool:
        """Whether it answers with labels (else with numbers)."""
        return self.output == "probabilities"

    def run(self, tensors: Tensors) -> np.ndarray[Any, Any]:
        """The output for encoded inputs: float32 [n, k] or [n, 1]. Several threads may call it at once."""
        if self._bound is not None and len(next(iter(tensors.values()))) == 1:
            found = self._bound.run(tensors)
            if found is not None:
                return found
        result: np.ndarray[Any, Any] = self._session.run(self._outputs, tensors)[0]
        return result

    def seconds(self, n: int) -> float:
        """About how long a run of n rows takes, with what is done for each row around it; rather too long."""
        return self.row_seconds + (n - 1) * (self.more_seconds + AROUND_SECONDS)

    def bind(self, row: Tensors, expected: np.ndarray[Any, Any]) -> None:
        """Run single rows in buffers of their own from now on, where that gives what a row is known to give."""
        specs = self.schema.tensors()
        if any(spec.dtype != "FP32" for spec in specs):
            return
        shapes = {spec.name: spec.shape[1:] for spec in specs}
        try:
            bound = Bound(self._session, shapes, self.output, expected.shape[1])
            found = bound.run(row)
        except Exception as error:  # noqa: BLE001 (no base class; a graph of fixed shapes, say, is run as any other)
            logger.info("rows of %s are not bound: %s", self.version, str(error)[:300])
            return
        if found is not None and np.allclose(found, expected, 1e-5, 1e-6):
            self._bound = bound

    def label(self, row: list[float]) -> str:
        """The label of one row of k probabilities."""
        if self.threshold is not None:
            return self.classes[int(row[1] >= self.threshold)]
        return self.classes[row.index(max(row))]

    def labels(self, probabilities: np.ndarray[Any, Any]) -> list[str]:
        """The label of each row of probabilities [n, k]."""
        return self.named(self.places(probabilities))

    def places(self, probabilities: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The place of each row's label among the classes, integers [n]; of probabilities [n, k]."""
        if self.threshold is not None:
            # As `label` does: the row's float32 as a float, against the threshold.
            return (probabilities[:, 1].astype(np.float64) >= self.threshold).astype(np.intp)
        best: np.ndarray[Any, Any] = probabilities.argmax(axis=1)
        return best

    def named(self, places: np.ndarray[Any, Any]) -> list[str]:
        """The labels at places among the classes."""
        labels: list[str] = self.prepared.labels[places].tolist()
        return labels


def load_model(folder: Path, manifest: Manifest, threads: int = 1) -> LoadedModel:
    """Load a verified bundle, and compare what it computes with what was recorded at export.

    Args:
        folder: the bundle's files, as `bundle.fetch_bundle` or `bundle.verify_bundle` left them.
        manifest: what those returned.
        threads: threads of one run.

    Raises:
        ModelError: its graph does not match its schema, or it computes something else than recorded.
    """
    name, version = manifest.model, manifest.version
    schema = _read_schema(folder / "schema.json", version)
    session = _open_session(folder / "model.onnx", version, threads)
    limits = read_limits(manifest.project, version)
    model = LoadedModel(name, version, schema, session, manifest.threshold, limits)
    _check_graph(session, schema, model.output, version)
    _warm_up(model, folder / "expected.json")
    model.card = read_card(folder, manifest, schema)
    return model


def _read_schema(path: Path, version: str) -> Schema:
    try:
        return Schema.from_json(path.read_bytes())
    except (OSError, ValueError, TrimtabError) as error:
        raise ModelError("the bundle's schema.json cannot be read", object=version, got=str(error)[:300]) from error


def _open_session(path: Path, version: str, threads: int) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no base class of their own
        raise ModelError("ONNX Runtime cannot load the graph", object=version, got=str(error)[:300]) from error


def _check_graph(session: Any, schema: Schema, output: str, version: str) -> None:
    wanted = {spec.name: ("tensor(string)" if spec.dtype == "BYTES" else "tensor(float)") for spec in schema.tensors()}
    found = {node.name: node.type for node in session.get_inputs()}
    if wanted != found:
        raise ModelError(
            "the graph's inputs are not the schema's", object=version, expected=str(wanted), got=str(found)
        )
    outputs = {node.name: node.shape for node in session.get_outputs()}
    if output not in outputs:
        raise ModelError("the graph lacks an output", object=version, expected=output, got=", ".join(outputs))
    width = outputs[output][-1] if outputs[output] else None
    classes = len(schema.target.classes)
    if output == "probabilities" and isinstance(width, int) and width != classes:
        raise ModelError(
            "the graph's classes are not the schema's", object=version, expected=f"{classes} columns", got=f"{width}"
        )


def _warm_up(model: LoadedModel, path: Path) -> None:
    """Run the recorded rows, compare, and time one row."""
    try:
        # One call, and a quick one: other threads answer requests, and wait for it.
        recorded = orjson.loads(path.read_bytes())
        tensors: Tensors = {}
        for spec in model.schema.tensors():
            values = recorded["inputs"][spec.name]
            if spec.dtype == "BYTES":
                tensors[spec.name] = np.array(values, dtype=object)
            else:
                tensors[spec.name] = np.array(values, dtype=np.float64).astype(np.float32)  # null becomes NaN
        expected = np.array(recorded["outputs"][model.output], dtype=np.float32)
        tolerance = float(recorded.get("tolerance", 1e-5))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            "the bundle's expected.json cannot be read",
            object=model.version,
            got=f"{type(error).__name__}: {error}"[:300],
        ) from error
    try:
        got = model.run(tensors)
        one = {name: tensor[:1] for name, tensor in tensors.items()}
        model.bind(one, model.run(one))
        model.row_seconds = model.more_seconds = min(_timed(model, one) for _ in range(5))
    except Exception as error:
        raise ModelError("the graph fails on its recorded rows", object=model.version, got=str(error)[:300]) from error
    if got.shape != expected.shape:
        raise ModelError(
            "the graph computes another shape than recorded",
            object=model.version,
            expected=str(expected.shape),
            got=str(got.shape),
        )
    scale = np.maximum(1.0, np.abs(expected))
    worst = float(np.max(np.abs(got - expected) / scale, initial=0.0)) if np.isfinite(got).all() else float("nan")
    if not worst <= tolerance:
        raise ModelError(
            "the graph computes something else than recorded",
            object=model.version,
            expected=f"differences of at most {tolerance:g}",
            got=f"{worst:g}",
        )
    _time_bulk(model, tensors)


def _time_bulk(model: LoadedModel, tensors: Tensors) -> None:
    """Learn what a row takes among many, where the model is quick and its graph takes any number of rows."""
    if model.row_seconds * BULK_ROWS > BULK_SECONDS:
        return
    many = {name: np.resize(tensor, (BULK_ROWS, *tensor.shape[1:])) for name, tensor in tensors.items()}
    try:
        bulk = min(_timed(model, many) for _ in range(3))
    except Exception as error:  # noqa: BLE001 (no base class; a graph for one row, say, is right as it is)
        logger.info("%s does not run %d rows: %s", model.version, BULK_ROWS, str(error)[:300])
        return
    model.more_seconds = min(model.row_seconds, bulk / BULK_ROWS)


def _timed(model: LoadedModel, tensors: Tensors) -> float:
    started = time.perf_counter()
    model.run(tensors)
    return time.perf_counter() - started
