"""Plays Deployment controller and kubelet where no node is: Deployments get Pod objects and a real server each.

The pods are created in the API from the Deployment's own template (Pod Security and strict validation look at them),
a process of this machine runs their command on a loopback address of its own, and both report what happened as a
kubelet does: ready, crashed, image not pulled. Rolling updates start a pod before they end one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.servers.kubernetes.kserve_controller import SOURCE, path

from trimtab.core.records import rfc3339, utcnow
from trimtab.monitoring.kserve.api import ApiError, KubernetesApi

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Object = dict[str, Any]
# How long a pod that is to end goes on answering: the runtime's preStop pause, shortened.
PRE_STOP_SECONDS = 1.0
_PLAYED = "as the test wants it"


@dataclass
class PlayedPod:
    """One pod: its object, its process, what is known of it."""

    name: str
    deployment: str
    template: str
    version: str
    address: str
    spec: Object
    log: Path
    process: subprocess.Popen[bytes] | None = None
    ready: bool = False
    restarts: int = 0
    exit_code: int = 0
    again_at: float = 0.0
    ends_at: float | None = None
    stuck: str = ""
    said: str = ""

    @property
    def answers(self) -> bool:
        """Whether a Service sends requests to it."""
        return self.ready and self.ends_at is None


@dataclass
class PlayedPods:
    """Runs the Deployments of one namespace; `with PlayedPods(…)` starts and ends it.

    Attributes:
        client: an administrator's client of the API.
        namespace: whose Deployments.
        folder: for logs.
        environ: the environment of every server.
        light: no server runs: a pod is ready as soon as it is there, unless its version is stuck or crashes.
        crashing: versions whose containers end at once, where no server runs.
        stuck: version → reason for which its containers do not start, e.g. `ImagePullBackOff`.
        pods: all that are there.
    """

    client: ApiClient
    namespace: str
    folder: Path
    environ: Mapping[str, str]
    light: bool = False
    crashing: set[str] = field(default_factory=set)
    stuck: dict[str, str] = field(default_factory=dict)
    pods: list[PlayedPod] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.api = KubernetesApi(self.client, manager="kubelet")
        self._net = f"127.{secrets.randbelow(250) + 2}.{secrets.randbelow(250) + 2}"
        self._next = 1
        self._known: dict[str, Object] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="played-pods", daemon=True)

    def __enter__(self) -> PlayedPods:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(timeout=60)
        for pod in self.pods:
            if pod.process is not None and pod.process.poll() is None:
                pod.process.kill()
                pod.process.wait()

    def endpoints(self, service: str) -> list[str]:
        """Addresses behind a Service, which has its Deployment's name."""
        return [pod.address for pod in list(self.pods) if pod.deployment == service and pod.answers]

    def of(self, version: str) -> list[PlayedPod]:
        """The pods of a version that are not ending."""
        return [pod for pod in list(self.pods) if pod.version == version and pod.ends_at is None]

    def _work(self) -> None:
        while not self._stopped.wait(0.15):
            with contextlib.suppress(ApiError):  # the API is away: what runs goes on running
                self.look()
            self._watch()

    def look(self) -> None:
        """Bring pods to what the Deployments say, and tell their status."""
        there = {d["metadata"]["name"]: d for d in self.api.list(path(self.namespace, "deployments"))}
        for name, deployment in there.items():
            self._scale(name, deployment)
        for pod in self.pods:
            if pod.deployment not in there:
                self._end(pod)
        self._report()
        for name, deployment in there.items():
            self._tell(name, deployment)

    def _scale(self, name: str, deployment: Object) -> None:
        spec = deployment["spec"]
        template = hashlib.sha256(json.dumps(spec["template"], sort_keys=True).encode()).hexdigest()[:10]
        wanted = int(spec.get("replicas", 1))
        mine = [pod for pod in self.pods if pod.deployment == name and pod.ends_at is None]
        fresh = [pod for pod in mine if pod.template == template]
        old = [pod for pod in mine if pod.template != template]
        # One more than wanted while a template replaces another, never one less.
        for _ in range(min(wanted - len(fresh), wanted + (1 if old else 0) - len(mine))):
            self._start(name, template, spec["template"])
        for pod in fresh[wanted:]:
            self._end(pod)
        spare = sum(pod.ready for pod in mine) - wanted
        for pod in sorted(old, key=lambda one: one.ready):
            if not pod.ready or spare > 0 or not wanted:
                spare -= pod.ready
                self._end(pod)

    def _start(self, deployment: str, template: str, body: Object) -> None:
        name = f"{deployment}-{template[:5]}-{secrets.token_hex(3)}"
        meta = {**body["metadata"], "name": name, "namespace": self.namespace}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": body["spec"]}
        self.api.apply(f"/api/v1/namespaces/{self.namespace}/pods/{name}", pod)
        uri = body["metadata"]["annotations"][SOURCE]
        version = uri.rpartition("/")[2]
        address, self._next = f"{self._net}.{self._next}", self._next + 1
        one = PlayedPod(name, deployment, template, version, address, body["spec"], self.folder / f"{name}.log")
        self.pods.append(one)

    def _run(self, pod: PlayedPod) -> None:
        container = pod.spec["containers"][0]
        own = {"--host=0.0.0.0": f"--host={pod.address}", "--drain-seconds=20": "--drain-seconds=5"}
        arguments = [str(own.get(a, a)) for a in container["args"]]
        with pod.log.open("ab") as log:
            pod.process = subprocess.Popen(
                [sys.executable, "-m", "trimtab.cli.app", *container["command"][1:], *arguments],
                env={**os.environ, **self.environ, "TRIMTAB_SPOOL": str(self.folder / "spool" / pod.name)},
                stdout=log,
                stderr=log,
            )

    def _end(self, pod: PlayedPod) -> None:
        if pod.ends_at is None:
            pod.ends_at = time.monotonic() + (PRE_STOP_SECONDS if pod.ready and not self.light else 0.0)

    def _watch(self) -> None:
        """Start, probe and end the processes."""
        now = time.monotonic()
        for pod in list(self.pods):
            pod.stuck = self.stuck.get(pod.version, "")
            if pod.ends_at is not None:
                if now >= pod.ends_at and self._has_ended(pod):
                    self.pods.remove(pod)
                continue
            if self.light:
                crashes = pod.version in self.crashing
                pod.ready = not (pod.stuck or crashes)
                pod.restarts, pod.exit_code = (4, 1) if crashes else (0, 0)
                continue
            if pod.process is None:
                if not pod.stuck and now >= pod.again_at:
                    self._run(pod)
                continue
            code = pod.process.poll()
            if code is not None:
                pod.process, pod.ready, pod.exit_code = None, False, code
                pod.restarts += 1
                pod.again_at = now + 0.2 * 2 ** min(pod.restarts, 5)
                continue
            pod.ready = _answers(f"http://{pod.address}:8080/v2/health/ready")

    def _has_ended(self, pod: PlayedPod) -> bool:
        if pod.process is not None and pod.process.poll() is None:
            pod.process.terminate()
            return False
        with contextlib.suppress(ApiError):
            self.api.delete(f"/api/v1/namespaces/{self.namespace}/pods/{pod.name}")
        return True

    def _report(self) -> None:
        for pod in list(self.pods):
            container = pod.spec["containers"][0]
            state: Object = {"running": {"startedAt": rfc3339(utcnow())[:19] + "Z"}}
            status: Object = {"name": container["name"], "ready": pod.ready, "restartCount": pod.restarts}
            runs = pod.ready if self.light else pod.process is not None
            if pod.stuck and not runs:
                state = {"waiting": {"reason": pod.stuck, "message": _PLAYED}}
            elif not runs:
                state = {"waiting": {"reason": "CrashLoopBackOff" if pod.restarts else "ContainerCreating"}}
            if pod.restarts:
                ended: Object = {"exitCode": pod.exit_code, "reason": "Error"}
                # A kubelet gives the end of the log where the container asks for it, and else nothing.
                if container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
                    ended["message"] = pod.log.read_text(errors="replace")[-400:] if pod.log.exists() else _PLAYED
                status["lastState"] = {"terminated": ended}
            mark = json.dumps([pod.ready, pod.restarts, next(iter(state)), pod.stuck, runs])
            if mark == pod.said:
                continue
            body = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": pod.name, "namespace": self.namespace},
                "status": {
                    "phase": "Running",
                    "podIP": pod.address,
                    "conditions": [{"type": "Ready", "status": str(pod.ready)}],
                    "containerStatuses": [{**status, "state": state, "image": container["image"], "imageID": ""}],
                },
            }
            self.api.apply(f"/api/v1/namespaces/{self.namespace}/pods/{pod.name}/status", body, force=True)
            pod.said = mark

    def _tell(self, name: str, deployment: Object) -> None:
        mine = [pod for pod in self.pods if pod.deployment == name and pod.ends_at is None]
        spec = deployment["spec"]
        template = hashlib.sha256(json.dumps(spec["template"], sort_keys=True).encode()).hexdigest()[:10]
        available = sum(pod.ready for pod in mine)
        enough = str(available >= int(spec.get("replicas", 1)))
        before = {c["type"]: c for c in (deployment.get("status") or {}).get("conditions") or []}.get("Available", {})
        at = before.get("lastTransitionTime") if before.get("status") == enough else None
        status = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": len(mine),
            "updatedReplicas": sum(pod.template == template for pod in mine),
            "readyReplicas": available,
            "availableReplicas": available,
            "conditions": [
                {
                    "type": "Available",
                    "status": enough,
                    "reason": "Played",
                    "message": "",
                    "lastTransitionTime": at or rfc3339(utcnow())[:19] + "Z",
                }
            ],
        }
        if self._known.get(name) == status:
            return
        meta = {"name": name, "namespace": self.namespace}
        body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "status": status}
        self.api.apply(f"{path(self.namespace, 'deployments')}/{name}/status", body, force=True)
        self._known[name] = status


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
