"""Stage publish: a whole bundle becomes a version, once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.core.bundles import write

from trimtab.core import ledger, runs, signing
from trimtab.core.bundle import fetch_bundle, list_versions, read_manifest
from trimtab.core.datasets import write_dataset
from trimtab.core.errors import ModelError
from trimtab.core.schema import Field, Schema, Target
from trimtab.core.store import Store
from trimtab.publish.lineage import complete
from trimtab.publish.stage import NEEDED, PublishConfig, publish

KEY = Ed25519PrivateKey.generate()
SCHEMA = Schema(fields=(Field(name="a", kind="number"),), target=Target(name="y", kind="number"))
SELECTION = {"winner": "mlp", "metrics": {"rmse": {"value": 1.5, "low": 1.4, "high": 1.6}}, "passed": True}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = write(tmp_path / "bundle")
    (folder / "schema.json").write_text(SCHEMA.to_json())
    (folder / "reference.parquet").write_bytes(b"PAR1")
    return folder


@pytest.fixture
def selection(tmp_path: Path) -> Path:
    path = tmp_path / "selection.json"
    path.write_text(json.dumps(SELECTION))
    return path


def config(**lineage: Any) -> PublishConfig:
    return PublishConfig(model="bikes", lineage=lineage, project={"name": "bikes"})


def test_doing_it_twice_changes_nothing(store: Store, bundle: Path, selection: Path, tmp_path: Path) -> None:
    first = publish(config(run_key="r1"), bundle, selection, store, KEY)
    held = {key: store.get(key) for key in store.list("")}
    second = publish(config(run_key="r2"), bundle, selection, store, KEY)
    assert (first.version, first.created, second.version, second.created) == (
        second.version,
        True,
        first.version,
        False,
    )
    assert {key: store.get(key) for key in store.list("")} == held
    trusted = {signing.key_id(KEY.public_key()): KEY.public_key()}
    manifest = fetch_bundle(store, "bikes", first.version, tmp_path / "got", trusted)
    assert manifest.metrics == SELECTION["metrics"]
    assert manifest.project == {"name": "bikes"}
    assert manifest.lineage == {"parent": None, "candidate": "mlp", "run_key": "r1"}


def test_the_champion_is_the_parent(store: Store, bundle: Path, selection: Path) -> None:
    first = publish(config(), bundle, selection, store, KEY).version
    ledger.append(store, "bikes", "promoted", first, expect=ledger.State(), who="x", why="y")
    (bundle / "model.onnx").write_bytes(b"another")
    second = publish(config(), bundle, selection, store, KEY).version
    assert read_manifest(store, "bikes", second).lineage["parent"] == first
    assert list_versions(store, "bikes") == [first, second]


@pytest.mark.parametrize("name", NEEDED)
def test_a_bundle_that_is_not_whole_is_refused(store: Store, bundle: Path, selection: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(ModelError, match=f"no {name}"):
        publish(config(), bundle, selection, store, KEY)
    assert list(store.list("")) == []


def test_a_schema_that_is_none_is_refused(store: Store, bundle: Path, selection: Path) -> None:
    (bundle / "schema.json").write_text('{"fields": 1}')
    with pytest.raises(ModelError, match=r"schema\.json"):
        publish(config(), bundle, selection, store, KEY)
    assert list(store.list("")) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"winner": "", "metrics": {}}', '{"winner": "a", "metrics": 1}'])
def test_a_selection_without_a_winner_is_refused(store: Store, bundle: Path, selection: Path, text: str) -> None:
    selection.write_text(text)
    with pytest.raises(ModelError, match="does not say what won"):
        publish(config(), bundle, selection, store, KEY)
    assert list(store.list("")) == []


def test_the_lineage_comes_from_run_and_data(store: Store, tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data", [pa.table({"a": [1.0, 2.0], "y": [1.0, 2.0]})], SCHEMA)
    request = runs.RunRequest(
        {"name": "bikes"}, {"sources": []}, "d", campaign=3, retrain=1, code_version="1.0", seed=7
    )
    key = runs.open_run(store, request)
    lineage = complete(config(candidate="own"), store, key, tmp_path / "data").lineage
    assert lineage["dataset"] == {"name": "bikes", "digest": data.digest}
    assert (lineage["run_key"], lineage["campaign"], lineage["retrain"], lineage["seed"]) == (key, 3, 1, 7)
    assert (lineage["code_version"], lineage["candidate"]) == ("1.0", "own")
    assert complete(config(), store, "", tmp_path / "data").lineage == {"dataset": lineage["dataset"]}
