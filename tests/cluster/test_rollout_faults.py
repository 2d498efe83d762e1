"""Rollouts on a real API when something goes wrong: deaths, other hands, pods and routes that do not come."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.rollout_world import MODEL, RolloutWorld, rollout_world
from tests.monitoring.world import Killed
from tests.servers.kubernetes.cluster import Cluster
from tests.serving.bundles import free_ports
from typer.testing import CliRunner

from trimtab.cli.commands import make_app
from trimtab.core import ledger, rollouts
from trimtab.monitoring import controller
from trimtab.monitoring.kserve.api import ApiError, KubernetesApi
from trimtab.monitoring.kserve.observe import Patience
from trimtab.monitoring.places import read_place

pytestmark = pytest.mark.cluster
BASE = Path(__file__).resolve().parents[2] / "manifests" / "base"


@pytest.fixture
def world(cluster_api: Cluster, namespace: str, tmp_path: Path) -> Iterator[RolloutWorld]:
    with rollout_world(cluster_api, namespace, tmp_path, light=True) as found:
        yield found


class DyingApi(KubernetesApi):
    """An API at whose n-th write the process dies, before or after it took effect."""

    def __init__(self, client: Any, at: int, after: bool) -> None:
        super().__init__(client)
        self.left, self.after = at, after

    def _write(self, do: Callable[[], Any]) -> Any:
        self.left -= 1
        if self.left == 0 and not self.after:
            raise Killed
        done = do()
        if self.left == 0:
            raise Killed
        return done

    def apply(self, path: str, body: Any, *, force: bool = False, dry_run: bool = False) -> Any:
        do = functools.partial(super().apply, path, body, force=force, dry_run=dry_run)
        return do() if dry_run else self._write(do)

    def merge(self, path: str, body: Any) -> Any:
        return self._write(lambda: super(DyingApi, self).merge(path, body))

    def delete(self, path: str) -> None:
        self._write(lambda: super(DyingApi, self).delete(path))


class SilentApi(KubernetesApi):
    """An API that does not answer while `away`."""

    away = False

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        if self.away:
            raise ApiError(0, "the Kubernetes API does not answer")
        return super()._call(*args, **kwargs)


def test_killed_at_every_write_it_comes_to_the_same_end(world: RolloutWorld) -> None:
    """Promoted, tried, given up, tried again, promoted, rolled back; each write is died at once before and after."""
    first, second = world.publish(1, replicas=2), world.publish(2, replicas=2)
    world.say("promoted", first)
    world.settle()
    deaths = 0
    story = [
        ("canaried", second, 10), ("rejected", second, 0), ("canaried", second, 50), ("promoted", second, 0),
        ("rolled_back", second, 0),
    ]  # fmt: skip
    for event, version, percent in story:
        world.say(event, version, percent)
        for after in (False, True):
            # Each life ends at its next write, so every write of the way is died at, one way or the other.
            for _ in range(3):
                by = world.fresh(DyingApi(world.client, 1, after))
                deadline = time.monotonic() + 15
                try:
                    while not by.settled(MODEL) and time.monotonic() < deadline:
                        world.act(by)
                        time.sleep(0.02)
                except Killed:
                    deaths += 1
        world.actuator = world.fresh()
        world.settle(f"{event} {version}")
        live = world.live()
        champion = second if event == "promoted" else first
        assert live.stable.version == champion
        assert (live.canary.version if live.canary else None) == (second if event == "canaried" else None)
        assert live.canary is None or live.canary.percent == percent
        world.until(lambda n=1 + (event == "canaried"): len(world.deployments()) == n, "orphans go")  # type: ignore[misc]
    assert deaths >= 20


def test_an_overlay_during_a_canary_and_after_a_promotion_moves_nothing(world: RolloutWorld) -> None:
    first, second = world.publish(1), world.publish(2)
    overlay = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": MODEL, "namespace": world.namespace, "labels": {"team": "payments"}},
        "spec": {"predictor": {"model": {"modelFormat": {"name": "trimtab"}, "resources": {"limits": {"cpu": "2"}}}}},
    }

    def apply() -> None:
        arguments = ("apply", "--server-side", "--field-manager=gitops", "-f", "-")
        world.cluster.kubectl(*arguments, input=yaml.safe_dump(overlay), check=True)

    world.say("promoted", first)
    world.settle()
    world.say("canaried", second, 10)
    world.settle()
    apply()
    world.settle()
    live = world.live()
    assert (live.stable.version, live.canary.version, live.canary.percent) == (first, second, 10)
    world.say("promoted", second)
    world.settle()
    apply()
    world.settle()
    assert (world.live().stable.version, world.live().canary) == (second, None)
    found = world.isvc()
    assert found["metadata"]["labels"]["team"] == "payments"
    assert found["spec"]["predictor"]["model"]["resources"]["limits"]["cpu"] == "2"


def test_a_field_that_another_manager_owns_stays_its_own(world: RolloutWorld) -> None:
    first, second = world.publish(1, cpu=0.5), world.publish(2, cpu=0.5)
    world.say("promoted", first)
    world.settle()
    patch = '{"spec": {"predictor": {"model": {"resources": {"limits": {"cpu": "3"}}}}}}'
    arguments = ("patch", "isvc", MODEL, "-n", world.namespace, "--type=merge", "-p", patch)
    world.cluster.kubectl(*arguments, "--field-manager=gitops", check=True)
    world.say("promoted", second)
    world.settle()
    assert world.live().stable.version == second
    assert world.isvc()["spec"]["predictor"]["model"]["resources"]["limits"]["cpu"] == "3"


def test_what_is_changed_by_hand_is_told_and_put_right(world: RolloutWorld) -> None:
    first, second = world.publish(1), world.publish(2)
    world.say("promoted", first)
    world.settle()
    uri = world.isvc()["spec"]["predictor"]["model"]["storageUri"]
    changed = yaml.safe_dump({"spec": {"predictor": {"model": {"storageUri": uri.replace(first, second)}}}})
    arguments = ("patch", "isvc", MODEL, "-n", world.namespace, "--type=merge", "--field-manager=somebody")
    world.cluster.kubectl(*arguments, "-p", changed, check=True)
    world.until(lambda: world.live().stable.version == first, "it is put right")
    world.settle()
    told = read_place(world.place.store, MODEL)
    assert told is not None
    assert "storageUri was changed by somebody" in told["by_hand"][0]


def test_a_resource_of_others_is_left_alone_and_said_so(world: RolloutWorld) -> None:
    manifest = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": MODEL, "namespace": world.namespace},
        "spec": {"predictor": {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://theirs/model"}}},
    }
    world.cluster.kubectl("create", "-f", "-", input=yaml.safe_dump(manifest), check=True)
    world.say("promoted", world.publish(1))
    for _ in range(3):
        world.act()
    assert world.isvc()["spec"]["predictor"]["model"]["storageUri"] == "s3://theirs/model"
    assert "left alone" in world.actuator.words(MODEL)[0]


@pytest.mark.parametrize(
    ("trouble", "said"), [("ImagePullBackOff", "ImagePullBackOff"), ("crash", "has crashed 4 times")]
)
def test_pods_that_do_not_start_are_told_and_the_version_is_refused(
    world: RolloutWorld, trouble: str, said: str
) -> None:
    first, second = world.publish(1), world.publish(2)
    world.say("promoted", first)
    world.settle()
    if trouble == "crash":
        world.pods.crashing.add(second)
    else:
        world.pods.stuck[second] = trouble
    world.say("published", second)
    world.say("shadowed", second)
    world.until(lambda: second in world.actuator.troubles(MODEL), "it is told")
    assert said in world.actuator.troubles(MODEL)[second]
    # The pod's last words, which the runtime's terminationMessagePolicy brings into its status.
    assert trouble != "crash" or "as the test wants it" in world.actuator.troubles(MODEL)[second]
    assert any(said in words for words in (read_place(world.place.store, MODEL) or {})["words"])
    # Promoted by hand all the same: its pods never answer, so requests stay where they are, and it is given up.
    world.say("promoted", second)
    world.act()
    controller.step(world.place.store, MODEL, world.actuator)
    world.settle("back to the first")
    assert world.live().stable.version == first
    assert world.live().canary is None


def test_a_canary_that_dies_loses_its_weight_and_nothing_moves_on(world: RolloutWorld) -> None:
    first, second = world.publish(1), world.publish(2)
    world.say("promoted", first)
    world.settle()
    world.say("canaried", second, 50)
    world.settle()
    world.pods.crashing.add(second)
    world.until(lambda: second in world.actuator.troubles(MODEL), "it is told")
    world.say("promoted", second)
    for _ in range(5):
        world.act()
        time.sleep(0.05)
    assert world.live().stable.version == first
    assert world.live().canary.percent == 50, "a share is not raised for pods that do not answer"


def test_weights_that_do_not_come_are_waited_for(world: RolloutWorld) -> None:
    first, second = world.publish(1), world.publish(2)
    world.say("promoted", first)
    world.settle()
    world.say("canaried", second, 0)
    world.settle()
    world.kserve.faults.keeps_weights = True
    world.say("promoted", second)
    world.until(lambda: "the route gives it 0 %" in world.actuator.words(MODEL)[0], "it is told")
    assert world.live().stable.version == first
    world.kserve.faults.keeps_weights = False
    world.settle()
    assert world.live().stable.version == second


def test_an_api_that_is_away_moves_nothing_and_is_told(world: RolloutWorld) -> None:
    first, second = world.publish(1), world.publish(2)
    api = SilentApi(world.client)
    world.actuator = world.fresh(api)
    world.say("promoted", first)
    world.settle()
    api.away = True
    world.say("promoted", second)
    world.act()
    assert "does not answer" in world.actuator.words(MODEL)[0]
    assert world.actuator.failures(MODEL) == {}
    api.away = False
    world.settle()
    assert world.live().stable.version == second


def test_two_hooks_by_mistake_agree(world: RolloutWorld) -> None:
    first, second = world.publish(1), world.publish(2)
    other = world.fresh()
    world.say("promoted", first)
    world.settle()
    world.say("promoted", second)
    deadline = time.monotonic() + 60
    while not (world.actuator.settled(MODEL) and other.settled(MODEL)):
        assert time.monotonic() < deadline, (world.actuator.words(MODEL), other.words(MODEL))
        world.act()
        world.act(other)
        time.sleep(0.05)
    assert (world.live().stable.version, world.live().canary) == (second, None)


def test_without_routes_a_version_replaces_another_with_one_change(world: RolloutWorld) -> None:
    world.kserve.faults.no_routes = True
    world.actuator = world.fresh(patience=Patience(settle=0.3, grace=0.5, deadline=30))
    first, second = world.publish(1, replicas=2), world.publish(2, replicas=2)
    world.say("promoted", first)
    world.until(lambda: "no HTTPRoute" in world.actuator.cannot_split(MODEL), "it is noticed")
    world.settle()
    world.say("promoted", second)
    world.settle()
    live = world.live()
    assert (live.stable.version, live.canary) == (second, None)
    assert len(world.deployments()) == 1
    told = read_place(world.place.store, MODEL)
    assert told is not None
    assert (told["strategy"], "HTTPRoute" in told["why"]) == ("replace", True)


def test_budget_and_autoscaler_come_and_go_with_the_champion(world: RolloutWorld) -> None:
    first, second, third = world.publish(1, replicas=2), world.publish(2, replicas=2, max_replicas=5), world.publish(3)

    def there(kind: str) -> dict[str, Any] | None:
        done = world.cluster.kubectl("get", kind, f"{MODEL}-predictor", "-n", world.namespace, "-o", "yaml")
        return yaml.safe_load(done.stdout) if done.returncode == 0 else None

    world.say("promoted", first)
    world.settle()
    budget = there("pdb")
    assert budget is not None
    assert budget["spec"]["maxUnavailable"] == 1
    assert there("hpa") is None
    world.say("promoted", second)
    world.settle()
    world.until(lambda: there("hpa") is not None, "it scales")
    scaler = there("hpa")
    assert scaler is not None
    assert scaler["spec"]["scaleTargetRef"]["name"] == f"{MODEL}-{second}-predictor"
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (2, 5)
    assert world.isvc()["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "external"
    world.say("promoted", third)
    world.settle()
    world.until(lambda: there("hpa") is None and there("pdb") is None, "one pod needs neither")


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
        deadline = time.monotonic() + 120
        while not (read_place(store, MODEL) or {}).get("done"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
    finally:
        process.terminate()
        process.wait(60)
    assert ledger.state(store, MODEL).champion == first
    assert world.live().stable.version == first
    shown = CliRunner().invoke(make_app("status"), ["status", MODEL], env=world.place.environ)
    assert f"{first} serves with 1 pod" in " ".join(shown.output.split())
