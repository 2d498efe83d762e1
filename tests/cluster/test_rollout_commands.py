"""Rollouts as people and processes start them: the hook, `rollback` without a hook, and the rights that both need."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from benchmarks.cluster.waiting import until
from tests.cluster.rollout_world import MODEL, RolloutWorld
from tests.serving.bundles import free_ports
from typer.testing import CliRunner

from trimtab.cli.commands import make_app
from trimtab.core import ledger, rollouts
from trimtab.monitoring.kserve.api import KubernetesApi
from trimtab.monitoring.places import read_place

pytestmark = pytest.mark.cluster
BASE = Path(__file__).resolve().parents[2] / "manifests" / "base"


def as_account(world: RolloutWorld, file: str, account: str) -> Path:
    """A kubeconfig of an account that has the Role of our manifests and no other right."""
    roles = [d for d in yaml.safe_load_all((BASE / file).read_text()) if d["kind"] == "Role"]
    (role,) = [r for r in roles if r["metadata"]["name"] in {"trimtab-hook-rollout", "trimtab-oncall"}]
    name, namespace = role["metadata"]["name"], world.namespace
    world.cluster.kubectl("create", "-n", namespace, "-f", "-", input=yaml.safe_dump(role), check=True)
    world.cluster.kubectl("create", "serviceaccount", account, "-n", namespace, check=True)
    bound = ("create", "rolebinding", name, f"--role={name}", f"--serviceaccount={namespace}:{account}")
    world.cluster.kubectl(*bound, "-n", namespace, check=True)
    return world.cluster.as_account(namespace, account)


def test_the_roles_of_our_manifests_are_enough(world: RolloutWorld) -> None:
    """Of the hook: all of a rollout, with budget and autoscaler. Of on-call: the way back, while no hook is there."""
    scaled = {"replicas": 2, "max_replicas": 4}
    first, second = world.publish(1, **scaled), world.publish(2, **scaled)
    with world.cluster.client(as_account(world, "role-hook.yaml", "trimtab-hook")) as client:
        world.actuator = world.fresh(KubernetesApi(client))
        world.say("promoted", first)
        world.settle("first, by the hook")
        world.say("canaried", second, 50)
        world.settle("canary, by the hook")
        world.say("promoted", second)
        world.settle("second, by the hook")
        assert not any("403" in w or "forbidden" in w for w in world.actuator.words(MODEL))
    with world.cluster.client(as_account(world, "role-oncall.yaml", "ann")) as client:
        world.actuator = world.fresh(KubernetesApi(client))
        world.say("rolled_back", second)
        world.settle("first, by on-call")
    assert (world.live().stable.version, world.live().canary) == (first, None)


def test_rollback_moves_the_cluster_itself_where_no_hook_answers(world: RolloutWorld) -> None:
    first, second = world.publish(1), world.publish(2)
    for version in (first, second):
        world.say("promoted", version)
        world.settle()
    told = {"KUBECONFIG": str(world.cluster.kubeconfig), "TRIMTAB_HOOK_URL": "http://127.0.0.1:9"}
    command = ("rollback", MODEL, "--actuator", "kserve", "--namespace", world.namespace, "--timeout", "120")
    done = subprocess.run(
        [sys.executable, "-m", "trimtab.cli.app", *command],
        env={**os.environ, **world.place.environ, **told},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (world.live().stable.version, world.live().canary) == (first, None)
    assert f"{first} gets all requests" in done.stdout
    assert f"{first} serves with 1 pod" in done.stdout


def test_the_hook_itself_brings_a_requested_version_onto_the_cluster(world: RolloutWorld) -> None:
    first = world.publish(1)
    store = world.place.store
    rollouts.request(store, MODEL, first, kind="serve", who="test", why="it passed its gates")
    ports = free_ports(2)
    command = ("hook", MODEL, "--actuator", "kserve", "--namespace", world.namespace, "--poll-seconds", "0.2")
    log = world.place.root / "hook.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "trimtab.cli.app", *command),
                *("--port", str(ports[0]), "--metrics-port", str(ports[1])),
            ],
            env={**os.environ, **world.place.environ, "KUBECONFIG": str(world.cluster.kubeconfig)},
            stdout=said,
            stderr=said,
        )
    try:
        until(
            lambda: process.poll() is not None or (read_place(store, MODEL) or {}).get("done"),
            120,
            "the hook brings it onto the cluster",
            log.read_text,
        )
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        process.wait(60)
    assert ledger.state(store, MODEL).champion == first
    assert world.live().stable.version == first
    shown = CliRunner().invoke(make_app("status"), ["status", MODEL], env=world.place.environ)
    assert f"{first} serves with 1 pod" in " ".join(shown.output.split())
