"""Waits with an end, and what stood there instead: pods, their last words, warnings."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from tests.servers.kubernetes.cluster import Cluster

T = TypeVar("T")
# Log lines of a pod, and warnings, that a message quotes.
LOG_LINES, WARNINGS = 12, 8


class Missed(AssertionError):
    """What was awaited did not come; the message says what was there instead."""


def until(
    look: Callable[[], T | None],
    seconds: float,
    what: str,
    seen: Callable[[], str] = lambda: "",
    every: float = 0.5,
) -> T:
    """What `look` gives as soon as it gives something.

    Args:
        look: gives something true, or None.
        seconds: how long to wait.
        what: what is awaited, for the message.
        seen: what was there instead, asked once at the end.
        every: pause between two looks, seconds.

    Raises:
        Missed: nothing came in time.
    """
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            try:
                instead = seen()
            except Exception as error:  # noqa: BLE001 - the message says it all the same
                instead = f"(it could not be looked at: {type(error).__name__}: {error})"
            raise Missed(f"{what}: not within {seconds:.0f} s.\n{instead}".rstrip())
        time.sleep(every)


def describe(cluster: Cluster, *namespaces: str, logs_of: Sequence[str] = ()) -> str:
    """The pods of namespaces, the last log lines of those that are not well, and the newest warnings.

    Args:
        cluster: where they are.
        namespaces: which.
        logs_of: beginnings of the names of pods whose log is shown in any case.
    """
    lines: list[str] = []
    for namespace in namespaces:
        pods = _items(cluster, "pods", namespace)
        lines.append(f"pods of {namespace}: {len(pods)}")
        for pod in pods:
            name, state = pod["metadata"]["name"], _state(pod)
            wanted = any(name.startswith(one) for one in logs_of)
            if state == "Succeeded" and not wanted:
                continue
            lines.append(f"  {name}: {state}")
            if wanted or state not in {"ready", "Succeeded"}:
                lines += [f"    | {line}" for line in _log(cluster, namespace, pod)]
        lines += [f"  warning: {text}" for text in _warnings(cluster, namespace)]
    return "\n".join(lines)


def _items(cluster: Cluster, kind: str, namespace: str) -> list[dict[str, Any]]:
    done = cluster.kubectl("get", kind, "-n", namespace, "-o", "json", timeout=30)
    found: list[dict[str, Any]] = json.loads(done.stdout)["items"] if done.returncode == 0 else []
    return found


def _state(pod: dict[str, Any]) -> str:
    """A pod's state in words: `ready`, or its phase with what its containers and conditions say."""
    status = pod.get("status", {})
    conditions = {c["type"]: c for c in status.get("conditions", [])}
    if conditions.get("Ready", {}).get("status") == "True":
        return "ready"
    words = [status.get("phase", "?")]
    if pod["metadata"].get("deletionTimestamp"):
        words.append("terminating")
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        words.append(f"not scheduled: {scheduled.get('message', '')}")
    for one in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        for kind, facts in one.get("state", {}).items():
            if kind != "running" and facts.get("reason") != "Completed":
                why = f"{facts.get('reason', '')} {facts.get('exitCode', '')} {facts.get('message', '')}".strip()
                words.append(f"{one['name']} {kind}: {' '.join(why.split())[:300]}")
    return "; ".join(words)


def _log(cluster: Cluster, namespace: str, pod: dict[str, Any]) -> list[str]:
    name, tail = pod["metadata"]["name"], f"--tail={LOG_LINES}"
    found: list[str] = []
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = cluster.kubectl("logs", name, "-n", namespace, "--all-containers", "--prefix", tail, timeout=20)
        found = [line[:400] for line in done.stdout.splitlines()[-2 * LOG_LINES :]]
        restarts = sum(c.get("restartCount", 0) for c in pod.get("status", {}).get("containerStatuses", ()))
        if restarts:
            before = cluster.kubectl("logs", name, "-n", namespace, "--previous", tail, timeout=20)
            found += [f"(before its restart) {line[:400]}" for line in before.stdout.splitlines()]
    return found


def _warnings(cluster: Cluster, namespace: str) -> list[str]:
    events = [e for e in _items(cluster, "events", namespace) if e.get("type") == "Warning"]
    events.sort(key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or ""))
    return [
        f"{e['involvedObject'].get('name')}: {e.get('reason')}: {' '.join(str(e.get('message')).split())[:300]}"
        for e in events[-WARNINGS:]
    ]
