"""A world whose versions are real graphs: `yes` where x is above the version's threshold; the truth's is 0.5."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from cryptography.hazmat.primitives import serialization
from tests.monitoring.world import KEY, MODEL, SCHEMA, World

from trimtab.core import bundle, ledger, predictions
from trimtab.core.ids import uuid7
from trimtab.core.schema import Field, Schema

TRUTH = 0.5


def trust(folder: Path) -> Path:
    """A folder of trusted keys that holds the world's."""
    folder.mkdir(exist_ok=True)
    pem = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / "world.pem").write_bytes(pem)
    return folder


def graph(threshold: float) -> bytes:
    """P(yes) = sigmoid(20 (x - threshold)); where x is missing, no answer can be computed from it."""
    from onnx import TensorProto, helper, numpy_helper

    constants = {"t": [threshold], "k": [20.0], "one": [1.0]}
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Sub", ["input", "t"], ["over"]),
                helper.make_node("Mul", ["over", "k"], ["scaled"]),
                helper.make_node("Sigmoid", ["scaled"], ["yes"]),
                helper.make_node("Sub", ["one", "yes"], ["no"]),
                helper.make_node("Concat", ["no", "yes"], ["probabilities"], axis=1),
            ],
            "threshold",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 1])],
            [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2])],
            [numpy_helper.from_array(np.array(v, np.float32), name) for name, v in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    model.ir_version = 8
    return bytes(model.SerializeToString())


def reference(threshold: float, right: float, n: int = 400) -> pa.Table:
    """Rows of a reference sample with the answers of the version with this threshold."""
    x = np.linspace(0, 1, n)
    yes = 1 / (1 + np.exp(-20 * (x - threshold)))
    answers = np.where(yes > 0.5, "yes", "no")
    wrong = np.arange(n) % 100 >= round(100 * right)
    columns = {
        "x": x, "order": [f"r{i}" for i in range(n)], "_label": answers,
        "_probabilities": pa.array(np.stack([1 - yes, yes], 1).tolist(), pa.list_(pa.float32())),
        "y": np.where(wrong, np.where(answers == "yes", "no", "yes"), answers),
    }  # fmt: skip
    return pa.table(columns)


FLOAT64 = pa.float64()


@dataclass
class RealWorld(World):
    """As `World`, with graphs that answer; see `version` and `asked`."""

    logged: int = 0

    def version(
        self, threshold: float, schema: Schema = SCHEMA, made: datetime | None = None, right: float = 0.95
    ) -> str:
        """Publish the version with this threshold; of the rows of its reference this share was answered right."""
        folder = self.folder / f"real-{threshold}-{len(schema.fields)}"
        folder.mkdir(exist_ok=True)
        (folder / "model.onnx").write_bytes(graph(threshold))
        (folder / "schema.json").write_text(schema.to_json())
        pq.write_table(reference(threshold, right), folder / "reference.parquet")
        project = {"name": MODEL, "fields": [{"name": "order", "kind": "id"}], "windows": {"rows": 40}, **self.project}
        return bundle.publish_bundle(
            self.store, MODEL, folder, KEY, metrics={}, threshold=None,
            lineage={"run_key": ""}, project=project, created_at=made or datetime(2026, 11, 1, tzinfo=UTC),
        )  # fmt: skip

    def promote(self, version: str) -> None:
        state = self.state()
        ledger.append(self.store, MODEL, "promoted", version, expect=state, who="test", why="")

    def asked(
        self,
        version: str,
        threshold: float,
        xs: Iterable[float],
        start: datetime,
        labelled: bool = True,
        kind: pa.DataType = FLOAT64,
    ) -> None:
        """The version was asked these rows, a millisecond apart, and answered as its threshold says."""
        self.logged += 1
        values = [float(x) for x in xs]
        n = len(values)
        columns: dict[str, Any] = {
            "_id": pa.array([f"{uuid7()}-0" for _ in range(n)], pa.string()),
            "_time": pa.array([start + i * timedelta(milliseconds=1) for i in range(n)], predictions.TIME),
            "x": pa.array(values, kind),
            "order": pa.array([f"r{self.logged}-{i}" for i in range(n)]),
            "_label": pa.array(["yes" if x > threshold else "no" for x in values]),
            "_latency_ms": pa.array([5.0] * n, pa.float32()),
            "_share": pa.array([100] * n, pa.int64()),
        }
        for part in predictions.split_hours(pa.table(columns)):
            self.files += 1
            predictions.write_log(self.store, MODEL, version, "s1", self.files, part)
            if labelled:
                self.label(part)

    def label(self, part: pa.Table) -> None:
        """The truth of logged rows comes in."""
        from trimtab.core import labels

        n = part.num_rows
        moment = part["_time"].to_pylist()[-1]
        table = pa.table(
            {
                "_id": part["_id"],
                "_key": pa.array([None] * n, pa.string()),
                "value": pa.array(["yes" if x > TRUTH else "no" for x in part["x"].to_pylist()]),
                "labelled_at": pa.array([moment] * n, predictions.TIME),
                "arrived_at": pa.array([moment] * n, predictions.TIME),
                "source": pa.array([None] * n, pa.string()),
            },
            schema=labels.SCHEMA,
        )
        labels.write_labels(self.store, MODEL, "s1", self.files, table)


NARROW = replace(SCHEMA, fields=(replace(SCHEMA.fields[0], dtype="float32"), *SCHEMA.fields[1:]))
WIDER = Schema(fields=(*SCHEMA.fields, Field(name="z", kind="number", nullable=True)), target=SCHEMA.target)
HIDDEN = Schema(
    fields=(Field(name="x", kind="number", private="drop"), Field(name="order", kind="id")), target=SCHEMA.target
)
