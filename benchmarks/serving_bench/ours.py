"""Trimtab's server around the same graphs: bundles published and promoted in a store of files, `trimtab serve`."""

from __future__ import annotations

import contextlib
import json
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.serving_bench import models
from benchmarks.serving_bench.requests import v1, v2_binary
from benchmarks.serving_bench.servers import Server, free_ports, one_row, started

from trimtab.core import bundle, ledger, settings, signing
from trimtab.core.schema import Field, Schema, Target
from trimtab.core.store import open_store
from trimtab.core.tokens import ensure_token

CLASSES = tuple("0123456789")
SCHEMAS = {
    "mlp": Schema(
        fields=tuple(Field(name=f"x{i}", kind="number", dtype="float32") for i in range(models.MLP[0])),
        target=Target(name="digit", kind="category", classes=CLASSES),
    ),
    "resnet": Schema(
        fields=(Field(name="image", kind="image", shape=models.IMAGE, range=(0, 255)),),
        target=Target(name="digit", kind="category", classes=CLASSES),
    ),
}
# The same server with another queue for the prediction log: without one where no row may wait.
WITH_QUEUE = """import functools, sys
from trimtab.serving import config
config.ServerConfig = functools.partial(config.ServerConfig, queue_rows={rows})
from trimtab.cli.app import main
sys.argv[0] = "trimtab"
sys.exit(main())
"""


@dataclass
class Place:
    """A store, keys and one's own token in a folder."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    token: str = ""

    def __post_init__(self) -> None:
        self.environ = {"TRIMTAB_STORE": (self.folder / "store").as_uri(), "TRIMTAB_HOME": str(self.folder / "home")}
        self.settings = settings.load({**self.environ, "HOME": str(self.folder)})
        self.store = open_store(self.settings.store, self.settings)
        self.key = signing.ensure_keypair(self.settings)
        self.token = ensure_token(self.settings)

    @property
    def headers(self) -> dict[str, str]:
        """What an authenticated request carries."""
        return {"Authorization": f"Bearer {self.token}"}

    def promote(self, kind: str, graph: bytes, serving: dict[str, Any] | None = None, name: str = "") -> str:
        """Publish a graph as a version and promote it; returns the model's name."""
        name, schema = name or kind, SCHEMAS[kind]
        folder = self.folder / "bundles" / name
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(graph)
        (folder / "schema.json").write_text(schema.to_json())
        shape = (models.MLP[0],) if kind == "mlp" else models.IMAGE
        tensor = schema.tensors()[0].name
        x = np.random.default_rng(7).uniform(0, 1, (2, *shape)).astype(np.float32)
        out = models.session(folder / "model.onnx").run(["probabilities"], {tensor: x})[0]
        expected = {"inputs": {tensor: x.tolist()}, "outputs": {"probabilities": out.tolist()}, "tolerance": 1e-5}
        (folder / "expected.json").write_text(json.dumps(expected))
        version = bundle.publish_bundle(
            self.store, name, folder, self.key, metrics={}, threshold=None, lineage={},
            project={"name": name, "serving": serving or {}},
        )  # fmt: skip
        made = ledger.append(
            self.store, name, "promoted", version, expect=ledger.state(self.store, name), who="benchmark", why="served"
        )
        assert made is not None
        return name

    @contextlib.contextmanager
    def serve(
        self, name: str, *options: str, queue: int | None = None, row: str = "", label: str = ""
    ) -> Iterator[Server]:
        """`trimtab serve` with keys asked for; validation and metrics are always on, and so is the prediction log,
        unless its `queue` is to have no rows.
        """
        port, metrics = free_ports(2)
        binary = Path(sys.executable).with_name("trimtab")
        start = [str(binary)] if queue is None else [sys.executable, "-c", WITH_QUEUE.format(rows=queue)]
        command = [*start, "serve", name, "--require-key", "--port", str(port), *options]
        command += ["--metrics-port", str(metrics)]
        requests = [row] if row else v1(one_row(), name, self.headers)
        with started(label or name, command, port, requests, self.folder, self.environ, metrics) as server:
            yield server


def images(name: str, headers: dict[str, str], count: int = 16) -> list[str]:
    """Requests of one image each, binary, as who cares for speed sends them."""
    from benchmarks.serving_bench.requests import rows

    return v2_binary(rows(count, 1, models.IMAGE), name, headers, "image")


def rows_logged(server: Server, outcome: str = "written") -> int:
    """Rows of the prediction log with that outcome, from the server's own metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    found = [x for x in lines if x.startswith("trimtab_log_rows_total{") and f'outcome="{outcome}"' in x]
    return int(sum(float(x.rpartition(" ")[2]) for x in found))
