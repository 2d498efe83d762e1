"""A small world for campaigns and rollouts: real store, bundles, datasets, logs, labels and verdicts.

Only the pipeline run is played: `Runs` is a launcher whose runs end at once, with records as real stages leave them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from trimtab.core import bundle, datasets, labels, ledger, predictions, rollouts, runs
from trimtab.core.errors import StoreError
from trimtab.core.ids import uuid7
from trimtab.core.launch import RetrainRequest, State
from trimtab.core.records import canonical, create_record, rfc3339
from trimtab.core.schema import Field, Schema, Target
from trimtab.core.store import Store
from trimtab.core.store.keys import number
from trimtab.monitoring import windows

MODEL = "toy"
START = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
SCHEMA = Schema(
    fields=(Field(name="x", kind="number"), Field(name="order", kind="id")),
    target=Target(name="y", kind="category", classes=("no", "yes")),
)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


class Killed(BaseException):
    """The process ended here: no `except Exception` may stop it."""


class Dying:
    """A store in which the process dies at its `at`-th write, before or after it took effect."""

    def __init__(self, inner: Store, at: int | None = None, after: bool = False) -> None:
        self.inner = inner
        self.at = at
        self.after = after
        self.writes = 0
        self.url = inner.url

    def _write(self, do: Callable[[], Any]) -> Any:
        self.writes += 1
        if self.writes == self.at and not self.after:
            raise Killed
        done = do()
        if self.writes == self.at:
            raise Killed
        return done

    def create(self, key: str, body: bytes) -> bool:
        return bool(self._write(lambda: self.inner.create(key, body)))

    def put(self, key: str, body: bytes) -> None:
        self._write(lambda: self.inner.put(key, body))

    def delete(self, key: str) -> None:
        raise StoreError("nothing here deletes", object=key)

    def get(self, key: str) -> bytes:
        return self.inner.get(key)

    def exists(self, key: str) -> bool:
        return self.inner.exists(key)

    def list(self, prefix: str, after: str | None = None) -> Iterator[str]:
        return self.inner.list(prefix, after)

    def upload(self, path: Path, key: str) -> None:
        self._write(lambda: self.inner.upload(path, key))

    def download(self, key: str, path: Path) -> None:
        self.inner.download(key, path)

    def upload_dir(self, folder: Path, prefix: str) -> None:
        self._write(lambda: self.inner.upload_dir(folder, prefix))

    def download_dir(self, prefix: str, folder: Path) -> None:
        self.inner.download_dir(prefix, folder)


@dataclass
class World:
    """One model's world.

    Attributes:
        store: where everything is.
        folder: for files on their way into it.
        project: the blocks of its project file.
        files: log files written so far.
        seen: what a test has answered already.
    """

    store: Store
    folder: Path
    project: dict[str, Any] = field(default_factory=dict)
    files: int = 0
    seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        base = self.folder / "base"
        rows = {"x": [float(i) for i in range(40)], "order": [f"b{i}" for i in range(40)], "y": ["no", "yes"] * 20}
        datasets.write_dataset(base, [pa.table(rows)], SCHEMA)
        self.dataset = datasets.put_dataset(self.store, MODEL, base)

    def publish(self, seed: int, run_key: str = "", campaign: int | None = None) -> str:
        """A version; the same seed gives the same one."""
        folder = self.folder / f"bundle-{seed}"
        folder.mkdir(exist_ok=True)
        (folder / "model.onnx").write_bytes(b"model %d" % seed)
        (folder / "schema.json").write_text(SCHEMA.to_json())
        expected = {"inputs": {"input": [[0.1], [7.0]]}, "outputs": {}, "tolerance": 1e-5}
        (folder / "expected.json").write_text(json.dumps(expected))
        project = {
            "name": MODEL,
            "fields": [{"name": "x", "kind": "number"}, {"name": "order", "kind": "id"}],
            "windows": {"rows": 40},
            **self.project,
        }
        lineage = {
            "run_key": run_key or f"{seed:016x}",
            "dataset": {"name": MODEL, "digest": self.dataset},
            "candidate": "mlp",
            "campaign": campaign,
        }
        return bundle.publish_bundle(
            self.store, MODEL, folder, KEY, metrics={}, threshold=None, lineage=lineage, project=project
        )

    def champion(self, seed: int = 1) -> str:
        """A version that was promoted by hand of the test."""
        version = self.publish(seed)
        state = ledger.state(self.store, MODEL)
        assert ledger.append(self.store, MODEL, "promoted", version, expect=state, who="test", why="first") is not None
        return version

    def state(self) -> ledger.State:
        return ledger.state(self.store, MODEL)

    def log(
        self,
        version: str,
        start: datetime,
        right: Sequence[bool],
        labelled: bool = True,
        latency: float = 5.0,
        every: timedelta = timedelta(seconds=1),
    ) -> None:
        """Answered rows, right or wrong, a second apart; labels by prediction id and by key in turn."""
        n = len(right)
        moments = [start + i * every for i in range(n)]
        self.files += 1
        orders = [f"o{self.files}-{i}" for i in range(n)]
        table = pa.table(
            {
                "_id": pa.array([f"{uuid7()}-0" for _ in range(n)], pa.string()),
                "_time": pa.array(moments, predictions.TIME),
                "x": pa.array([float(i) for i in range(n)]),
                "order": pa.array(orders),
                "_label": pa.array(["yes" if ok else "no" for ok in right]),
                "_probabilities": pa.array([[0.4, 0.6]] * n, pa.list_(pa.float32())),
                "_latency_ms": pa.array([latency] * n, pa.float32()),
                "_share": pa.array([100] * n, pa.int64()),
            }
        )
        for part in predictions.split_hours(table):
            predictions.write_log(self.store, MODEL, version, "s1", self.files, part)
            if labelled:
                self._label(part)

    def _label(self, part: pa.Table) -> None:
        n = part.num_rows
        ids = [i if row % 2 else None for row, i in enumerate(part["_id"].to_pylist())]
        keys = [None if row % 2 else k for row, k in enumerate(part["order"].to_pylist())]
        moment = part["_time"].to_pylist()[-1]
        table = pa.table(
            {
                "_id": pa.array(ids, pa.string()),
                "_key": pa.array(keys, pa.string()),
                "value": pa.array(["yes"] * n),
                "labelled_at": pa.array([moment] * n, predictions.TIME),
                "arrived_at": pa.array([moment] * n, predictions.TIME),
                "source": pa.array([None] * n, pa.string()),
            },
            schema=labels.SCHEMA,
        )
        labels.write_labels(self.store, MODEL, "s1", self.files, table)

    def verdict(self, version: str, window: int, verdict: str = "drift", start: datetime = START, **more: Any) -> None:
        """A window's verdict."""
        put_verdict(self.store, version, window, verdict, start, **more)

    def refuse(self, version: str, reason: str) -> None:
        rollouts.refuse(self.store, MODEL, version, "s1", reason)


def put_verdict(store: Store, version: str, window: int, verdict: str, start: datetime, **more: Any) -> None:
    """Write a verdict record as the watch does."""
    end = start + timedelta(seconds=40)
    fields = {
        "window": window,
        "version": version,
        "verdict": verdict,
        "layers": {"inputs": "none", "expected": "none", "realised": verdict},
        "fields": [],
        "since": {"lower": rfc3339(start), "point": rfc3339(start), "upper": rfc3339(end)},
        "cost_per_day": 12.0,
        "words": "realised accuracy fell",
        "rows": 40,
        "labelled": 40,
        "performance": {},
        "report": "",
        "first_time": rfc3339(start),
        "last_time": rfc3339(end),
        "cause": "cannot tell",
        **more,
    }
    windows.create_next(store, windows.folder(MODEL, version, window), "verdict", "verdict", fields, 1)


@dataclass
class Runs:
    """A launcher whose runs end at once.

    Attributes:
        world: where records and versions go: another process, which the hook's death does not touch.
        paired: evaluate's counts of a retrain.
        ends: `succeeded`, `failed` (a stage says why), `died` (nobody does) or `running`.
        passed: whether the winner passes the project's gates.
        started: keys of the runs, in order.
        cancelled: keys of those that were cancelled.
    """

    world: World
    paired: Callable[[RetrainRequest], dict[str, Any]] = lambda r: {
        "against": r.data["sources"][-1]["log"]["against"],
        "n": 20,
        "both_right": 15,
        "challenger_only": 4,
        "champion_only": 0,
        "both_wrong": 1,
    }
    ends: str = "succeeded"
    passed: bool = True
    started: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    def start(self, request: RetrainRequest) -> str:
        body = canonical([request.base_key, request.data, request.campaign, request.retrain, request.seed])
        key = hashlib.sha256(body).hexdigest()[:16]
        store = self.world.store
        if create_record(store, f"runs/{key}/request.json", "run-request", {"data": request.data}):
            self.started.append(key)
        # Asked again, a run that was cut off goes on where it stopped.
        if runs.result(store, key) is None:
            if self.ends == "succeeded":
                self._succeed(key, request)
            elif self.ends == "failed":
                prefix = f"runs/{key}/attempts/{number(1)}/train.mlp/{number(1)}"
                create_record(
                    store, f"{prefix}/error.json", "stage-error", {"message": "no memory", "kind": "RunError"}
                )
        return key

    def _succeed(self, key: str, request: RetrainRequest) -> None:
        store = self.world.store
        version = self.world.publish(int(key[:6], 16), key, request.campaign)
        prefix = f"runs/{key}/attempts/{number(1)}/evaluate.mlp/{number(1)}"
        figures = {"judge": self.paired(request)}
        cost = {"wall_seconds": 2.0, "cpu_seconds": 1.5}
        fields = {"figures": figures, "artifacts": {}, "cost": cost}
        create_record(store, f"{prefix}/result.json", "stage-result", fields)
        outcome = {"state": "succeeded", "version": version, "winner": "mlp", "figures": self.selected()}
        runs.finish(store, key, outcome)

    def selected(self) -> dict[str, object]:
        """What select says of the winner."""
        gates = {"accuracy at least 0.8": self.passed, "better than the baseline": True}
        accuracy = 0.91 if self.passed else 0.7234
        return {"accuracy": accuracy, "passed": self.passed, "gates": gates, "tested_on": "test", "rows": 47}

    def state(self, key: str) -> State:
        if runs.result(self.world.store, key) is not None:
            return "succeeded"
        if key in self.cancelled:
            return "cancelled"
        return "running" if self.ends == "running" else "failed"

    def cancel(self, key: str) -> None:
        self.cancelled.append(key)


class Place:
    """A place where nothing fails."""

    judges_replacements = False

    def __init__(self, counts: dict[str, tuple[int, int]] | None = None) -> None:
        self.counts = counts or {}
        self.lasting: dict[str, str] = {}
        self.whole = ""
        self.acted: list[ledger.State] = []

    def failures(self, model: str) -> dict[str, tuple[int, int]]:
        return self.counts

    def act(self, model: str, state: ledger.State) -> None:
        self.acted.append(state)

    def troubles(self, model: str) -> dict[str, str]:
        return self.lasting

    def cannot_split(self, model: str) -> str:
        return self.whole


def story(store: Store) -> dict[str, Any]:
    """What the records tell: campaigns opened and closed, runs, rollout requests, ledger events."""
    keys = list(store.list(f"campaigns/{MODEL}/"))
    closed = [json.loads(store.get(k)) for k in keys if k.endswith("/closed.json")]
    return {
        "opened": sum(k.endswith("/opened.json") for k in keys),
        "outcomes": [c["outcome"] for c in closed],
        "runs": len([k for k in store.list("runs/") if k.endswith("/request.json")]),
        "requests": len(rollouts.requests(store, MODEL)),
        "events": [(e.event, e.percent) for e in ledger.read(store, MODEL)],
    }
