"""The rows of the replay, and what the first version alone answers to them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.core import bundle
from trimtab.core.datasets import read_table
from trimtab.core.schema import Schema
from trimtab.core.signing import trusted_keys
from trimtab.core.store import Store, open_store
from trimtab.demo.replay import Row
from trimtab.ingest.stage import IngestConfig, ingest

if TYPE_CHECKING:
    import pyarrow as pa

    from trimtab.core.project import Project
    from trimtab.core.settings import Settings


def read_rows(project: Project, source: dict[str, Any], folder: Path) -> pa.Table:
    """Rows of a source as the ingest stage reads them; nothing reaches the demo's store."""
    scratch = open_store((folder / "store").as_uri())
    config = IngestConfig.model_validate({"name": project.name, "source": source, "schema": project.schema()})
    ingest(config, scratch, folder / "data", folder / "judge")
    return read_table(folder / "data")


def right_answers(folder: Path, table: pa.Table) -> list[bool]:
    """Which rows a bundle's model gets right, in one batch, without a server.

    Args:
        folder: a verified bundle of a classifier.
        table: rows with the schema's fields and target.
    """
    import numpy as np
    import onnxruntime as ort

    schema = Schema.from_json((folder / "schema.json").read_text())
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    best = np.asarray(session.run(["probabilities"], schema.encode_table(table))[0]).argmax(axis=1)
    truth = table.column(schema.target.name).to_pylist()
    return [schema.target.classes[int(b)] == str(t) for b, t in zip(best, truth, strict=True)]


def make_rows(store: Store, project: Project, version: str, settings: Settings, source: dict[str, Any]) -> list[Row]:
    """Read the rows that are replayed and score them with the first version.

    Args:
        store: the demo's store.
        project: the example's project; its schema has an id field.
        version: the first version.
        settings: for the trusted keys.
        source: names the rows.
    """
    with tempfile.TemporaryDirectory(prefix="trimtab-demo-") as name:
        folder = Path(name)
        table = read_rows(project, source, folder)
        bundle.fetch_bundle(store, project.name, version, folder / "bundle", trusted_keys(settings.trusted_keys))
        right = right_answers(folder / "bundle", table)
    schema = project.schema()
    key = schema.id_field
    assert key is not None
    names = [f.name for f in schema.fields]
    shapes = {f.name: f.shape for f in schema.fields if f.shape}
    rows = []
    for plain, good in zip(table.select([*names, schema.target.name]).to_pylist(), right, strict=True):
        record = {n: _nested(plain[n], shapes[n]) if n in shapes else plain[n] for n in names}
        rows.append(Row(record, str(plain[key.name]), str(plain[schema.target.name]), good))
    return rows


def _nested(flat: list[float], shape: tuple[int, ...]) -> Any:
    """A flat image as nested lists, as an application would send it."""
    import numpy as np

    return np.asarray(flat).reshape(shape).tolist()
