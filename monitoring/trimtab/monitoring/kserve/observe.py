"""What the cluster does, read from HTTPRoute weights, Deployments and pods.

Not from the InferenceService's own status: its Ready, its observedGeneration and its canary percentages are true
before the traffic has moved, and a canary that does not start is told by its pods alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from trimtab.core.records import parse_time
from trimtab.monitoring.kserve.api import MANAGER, Api, Object
from trimtab.monitoring.kserve.inference_service import GROUP, version_of

ROUTES = "/apis/gateway.networking.k8s.io/v1/namespaces/{}/httproutes"
DEPLOYMENTS = "/apis/apps/v1/namespaces/{}/deployments"
PODS = "/api/v1/namespaces/{}/pods"
SOURCE = "internal.serving.kserve.io/storage-initializer-sourceuri"
# What no waiting heals in a container that cannot start.
_STUCK = frozenset(
    {
        "ImagePullBackOff", "ErrImagePull", "ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError",
        "CreateContainerError", "RunContainerError",
    }
)  # fmt: skip
_RESTARTS = 3


@dataclass(frozen=True)
class Deployed:
    """A predictor's Deployment.

    Attributes:
        name: its name.
        wanted: pods that it is to have.
        available: pods that answer, of the present template.
        version: the version that its pods are made for; empty where KServe does not say.
        failing: why its pods cannot be made (quota, Pod Security), and since when; else empty.
        unavailable_since: since when too few pods of the present template answer; None while enough do, and while that
            is not known.
    """

    name: str
    wanted: int
    available: int
    version: str = ""
    failing: str = ""
    unavailable_since: datetime | None = None


@dataclass(frozen=True)
class Trouble:
    """Why a version's pods do not serve.

    Attributes:
        words: the reason, in the cluster's words.
        lasting: whether waiting longer is in vain.
    """

    words: str
    lasting: bool


@dataclass(frozen=True)
class Patience:
    """How long is waited, seconds.

    Attributes:
        settle: that weights stand before a proxy that lags behind is thought to have them, and a version's last
            requests to be answered.
        grace: that an image may fail to be pulled.
        deadline: that pods may take to answer, or to find a node.
    """

    settle: float = 10.0
    grace: float = 60.0
    deadline: float = 600.0


def deployments(api: Api, namespace: str, model: str) -> dict[str, Deployed]:
    """The model's predictor Deployments by name."""
    found = api.list(DEPLOYMENTS.format(namespace), _selector(model))
    return {one["metadata"]["name"]: _deployed(one) for one in found}


def _deployed(found: Object) -> Deployed:
    status, spec = found.get("status") or {}, found.get("spec") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or []}
    generation = int(found["metadata"].get("generation") or 0)
    current = int(status.get("observedGeneration") or 0) >= generation
    wanted = int(spec.get("replicas", 1))
    template = ((spec.get("template") or {}).get("metadata") or {}).get("annotations") or {}
    # Pods of the template before may answer too; only those of this one are this version.
    available = min(int(status.get("availableReplicas") or 0), int(status.get("updatedReplicas") or 0))
    failure = conditions.get("ReplicaFailure", {})
    return Deployed(
        name=found["metadata"]["name"],
        wanted=wanted,
        available=available if current else 0,
        version=version_of(str(template.get(SOURCE) or "")),
        failing=str(failure.get("message") or "") if failure.get("status") == "True" else "",
        unavailable_since=_short_since(found, available) if current else None,
    )


def _short_since(found: Object, available: int) -> datetime | None:
    """Since when a Deployment has too few pods of its present template."""
    conditions = {c["type"]: c for c in (found.get("status") or {}).get("conditions") or []}
    able, moved = conditions.get("Available"), conditions.get("Progressing")
    if able is None:
        return parse_time(found["metadata"]["creationTimestamp"])
    if able["status"] == "False":
        return parse_time(able["lastTransitionTime"])
    if available or moved is None:
        return None
    # Pods of the template before answer, and may have for weeks: what counts is when the present one got on last.
    since = parse_time(moved["lastUpdateTime"])
    if moved["status"] == "False":  # Kubernetes' own deadline is over, and it says since when
        since -= timedelta(seconds=int(found["spec"].get("progressDeadlineSeconds", 600)))
    return since


def pods(api: Api, namespace: str, model: str) -> list[Object]:
    """The model's predictor pods that are not about to go."""
    found = api.list(PODS.format(namespace), _selector(model))
    return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]


def _selector(model: str) -> str:
    return f"{GROUP}/inferenceservice={model},component=predictor"


def pod_version(pod: Object) -> str:
    """The version that a pod was made for: KServe leaves its storageUri in an annotation."""
    return version_of(str((pod["metadata"].get("annotations") or {}).get(SOURCE) or ""))


def weights(api: Api, namespace: str, model: str) -> tuple[dict[str, int], str] | None:
    """The share of each Service, percent, that the model's routes agree on, and what changes when they do.

    KServe makes one route for the model's host and one for the predictor's. None where the first is absent; a
    Service whose shares differ between routes or rules has the larger one.

    Returns:
        Service → percent, and the routes' generations as a text; a route that its gateway has not taken up yet is
        marked in it.
    """
    found: dict[str, int] = {}
    marks = []
    for name in (model, f"{model}-predictor"):
        route = api.get(f"{ROUTES.format(namespace)}/{name}")
        if route is None:
            if name == model:
                return None
            continue
        marks.append(f"{name}:{route['metadata'].get('generation')}{'' if _taken_up(route) else '?'}")
        for service, share in _shares(route).items():
            found[service] = max(found.get(service, 0), share)
    return found, " ".join(marks)


def _shares(route: Object) -> dict[str, int]:
    """Service → percent over the rules of one route; weights are relative, and one without counts 1."""
    found: dict[str, int] = {}
    for rule in (route.get("spec") or {}).get("rules") or []:
        refs = rule.get("backendRefs") or []
        total = sum(int(ref.get("weight", 1)) for ref in refs)
        for ref in refs:
            share = round(100 * int(ref.get("weight", 1)) / total) if total else 0
            found[ref["name"]] = max(found.get(ref["name"], 0), share)
    return found


def _taken_up(route: Object) -> bool:
    """Whether the gateways that report on a route have seen its present form."""
    generation = int(route["metadata"].get("generation") or 0)
    parents = (route.get("status") or {}).get("parents") or []
    return all(
        int(condition.get("observedGeneration", generation)) >= generation
        for parent in parents
        for condition in parent.get("conditions") or []
    )


def trouble(
    found: Iterable[Object], deployed: Deployed | None, now: datetime, patience: Patience, *, tried: bool = False
) -> Trouble | None:
    """Why a version does not serve; None where it does, or nothing is known yet.

    Args:
        found: its pods.
        deployed: its Deployment.
        now: the present moment.
        patience: how long is waited.
        tried: it has to come up whole, in time; of a version that serves one pod that answers is enough, and the
            others are told and waited for.
    """
    since = deployed.unavailable_since if deployed is not None else None
    short = _age(since, now) if since is not None else 0.0
    late = short > patience.deadline
    answers = deployed.available if deployed is not None else 0
    in_vain = not answers or (tried and late)
    if deployed is not None and deployed.failing:
        return Trouble(f"its pods cannot be made: {deployed.failing}", short > patience.grace and in_vain)
    said = [one for pod in found if (one := _of_pod(pod, now, patience)) is not None]
    if said:
        worst = max(said, key=lambda one: one.lasting)
        return Trouble(worst.words, (worst.lasting or late) and in_vain)
    if deployed is not None and late and in_vain:
        ready = f"{answers} of its {deployed.wanted} pods" if answers else "no pod of it"
        return Trouble(f"{ready} became ready in {short:.0f} s", True)
    return None


def _of_pod(pod: Object, now: datetime, patience: Patience) -> Trouble | None:
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    age = _age(parse_time(pod["metadata"]["creationTimestamp"]), now)
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            words = f"{name} finds no node: {condition.get('message', '')}"
            return Trouble(words[:400], age > patience.deadline)
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason = str(waiting.get("reason") or "")
        if reason in _STUCK:
            words = f"{name}, {container['name']}: {reason}: {waiting.get('message', '')}"
            return Trouble(words[:400], age > patience.grace)
        restarts = int(container.get("restartCount") or 0)
        ended = _ended(container)
        if ended is not None and (restarts or reason == "CrashLoopBackOff"):
            words = f"{name}, {container['name']} has crashed {restarts} times, {ended}"
            # One that runs again may yet hold.
            lasting = restarts >= _RESTARTS and not container.get("ready")
            return Trouble(words[:600], lasting) if not container.get("ready") else None
    return None


def _ended(container: Mapping[str, Any]) -> str | None:
    """How a container ended the last time, in words."""
    for state in ("state", "lastState"):
        ended = (container.get(state) or {}).get("terminated")
        if ended:
            message = " ".join(str(ended.get("message") or ended.get("reason") or "").split())
            return f"exit code {ended.get('exitCode')}" + (f": {message[-400:]}" if message else "")
    return None


def _age(since: datetime, now: datetime) -> float:
    return (now - since).total_seconds()


def changed_by_hand(found: Object) -> list[str]:
    """Fields that are this controller's and that somebody else has set, with who and when.

    Server-side apply keeps the book: a field that another manager wrote has changed its owner.

    >>> changed_by_hand({"metadata": {"managedFields": [{"manager": "kubectl-edit", "time": "2026-11-22T10:00:00Z",
    ...     "fieldsV1": {"f:spec": {"f:canary": {}}}}]}})
    ['spec.canary was changed by kubectl-edit at 2026-11-22T10:00:00Z']
    """
    ours = (
        ("f:spec", "f:canary"),
        ("f:spec", "f:predictor", "f:name"),
        ("f:spec", "f:predictor", "f:model", "f:storageUri"),
    )
    said = []
    for entry in (found.get("metadata") or {}).get("managedFields") or []:
        if entry.get("manager") == MANAGER or entry.get("subresource"):
            continue
        for field in ours:
            at: Any = entry.get("fieldsV1") or {}
            for part in field:
                at = at.get(part) if isinstance(at, Mapping) else None
            if at is not None:
                name = ".".join(part.removeprefix("f:") for part in field)
                said.append(f"{name} was changed by {entry.get('manager')} at {entry.get('time', 'an unknown time')}")
    return said
