"""Tiny real models as bundles: built with onnx.helper, signed, published, promoted; a server in a child process.

`digits`: one 8×8 image and a key, ten classes. `numbers`: four numbers in one input, regression.
`heavy`: the same task, some milliseconds a row.
`photo`: an image in colour and a number, three classes.
`mixed`: a number, a nullable number, a category, a private name; two classes.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tests.serving.graphs import GRAPHS

from trimtab.core import bundle, ledger, settings, signing
from trimtab.core.schema import Field, Schema, Target
from trimtab.core.store import Store, open_store

DIGITS = Schema(
    fields=(
        Field(name="image_id", kind="id"),
        Field(name="image", kind="image", shape=(8, 8), range=(0, 16)),
    ),
    target=Target(name="digit", kind="category", classes=tuple("0123456789")),
)
NUMBERS = Schema(
    fields=tuple(Field(name=name, kind="number", nullable=name == "d") for name in "abcd"),
    target=Target(name="y", kind="number"),
)
MIXED = Schema(
    fields=(
        Field(name="age", kind="number", unit="years", range=(0, 120)),
        Field(name="income", kind="number", nullable=True),
        Field(name="plan", kind="category", categories=("basic", "plus"), nullable=True),
        Field(name="name", kind="text", private="drop"),
        Field(name="email", kind="text", private="hash"),
        Field(name="customer", kind="id"),
        Field(name="seen", kind="time"),
    ),
    target=Target(name="churn", kind="category", classes=("no", "yes")),
)
PHOTO = Schema(
    fields=(Field(name="photo", kind="image", shape=(6, 4, 3)), Field(name="weight", kind="number", unit="g")),
    target=Target(name="fruit", kind="category", classes=("apple", "lime", "plum")),
)
HIDDEN = replace(NUMBERS, fields=(*NUMBERS.fields, Field(name="who", kind="id", private="hash")))
NARROW = replace(NUMBERS, fields=tuple(replace(one, dtype="float32") for one in NUMBERS.fields))
SCHEMAS = {
    "digits": DIGITS,
    "numbers": NUMBERS,
    "narrow": NARROW,
    "mixed": MIXED,
    "hidden": HIDDEN,
    "heavy": NUMBERS,
    "photo": PHOTO,
}


def write_bundle(folder: Path, kind: str, seed: int = 0, wrong: bool = False, card: bool = False) -> None:
    """The files of a bundle without its manifest.

    Args:
        folder: where to.
        kind: which tiny model.
        seed: of its weights and rows.
        wrong: its recorded outputs are not the graph's.
        card: it has a card and a report, counted on 600 drawn rows.
    """
    import onnx
    import onnxruntime as ort

    folder.mkdir(parents=True, exist_ok=True)
    schema = SCHEMAS[kind]
    model = GRAPHS[kind](np.random.default_rng(seed))
    onnx.checker.check_model(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    (folder / "schema.json").write_text(schema.to_json())
    tensors = _rows(kind, np.random.default_rng(seed + 1), 5)
    output = "value" if schema.target.kind == "number" else "probabilities"
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result = session.run([output], tensors)[0]
    if wrong:
        result = result[::-1] + 0.01
    inputs = {
        name: [[None if v != v else v for v in row] for row in tensor.tolist()] if tensor.ndim == 2 else tensor.tolist()
        for name, tensor in tensors.items()
    }
    expected = {"inputs": inputs, "outputs": {output: result.tolist()}, "tolerance": 1e-5}
    (folder / "expected.json").write_text(json.dumps(expected))
    if card:
        _write_card(folder, schema, np.asarray(session.run([output], _rows(kind, np.random.default_rng(seed), 600))[0]))


def _write_card(folder: Path, schema: Schema, answers: np.ndarray[Any, Any]) -> None:
    """A card as export writes it, with truths drawn as often as the answers say."""
    from trimtab.export.card import curve

    rng = np.random.default_rng(0)
    if schema.target.kind == "number":
        truth = answers[:, 0] + rng.normal(size=len(answers))
        found = curve(schema.target, truth, answers[:, 0])
    else:
        truth = np.array([rng.choice(len(p), p=p / p.sum()) for p in answers.astype(np.float64)])
        found = curve(schema.target, truth, answers)
    told = {
        "schema": "trimtab/card/1",
        "headline": "Expect about 50 of 1,000 answers to be wrong (between 40 and 61).",
        "measured": "Measured on 600 rows that were locked away before training and opened once.",
        "against": "",
        "limits": ["On rows of another kind these figures do not hold."],
        "curve": found,
    }
    (folder / "card.json").write_text(json.dumps(told))
    (folder / "report.html").write_text("<!doctype html><title>Report</title><h1>How good is it?</h1>")


def _rows(kind: str, rng: np.random.Generator, n: int) -> dict[str, Any]:
    if kind == "digits":
        return {"image": rng.uniform(0, 16, (n, 8, 8)).astype(np.float32)}
    if kind == "photo":
        photos = rng.uniform(0, 255, (n, 6, 4, 3)).astype(np.float32)
        return {"photo": photos, "weight": rng.uniform(5, 300, (n, 1)).astype(np.float32)}
    if kind in {"numbers", "narrow", "hidden", "heavy"}:
        rows = rng.normal(size=(n, 4)).astype(np.float32)
        rows[0, 3] = np.nan
        return {"input": rows}
    return {
        "age": rng.uniform(18, 80, (n, 1)).astype(np.float32),
        "income": np.array([[np.nan], *[[30.0]] * (n - 1)], np.float32),
        "plan": np.array([["basic"], ["plus"], [""], *[["new"]] * (n - 3)], dtype=object),
    }


@dataclass
class Place:
    """A store, keys and settings of one test."""

    root: Path
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.environ = {
            "TRIMTAB_STORE": (self.root / "store").as_uri(),
            "TRIMTAB_HOME": str(self.root / "home"),
            "HOME": str(self.root),
            **self.environ,
        }
        self.settings = settings.load(self.environ)
        self.store: Store = open_store(self.settings.store, self.settings)
        self.key = signing.ensure_keypair(self.settings)

    def publish(self, name: str, kind: str, seed: int = 0, **options: Any) -> str:
        """Publish a tiny model as a version."""
        threshold, serving = options.pop("threshold", None), options.pop("serving", {})
        metrics = options.pop("metrics", {})
        project = {"name": name, "serving": serving, "task": options.pop("task", {})}
        folder = self.root / "bundles" / f"{name}-{kind}-{seed}"
        write_bundle(folder, kind, seed, **options)
        return bundle.publish_bundle(
            self.store, name, folder, self.key, metrics=metrics, threshold=threshold, lineage={}, project=project
        )

    def say(self, name: str, event: str, version: str, percent: int = 0) -> None:
        """Append to the ledger."""
        state = ledger.state(self.store, name)
        made = ledger.append(self.store, name, event, version, expect=state, who="test", why="a test", percent=percent)
        assert made is not None

    def serve(self, name: str, kind: str, seed: int = 0) -> str:
        """Publish and promote."""
        version = self.publish(name, kind, seed)
        self.say(name, "promoted", version)
        return version


@dataclass
class Running:
    """A server in a child process."""

    process: subprocess.Popen[bytes]
    url: str
    metrics_url: str
    log: Path

    def get(self, path: str, accept: str = "*/*") -> tuple[int, Any]:
        """GET a path: status and decoded JSON (or text)."""
        request = urllib.request.Request(self.url + path, headers={"Accept": accept})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                body, status = answer.read(), answer.status
        except urllib.error.HTTPError as error:
            body, status = error.read(), error.code
        try:
            return status, json.loads(body)
        except ValueError:
            return status, body.decode()

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples with these labels."""
        from prometheus_client.parser import text_string_to_metric_families

        with urllib.request.urlopen(self.metrics_url, timeout=60) as answer:
            text = answer.read().decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def children(self) -> list[int]:
        """Process ids of its children, whichever of its threads started them."""
        found: list[int] = []
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError):  # a thread that has ended meanwhile
                found += map(int, (task / "children").read_text().split())
        return found

    def until(self, what: Any, seconds: float = 120.0) -> None:
        """Wait until a condition holds; the limit is for what never comes, not for a slow machine."""
        deadline = time.monotonic() + seconds
        while not what():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, f"not in time; the server's log:\n{self.log.read_text()}"
            time.sleep(0.02)

    def until_ready(self) -> None:
        """Wait until the model is ready."""
        self.until(lambda: self.get("/v2/health/ready")[0] == 200)


@contextlib.contextmanager
def running(place: Place, name: str, *options: str, wait: bool = True) -> Iterator[Running]:
    """`trimtab serve` on free ports of loopback; ended with SIGTERM."""
    with starting(place, name, *options) as server:
        server.until(lambda: _answers(server))
        if wait:
            server.until_ready()
            server.until(server.children)  # the shipper comes right after
        yield server


@contextlib.contextmanager
def starting(place: Place, name: str, *options: str) -> Iterator[Running]:
    """The same, before it answers."""
    ports = free_ports(2)
    log = place.root / f"server-{ports[0]}.log"
    command = [
        *(sys.executable, "-m", "trimtab.cli.app", "serve", name),
        *("--port", str(ports[0]), "--metrics-port", str(ports[1])),
        *("--poll-seconds", "0.1", "--flush-seconds", "0.2"),
        *options,
    ]
    environ = {**os.environ, **place.environ}
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, env=environ, stderr=stderr, stdout=stderr)
    try:
        yield Running(process, f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}/metrics", log)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(120)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


def _answers(server: Running) -> bool:
    try:
        return server.get("/v2/health/live")[0] == 200
    except OSError:
        return False


def free_ports(n: int) -> list[int]:
    """Ports of loopback that nobody listens on now."""
    import socket

    bound = [socket.socket() for _ in range(n)]
    for one in bound:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in bound]
    for one in bound:
        one.close()
    return ports
