"""Pruning: what may go goes, after a day; truth, versions' runs and other people's runs stay."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.core import bundles
from tests.servers.kubeflow import StandIn

from trimtab.core import bundle, runs
from trimtab.core.records import utcnow
from trimtab.core.store import Store
from trimtab.pipelines import prune

from .kubeflow_world import client
from .test_kubeflow_api import PACKAGE


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


def test_files_without_a_manifest_go_a_day_after_they_were_seen(store: Store, tmp_path: Path) -> None:
    version = bundles.publish(store, bundles.write(tmp_path / "a"), Ed25519PrivateKey.generate())
    left = "models/digits/versions/v2-0a1b2c3d/"
    store.create(f"{left}model.onnx", b"x")
    store.create(f"{left}exports/a.bin", b"x")
    store.create("probe/host-1/abc", b"x")
    found = prune.garbage(store)
    assert {(g.prefix, g.keys) for g in found} == {(left, 2), ("probe/host-1/abc", 1)}
    assert prune.take(store, found) == (0, 2)
    assert prune.take(store, prune.garbage(store)) == (0, 0), "too young"
    later = utcnow() + timedelta(days=1, minutes=1)
    assert prune.take(store, prune.garbage(store), later) == (3, 0)
    assert prune.garbage(store) == []
    assert bundle.list_versions(store, "digits") == [version]
    assert store.exists(f"models/digits/versions/{version}/model.onnx")


def test_what_was_published_meanwhile_stays(store: Store, tmp_path: Path) -> None:
    version = bundles.publish(store, bundles.write(tmp_path / "a"), Ed25519PrivateKey.generate())
    manifest = f"models/digits/versions/{version}/manifest.json"
    body = store.get(manifest)
    store.delete(manifest)
    prune.take(store, prune.garbage(store))
    (found,) = prune.garbage(store)
    store.create(manifest, body)
    assert prune.take(store, [found], utcnow() + timedelta(days=2)) == (0, 0)


def test_a_model_that_a_run_is_at_work_on_is_left_alone(store: Store) -> None:
    store.create("models/digits/versions/v1-0a1b2c3d/model.onnx", b"x")
    key = runs.open_run(store, runs.RunRequest({"name": "digits"}, "sklearn:iris", "d"))
    attempt = runs.claim(store, key, "backend-1")
    assert prune.garbage(store) == []
    runs.end(store, key, attempt, "failed")
    assert len(prune.garbage(store)) == 1


def test_old_runs_go_but_not_those_that_versions_came_from_nor_others_(
    standin: StandIn, store: Store, tmp_path: Path
) -> None:
    kubeflow = client(standin)
    ids = kubeflow.ensure_version("tiny", "tiny-1", PACKAGE)
    experiment = kubeflow.ensure_experiment("e")
    keys = [
        runs.open_run(store, runs.RunRequest({"name": "digits"}, "sklearn:iris", "d", salt=str(n))) for n in range(3)
    ]
    made = {name: kubeflow.create_run(name, experiment, *ids, {}).id for name in [*keys, "somebody's own"]}
    runs.claim(store, keys[0], made[keys[0]])
    runs.claim(store, keys[1], made[keys[1]])  # the third failed before it could claim: it bears the key as its name
    for run_id in made.values():
        standin.backend.wait(run_id)
    bundle.publish_bundle(
        store, "digits", bundles.write(tmp_path / "a"), Ed25519PrivateKey.generate(),
        **{**bundles.FACTS, "lineage": {"run_key": keys[0]}},
    )  # fmt: skip
    assert prune.old_runs(kubeflow, store, 30) == []
    old = prune.old_runs(kubeflow, store, 30, utcnow() + timedelta(days=31))
    assert {r.id for r in old} == {made[keys[1]], made[keys[2]]}
    assert prune.take_runs(kubeflow, store, old) == 2
    assert {r.id for r in kubeflow.runs()} == {made[keys[0]], made["somebody's own"]}
    assert runs.attempts(store, keys[1])[0].state == "succeeded", "its end is put down before it is forgotten"
