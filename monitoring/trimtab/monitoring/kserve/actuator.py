"""The cluster as a place where versions serve: KServe's InferenceService follows the ledger, one write at a time.

Nothing rests on what this process remembers. Each look reads the resource, the routes and the pods; the next write
follows from them and from the ledger (`plan`), so the process may be killed before or after any of them.
"""

from __future__ import annotations

import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from trimtab.core import bundle, ledger
from trimtab.core.errors import TrimtabError
from trimtab.core.records import utcnow
from trimtab.monitoring.actuators import count_failures
from trimtab.monitoring.champion import published
from trimtab.monitoring.kserve import applying, disruption, observe, scaling
from trimtab.monitoring.kserve import inference_service as isvc
from trimtab.monitoring.kserve.api import Api, ApiError, Object
from trimtab.monitoring.kserve.observe import Deployed, Patience
from trimtab.monitoring.kserve.plan import Live, Move, Seen, Want, next_move, replacing_move
from trimtab.monitoring.kserve.strategy import Chooser, Strategy, of_mode
from trimtab.monitoring.places import Told, write_place

if TYPE_CHECKING:
    from trimtab.core.store import Store

METRICS_PORT = 9091
# Others may write between a look and a write; then it is looked again, so often at once.
_TRIES = 3
_log = logging.getLogger(__name__)


@dataclass
class Look:
    """What one look at a model's cluster side found."""

    found: Object | None
    live: Live
    seen: Seen
    deployed: dict[str, Deployed] = field(default_factory=dict)
    pods: list[Object] = field(default_factory=list)


class KServe:
    """Models on one namespace of a cluster.

    Args:
        store: where bundles are; pods get the same URL.
        api: the Kubernetes API.
        namespace: where the models are.
        patience: how long is waited for what.
        now: the clock.
        metrics_port: where pods count requests.
    """

    judges_replacements = True

    def __init__(
        self,
        store: Store,
        api: Api,
        namespace: str,
        patience: Patience | None = None,
        now: Callable[[], datetime] = utcnow,
        metrics_port: int = METRICS_PORT,
    ) -> None:
        self.store, self.api, self.namespace = store, api, namespace
        self.patience = patience or Patience()
        self._now, self._port = now, metrics_port
        self._chooser = Chooser(api, namespace)
        self._stood: dict[str, tuple[object, float]] = {}
        self._unrouted: dict[str, float] = {}
        self._troubles: dict[str, dict[str, str]] = {}
        self._told: dict[str, Told] = {}
        self._by_hand: dict[str, list[str]] = {}

    # -- what the controller asks ------------------------------------------------------------------------------------

    def failures(self, model: str) -> Mapping[str, tuple[int, int]]:
        """Version to (requests, requests answered with 5xx), added up over its pods; empty while none answers."""
        try:
            found = observe.pods(self.api, self.namespace, model)
        except ApiError as error:
            _log.warning(error.sentence(), extra={"model": model})
            return {}
        addresses = [str(ip) for pod in found if (ip := (pod.get("status") or {}).get("podIP"))]
        total: dict[str, tuple[int, int]] = {}
        with ThreadPoolExecutor(8) as several:
            for text in several.map(self._metrics, addresses):
                for version, (requests, failed) in count_failures(text, model).items():
                    n, bad = total.get(version, (0, 0))
                    total[version] = (n + requests, bad + failed)
        return total

    def _metrics(self, address: str) -> str:
        host = f"[{address}]" if ":" in address else address
        try:
            with urllib.request.urlopen(f"http://{host}:{self._port}/metrics", timeout=2) as answer:
                return str(answer.read().decode())
        except (OSError, urllib.error.URLError, ValueError):
            return ""

    def troubles(self, model: str) -> Mapping[str, str]:
        """Version to why its pods will not serve, where waiting longer is in vain."""
        return self._troubles.get(model, {})

    def cannot_split(self, model: str) -> str:
        """Why requests cannot be split here; empty where they can, and where that is not known."""
        try:
            found = self._strategy(model, self.api.get(isvc.path(self.namespace, model)))
        except ApiError as error:
            _log.warning(error.sentence(), extra={"model": model})
            return ""
        return found.why

    # -- acting ------------------------------------------------------------------------------------------------------

    def act(self, model: str, state: ledger.State) -> None:
        """One step towards what the ledger says; what was done or is waited for is told, never raised."""
        try:
            told = self._act(model, state)
        except TrimtabError as error:
            known = self._told.get(model, Told(self._place))
            told = Told(self._place, known.strategy, known.why, (error.sentence(),), known.by_hand)
        self._tell(model, told)

    def settled(self, model: str) -> bool:
        """Whether the last step found everything as the ledger says."""
        told = self._told.get(model)
        return told is not None and told.done

    def words(self, model: str) -> tuple[str, ...]:
        """What the last step did or waits for."""
        told = self._told.get(model)
        return told.words if told is not None else ()

    @property
    def _place(self) -> str:
        return f"KServe, namespace {self.namespace}"

    def _act(self, model: str, state: ledger.State) -> Told:
        isvc.check_names(model, self.namespace)
        if state.champion is None:
            return Told(self._place, words=("nothing is promoted yet",), done=True)
        for _ in range(_TRIES - 1):
            try:
                return self._step(model, state)
            except ApiError as error:
                # Somebody wrote in between: what was decided on is no more.
                if error.status != 409 or error.fields:
                    raise
        return self._step(model, state)

    def _step(self, model: str, state: ledger.State) -> Told:
        found = self.api.get(isvc.path(self.namespace, model))
        if found is not None and not isvc.is_ours(found, model):
            managers = {str(m.get("manager")) for m in found["metadata"].get("managedFields") or []}
            makers = ", ".join(sorted(managers)) or "nobody knows who did"
            foreign = f"an InferenceService {model} is there that this controller did not make ({makers})"
            next_step = "it is left alone; rename or delete it, and the model is served"
            return Told(self._place, words=(f"{foreign}: {next_step}",))
        strategy = self._strategy(model, found)
        if strategy.kind == "none":
            return Told(self._place, "none", strategy.why, (strategy.why,))
        look = self._look(model, found)
        want = Want(state.champion, state.canary or state.shadow, state.canary_percent if state.canary else 0)
        by_hand = self._changes(model, found)
        replaces = strategy.kind == "replace" or self._asks_to_replace(model, state)
        why = strategy.why or ("the project file says rollout.strategy: replace" if replaces else "")
        shapes = self._shapes(model, want, look.live)
        move = (replacing_move if replaces else next_move)(want, look.live, look.seen, self._replicas(shapes, look))
        troubles = self._find_troubles(model, state, look)
        if move.kind == "write" and move.to is not None:
            self._write(model, move, look, shapes)
        elif look.found is not None:
            try:
                self._keep(model, look, shapes)
            except ApiError as error:  # what serves does not hang on these
                troubles.append(error.sentence())
        kind = "replace" if replaces else "canary"
        return Told(self._place, kind, why, (move.words, *troubles), by_hand, done=move.kind == "done")

    def _write(self, model: str, move: Move, look: Look, shapes: Mapping[str, isvc.Shape]) -> None:
        assert move.to is not None
        names = [r["metadata"]["name"] for r in self.api.list(isvc.runtimes_path(self.namespace))]
        runtime = isvc.newest_runtime(names)
        if runtime is None:
            raise ApiError(
                404,
                "there is no ServingRuntime of the model server",
                object=f"namespace {self.namespace}",
                expected="trimtab-server-v<number>",
                got=", ".join(names) or "none",
                hint="apply manifests/serving",
            )
        body = isvc.resource(model, self.namespace, move.to, shapes, self.store, runtime)
        version = str(look.found["metadata"]["resourceVersion"]) if look.found is not None else ""
        applying.apply(self.api, isvc.path(self.namespace, model), body, version)
        self._stood.pop(model, None)
        _log.info(move.words, extra={"model": model, "namespace": self.namespace})

    def _keep(self, model: str, look: Look, shapes: Mapping[str, isvc.Shape]) -> None:
        """Keep the champion's budget and autoscaler as its `serving` block says, and a canary as large as it."""
        assert look.found is not None
        assert look.live.stable is not None
        stable, canary = look.live.stable, look.live.canary
        shape, owner = shapes[stable.version], look.found
        name = isvc.deployment_name(model, stable.name)
        self._settle_on(
            disruption.path(self.namespace, model), disruption.budget(model, self.namespace, owner, shape.replicas)
        )
        self._settle_on(
            scaling.path(self.namespace, model), scaling.autoscaler(model, self.namespace, owner, shape, name)
        )
        if shape.max_replicas is None:
            return
        # KServe leaves the number of pods to the autoscaler, which has the champion's alone and may come later.
        for track, least in ((stable, shape.replicas), (canary, canary.replicas if canary is not None else 0)):
            deployed = look.deployed.get(isvc.deployment_name(model, track.name)) if track is not None else None
            if deployed is not None and deployed.wanted < least:
                where = scaling.scale_path(self.namespace, deployed.name)
                self.api.merge(where, {"spec": {"replicas": least}})

    def _settle_on(self, path: str, body: Object | None) -> None:
        """Bring a small object of ours to what it should be, or away; one that another made is left alone."""
        found = self.api.get(path)
        if found is not None and not _has(found, {"metadata": {"labels": disruption.LABELS}}):
            return
        if body is None:
            if found is not None:
                self.api.delete(path)
        elif found is None or not _has(found, body):
            self.api.apply(path, body, force=True)

    # -- looking -----------------------------------------------------------------------------------------------------

    def _look(self, model: str, found: Object | None) -> Look:
        live = isvc.read(found)
        if found is None:
            return Look(found, live, Seen())
        deployed = observe.deployments(self.api, self.namespace, model)
        routes = observe.weights(self.api, self.namespace, model)
        versions = {isvc.deployment_name(model, t.name): t.version for t in (live.stable, live.canary) if t is not None}
        available = {
            version: deployed[name].available
            for name, version in versions.items()
            if name in deployed and deployed[name].version in {"", version}
        }
        weights, marks = routes if routes is not None else (None, "")
        shares = {versions[s]: w for s, w in weights.items() if s in versions} if weights is not None else None
        seen = Seen(available, shares, self._has_stood(model, (marks, shares, found["metadata"]["generation"])))
        pods = observe.pods(self.api, self.namespace, model)
        return Look(found, live, seen, deployed, pods)

    def _has_stood(self, model: str, now: tuple[str, Mapping[str, int] | None, int]) -> bool:
        """Whether the weights have been the same for long enough; a gateway that lags behind begins the wait anew."""
        stood = self._stood.get(model)
        if stood is None or stood[0] != now or "?" in now[0]:
            self._stood[model] = stood = (now, time.monotonic())
        return time.monotonic() - stood[1] >= self.patience.settle

    def _strategy(self, model: str, found: Object | None) -> Strategy:
        strategy = self._chooser.strategy()
        if found is None or strategy.kind != "canary":
            return strategy
        if (mode := of_mode(found)) is not None:
            return mode
        # KServe's settings need not be readable: whether it makes routes with weights is seen.
        live = isvc.read(found).stable
        if live is None or not self._unroutable(model, isvc.deployment_name(model, live.name)):
            return strategy
        return Strategy("replace", "KServe makes no HTTPRoute here: its ingress is not the Gateway API")

    def _unroutable(self, model: str, deployment: str) -> bool:
        """Whether the champion's pods have answered for a while and still no route leads to them."""
        deployed = observe.deployments(self.api, self.namespace, model).get(deployment)
        if observe.weights(self.api, self.namespace, model) is not None or deployed is None or not deployed.available:
            self._unrouted.pop(model, None)
            return False
        return time.monotonic() - self._unrouted.setdefault(model, time.monotonic()) > self.patience.grace

    def _asks_to_replace(self, model: str, state: ledger.State) -> bool:
        """Whether the version that is to serve next says so in its project."""
        version = state.canary or state.shadow or state.champion
        return version is not None and published(self.store, model, version).rollout.strategy == "replace"

    def _shapes(self, model: str, want: Want, live: Live) -> dict[str, isvc.Shape]:
        """What the `serving` blocks of all versions concerned say; one that is not published has one pod."""
        tracks = [t.version for t in (live.stable, live.canary) if t is not None]
        found = {}
        for version in {v for v in (want.champion, want.tried, *tracks) if v is not None}:
            try:
                found[version] = isvc.Shape.of(bundle.read_manifest(self.store, model, version).project)
            except TrimtabError as error:
                _log.warning(error.sentence(), extra={"model": model})
                found[version] = isvc.Shape()
        return found

    def _replicas(self, shapes: Mapping[str, isvc.Shape], look: Look) -> dict[str, int]:
        """How many pods each version is to have: as the autoscaler has found to be needed, where there is one."""
        found = {version: shape.replicas for version, shape in shapes.items()}
        stable = look.live.stable
        if stable is not None and shapes[stable.version].max_replicas is not None and look.found is not None:
            name = isvc.deployment_name(look.found["metadata"]["name"], stable.name)
            running = look.deployed[name].wanted if name in look.deployed else 1
            canary = look.live.canary
            if canary is not None and canary.percent:  # it does not shrink and grow with the champion's load
                running = max(running, canary.replicas)
            found = {v: n if v == stable.version else max(n, running) for v, n in found.items()}
        return found

    def _find_troubles(self, model: str, state: ledger.State, look: Look) -> list[str]:
        """What is wrong with the pods, in words; what is in vain to wait for is kept for the controller."""
        words, lasting = [], {}
        now = self._now()
        said = _failure(look.found)
        for track in (look.live.stable, look.live.canary):
            if track is None:
                continue
            mine = [pod for pod in look.pods if observe.pod_version(pod) == track.version]
            deployed = look.deployed.get(isvc.deployment_name(model, track.name))
            tried = track is look.live.canary
            trouble = observe.trouble(mine, deployed, now, self.patience, tried=tried)
            if trouble is None:
                continue
            words.append(f"{track.version}: {trouble.words}")
            # A champion that has served is not given up for its cluster's trouble.
            fresh = state.at is not None and (now - state.at).total_seconds() < 2 * self.patience.deadline
            if trouble.lasting and (tried or fresh):
                lasting[track.version] = trouble.words
        self._troubles[model] = lasting
        return words + ([said] if said else [])

    def _changes(self, model: str, found: Object | None) -> tuple[str, ...]:
        """What others did to fields that are this controller's; the last ten."""
        known = self._by_hand.setdefault(model, [])
        for words in observe.changed_by_hand(found) if found is not None else []:
            if words not in known:
                known.append(words)
                _log.warning("%s; the ledger decides what serves", words, extra={"model": model})
        del known[:-10]
        return tuple(known)

    def _tell(self, model: str, told: Told) -> None:
        before = self._told.get(model)
        self._told[model] = told
        if before == told:
            return
        _log.info("; ".join(told.words), extra={"model": model, "place": told.place})
        try:
            write_place(self.store, model, told)
        except TrimtabError as error:
            _log.warning(error.sentence(), extra={"model": model})


def _failure(found: Object | None) -> str:
    """What KServe itself says of a resource that it cannot serve: a runtime or format that it does not know, say."""
    status = ((found or {}).get("status") or {}).get("modelStatus") or {}
    if status.get("transitionStatus") not in {"InvalidSpec", "BlockedByFailedLoad"}:
        return ""
    info = status.get("lastFailureInfo") or {}
    return f"KServe: {info.get('reason', status['transitionStatus'])}: {info.get('message', '')}"[:400]


def _has(found: object, wanted: object) -> bool:
    """Whether an object has all that is wanted of it; what the API server filled in does not matter."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(_has(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        if not isinstance(found, list) or len(found) != len(wanted):
            return False
        return all(_has(a, b) for a, b in zip(found, wanted, strict=True))
    return found == wanted
