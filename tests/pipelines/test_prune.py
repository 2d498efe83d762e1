"""Pruning: what may go goes; truth, what models came from, what is in use and what is other people's stays."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.core import bundles
from tests.servers.kubeflow import Fault, StandIn

from trimtab.core import bundle, runs
from trimtab.core.records import utcnow
from trimtab.core.store import Store
from trimtab.pipelines import prune
from trimtab.pipelines.kubeflow_http import KubeflowRefused
from trimtab.pipelines.kubeflow_models import MADE_BY, BackendRun, Version
from trimtab.pipelines.kubeflow_records import Started, put_started

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


class Versions:
    """Seven versions of the pipeline `tiny`, and the backend that has them."""

    def __init__(self, standin: StandIn, store: Store, tags: Mapping[str, str] = MADE_BY) -> None:
        self.kubeflow, self.store = client(standin), store
        self.experiment = self.kubeflow.ensure_experiment("e")
        made = [self.kubeflow.ensure_version("tiny", f"tiny-{n}", PACKAGE, tags=tags) for n in range(1, 8)]
        self.pipeline, self.ids = made[0][0], [version for _, version in made]

    def run(self, n: int) -> BackendRun:
        """Somebody's own run of one of them."""
        return self.kubeflow.create_run("by hand", self.experiment, self.pipeline, self.ids[n - 1], {})

    def schedule(self, n: int) -> None:
        """Somebody's own schedule of one of them."""
        version = self.ids[n - 1]
        self.kubeflow.create_recurring("nightly", self.experiment, self.pipeline, version, {}, cron="0 0 2 * * *")

    def old(self, keep: int = 1, without: Collection[BackendRun] = (), days: float = 31) -> list[Version]:
        """What may go in so many days."""
        now = utcnow() + timedelta(days=days)
        return prune.old_versions(self.kubeflow, self.store, 30, keep, without, now)

    def names(self) -> list[str]:
        return sorted(v.name for v in self.kubeflow.versions(self.pipeline))


def test_versions_that_nothing_names_go_but_not_the_newest_nor_young_ones(
    standin: StandIn, store: Store, tmp_path: Path
) -> None:
    there = Versions(standin, store)
    assert there.old(days=29) == []
    assert [v.name for v in there.old(keep=5)] == ["tiny-2", "tiny-1"]
    assert there.old(keep=7) == there.old(keep=99) == []
    run = there.run(2)
    standin.backend.wait(run.id)
    there.schedule(3)
    # A published model came from a run of the fourth, which somebody has deleted there since.
    key = runs.open_run(store, runs.RunRequest({"name": "tiny"}, "sklearn:iris", "d"))
    put_started(store, key, Started("gone", standin.url, version_id=there.ids[3]))
    bundle.publish_bundle(
        store, "tiny", bundles.write(tmp_path / "a"), Ed25519PrivateKey.generate(),
        **{**bundles.FACTS, "lineage": {"run_key": key}},
    )  # fmt: skip
    found = there.old()
    assert [v.name for v in found] == ["tiny-6", "tiny-5", "tiny-1"]
    assert "tiny-2" in [v.name for v in there.old(without=[run])], "a run that goes takes its version along"
    assert prune.take_versions(there.kubeflow, found) == 3
    assert there.names() == ["tiny-2", "tiny-3", "tiny-4", "tiny-7"]


def test_a_version_that_is_in_use_by_the_time_it_would_be_deleted_stays(standin: StandIn, store: Store) -> None:
    there = Versions(standin, store)
    found = there.old()
    there.schedule(1)
    there.run(2)
    assert prune.take_versions(there.kubeflow, found) == 4
    assert there.names() == ["tiny-1", "tiny-2", "tiny-7"]


def test_a_version_that_is_gone_is_no_failure_and_rights_that_lack_are_told(standin: StandIn, store: Store) -> None:
    there = Versions(standin, store)
    found = there.old(keep=3)
    there.kubeflow.delete_version(found[0])  # somebody else prunes, too: 404
    standin.faults.add(Fault("DELETE .*/versions/.*", "lost"))  # deleted, and the answer is cut off
    standin.forbid = f"DELETE .*/versions/{found[3].id}"
    with pytest.raises(KubeflowRefused, match="403") as raised:
        prune.take_versions(there.kubeflow, found)
    assert raised.value.exit_code == 2
    assert there.names() == ["tiny-1", "tiny-5", "tiny-6", "tiny-7"]
    standin.forbid = ""
    assert prune.take_versions(there.kubeflow, there.old(keep=3)) == 1
    assert len(there.names()) == 3


def test_other_people_s_versions_and_those_that_everybody_shares_stay(standin: StandIn, store: Store) -> None:
    there = Versions(standin, store, tags={})
    assert there.old() == []
    key = runs.open_run(store, runs.RunRequest({"name": "tiny"}, "sklearn:iris", "d"))
    for n in (1, 2):  # without tags, as older backends keep none, the store knows what it started
        put_started(store, key, Started(f"run-{n}", standin.url, version_id=there.ids[n]))
    assert [v.name for v in there.old()] == ["tiny-2"]
    standin.backend.multi_user = True
    mine = client(standin, namespace="ann")
    for n in (1, 2):
        mine.ensure_version("own", f"own-{n}", PACKAGE, tags=MADE_BY)
    now = utcnow() + timedelta(days=31)
    assert [v.name for v in prune.old_versions(mine, store, 30, 1, now=now)] == ["own-1"]
