"""A model on a real API: KServe's controller, nodes and gateway are played, servers, ledger and actuator are real."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from benchmarks.cluster.gateway import Backend, Gateway
from benchmarks.cluster.load import Load, Row
from benchmarks.cluster.waiting import until
from tests.servers.kubernetes.cluster import Cluster
from tests.servers.kubernetes.kserve_controller import KServeController, path
from tests.servers.kubernetes.played_pods import PlayedPods
from tests.serving.bundles import Place

from trimtab.core import ledger
from trimtab.monitoring.kserve import inference_service
from trimtab.monitoring.kserve.actuator import KServe
from trimtab.monitoring.kserve.api import KubernetesApi
from trimtab.monitoring.kserve.observe import Patience

MODEL = "demand"
RUNTIME = Path(__file__).resolve().parents[2] / "manifests" / "serving" / "runtime-v1.yaml"
PATIENCE = Patience(settle=0.6, grace=1.0, deadline=30.0)
# Pause between two steps of the actuator, seconds.
LOOK = 0.05
ROW = Row({"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0})


class PodsGateway(Gateway):
    """Routes to the pods that are ready, as the cluster's Services would."""

    def __init__(self, cluster: Cluster, namespace: str, pods: PlayedPods) -> None:
        super().__init__(cluster, namespace, MODEL)
        self._pods = pods

    def _address(self, service: str) -> str:
        return ""

    def choose(self) -> Backend | None:
        chosen = super().choose()
        addresses = self._pods.endpoints(chosen.name) if chosen is not None else []
        if chosen is None or not addresses:
            return None
        return replace(chosen, host=random.choice(addresses), port=8080)


@dataclass
class RolloutWorld:
    """One model in one namespace."""

    cluster: Cluster
    namespace: str
    place: Place
    client: Any
    kserve: KServeController
    pods: PlayedPods
    actuator: KServe = field(init=False)

    def __post_init__(self) -> None:
        self.actuator = self.fresh()

    def fresh(self, api: Any = None, patience: Patience = PATIENCE) -> KServe:
        """An actuator as a process that has just started has it."""
        return KServe(self.place.store, api or KubernetesApi(self.client), self.namespace, patience)

    def publish(self, seed: int, **serving: Any) -> str:
        return self.place.publish(MODEL, "numbers", seed, serving=serving)

    def say(self, event: str, version: str, percent: int = 0) -> None:
        self.place.say(MODEL, event, version, percent)

    def act(self, by: KServe | None = None) -> None:
        (by or self.actuator).act(MODEL, ledger.state(self.place.store, MODEL))

    def until(self, done: Callable[[], object], what: str, seconds: float = 60.0) -> None:
        """Let the actuator act until something holds."""

        def look() -> bool:
            if done():
                return True
            self.act()
            return False

        until(look, seconds, what, lambda: f"{self.actuator.words(MODEL)} {self.kserve.trouble}\n{self.logs()}", LOOK)

    def settle(self, what: str = "it does not settle", seconds: float = 60.0) -> None:
        """Let it act until everything is as the ledger says."""
        self.act()
        self.until(lambda: self.actuator.settled(MODEL), what, seconds)

    def logs(self) -> str:
        return "\n".join(f"{p.name}: {p.log.read_text()[-600:]}" for p in self.pods.pods if p.log.exists())

    def isvc(self) -> dict[str, Any]:
        found = KubernetesApi(self.client).get(inference_service.path(self.namespace, MODEL))
        assert found is not None
        return found

    def live(self) -> Any:
        return inference_service.read(self.isvc())

    def deployments(self) -> list[str]:
        found = KubernetesApi(self.client).list(path(self.namespace, "deployments"))
        return sorted(d["metadata"]["name"] for d in found)

    @contextlib.contextmanager
    def load(self, rate: float = 50.0) -> Iterator[Load]:
        """Requests through the gateway for as long as the block lasts."""
        with PodsGateway(self.cluster, self.namespace, self.pods) as gateway:
            until(gateway.choose, 30, "a route of the gateway", every=LOOK)
            with Load(gateway.url, MODEL, [ROW], rate) as load:
                yield load


@contextlib.contextmanager
def rollout_world(cluster: Cluster, namespace: str, folder: Path, light: bool = False) -> Iterator[RolloutWorld]:
    """Everything that is there before the first promotion; namespace and API are the caller's.

    Args:
        cluster: the API.
        namespace: an empty one.
        folder: for store and logs.
        light: no servers run; pods are said to be ready.
    """
    place = Place(folder)
    cluster.kubectl("create", "serviceaccount", "trimtab-server", "-n", namespace, check=True)
    runtime = yaml.safe_load(RUNTIME.read_text())
    cluster.kubectl("create", "-n", namespace, "-f", "-", input=yaml.safe_dump(runtime), check=True)
    logs = folder / "pods"
    logs.mkdir()
    with (
        cluster.client() as client,
        PlayedPods(client, namespace, logs, place.environ, light) as pods,
        KServeController(client, [namespace]) as kserve,
    ):
        yield RolloutWorld(cluster, namespace, place, client, kserve, pods)
