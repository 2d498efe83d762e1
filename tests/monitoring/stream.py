"""A stream of predictions with known truths, in a real store: what a server and a feedback endpoint leave behind.

The model is the true logistic curve itself, so its probabilities are calibrated and its accuracy is known; a drift
moves the inputs, the classes or the curve.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from trimtab.core import bundle, labels, ledger, predictions
from trimtab.core.ids import uuid7
from trimtab.core.schema import Field, Schema, Target
from trimtab.core.store import Store

MODEL = "stream"
START = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SCHEMA = Schema(
    fields=(
        Field(name="a", kind="number"),
        Field(name="b", kind="number", nullable=True),
        Field(name="plan", kind="category", categories=("basic", "plus"), nullable=True),
        Field(name="order", kind="id"),
    ),
    target=Target(name="churn", kind="category", classes=("no", "yes")),
)


def draw(rng: np.random.Generator, n: int, *, shift: float = 0.0, flip: float = 0.0) -> dict[str, Any]:
    """Rows, the model's answers and the truths.

    Args:
        rng: randomness.
        n: rows.
        shift: how far `a` moves towards where the model is unsure (standard deviations).
        flip: share of the truths that are turned round: the answers change while the inputs do not.
    """
    a = rng.normal(2.0, 1.0, n) - shift
    sign = rng.choice([-1.0, 1.0], n)
    b = rng.normal(size=n)
    plan = rng.choice(["basic", "plus"], n, p=[0.7, 0.3])
    yes = 1 / (1 + np.exp(-2.0 * a * sign))
    truth = (rng.random(n) < yes) ^ (rng.random(n) < flip)
    return {
        "a": a * sign,
        "b": np.where(rng.random(n) < 0.1, np.nan, b),
        "plan": plan,
        "yes": yes,
        "label": np.where(yes > 0.5, "yes", "no"),
        "truth": np.where(truth, "yes", "no"),
    }


def answered(rows: dict[str, Any]) -> dict[str, pa.Array]:
    """The columns that log and reference share."""
    return {
        "a": pa.array(rows["a"]),
        "b": pa.array(rows["b"], from_pandas=True),
        "plan": pa.array(rows["plan"].tolist(), pa.string()),
        "_label": pa.array(rows["label"].tolist(), pa.string()),
        "_probabilities": pa.array(np.stack([1 - rows["yes"], rows["yes"]], 1).tolist(), pa.list_(pa.float32())),
    }


@dataclass
class Stream:
    """One model's store with a champion, and a clock that the rows move.

    Attributes:
        store: where everything is.
        folder: for files on their way into it.
        windows: the `windows` block of the project.
        reference_rows: rows of the reference.
        now: time of the newest row.
        files: log and label files written.
        kept: rows answered, as (ids, keys, truths, last time).
        model: the model's name.
    """

    store: Store
    folder: Path
    windows: dict[str, Any] = field(default_factory=lambda: {"rows": 100})
    reference_rows: int = 1000
    now: datetime = START
    files: int = 0
    rows: int = 0
    kept: list[tuple[list[str], list[str], list[str], datetime]] = field(default_factory=list)
    model: str = MODEL

    def publish(self, seed: int = 0) -> str:
        """A version with a reference of its own, promoted."""
        folder = self.folder / f"bundle-{seed}"
        folder.mkdir(parents=True)
        rows = draw(np.random.default_rng(1000 + seed), self.reference_rows)
        table = pa.table({**answered(rows), "churn": pa.array(rows["truth"].tolist(), pa.string())})
        pq.write_table(table, folder / "reference.parquet")
        (folder / "schema.json").write_text(SCHEMA.to_json())
        (folder / "model.onnx").write_bytes(b"model %d" % seed)
        (folder / "expected.json").write_text(json.dumps({}))
        (folder / "report.html").write_text("<p>report</p>")
        project = {
            "name": self.model,
            "windows": self.windows,
            "fields": [{"name": "order", "kind": "id"}],
        }
        version = bundle.publish_bundle(
            self.store, self.model, folder, KEY, metrics={}, threshold=None, lineage={}, project=project
        )
        state = ledger.state(self.store, self.model)
        for event in ("published", "promoted"):
            after = ledger.append(self.store, self.model, event, version, expect=state, who="test", why="test")
            assert after is not None
            state = after
        return version

    def answer(self, version: str, rows: dict[str, Any], server: str = "s") -> int:
        """Log rows as answered by a version, one a second; index into `kept`."""
        n = len(rows["a"])
        base = uuid7()
        ids = [f"{base}-{i}" for i in range(n)]
        keys = [f"o{self.rows + i}" for i in range(n)]
        times = [self.now + timedelta(seconds=i) for i in range(n)]
        table = pa.table(
            {
                "_id": pa.array(ids, pa.string()),
                "_time": pa.array(times, predictions.TIME),
                **answered(rows),
                "order": pa.array(keys, pa.string()),
                "_latency_ms": pa.array([1.0] * n, pa.float32()),
                "_share": pa.array([100] * n, pa.int64()),
            }
        )
        for part in predictions.split_hours(table):
            predictions.write_log(self.store, self.model, version, server, self.files, part)
            self.files += 1
        self.rows += n
        self.now = times[-1] + timedelta(seconds=1)
        self.kept.append((ids, keys, rows["truth"].tolist(), times[-1]))
        return len(self.kept) - 1

    def label(self, at: int, part: slice = slice(None), by_key: bool = False, turned: bool = False) -> None:
        """Labels of rows answered before land."""
        ids, keys, truths, last = self.kept[at]
        names, values = (keys if by_key else ids)[part], truths[part]
        if turned:
            values = ["no" if v == "yes" else "yes" for v in values]
        n = len(names)
        moment = max(last, self.now) + timedelta(seconds=1)
        none = pa.nulls(n, pa.string())
        table = pa.table(
            {
                "_id": none if by_key else pa.array(names, pa.string()),
                "_key": pa.array(names, pa.string()) if by_key else none,
                "value": pa.array(values, pa.string()),
                "labelled_at": pa.array([moment] * n, predictions.TIME),
                "arrived_at": pa.array([moment] * n, predictions.TIME),
                "source": pa.array(["test"] * n, pa.string()),
            }
        )
        labels.write_labels(self.store, self.model, "s", self.files, table)
        self.files += 1
