"""The namespace on Kubernetes: version, Pod Security, what the manifests put there, quota, GPUs, pods in trouble."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from trimtab.core import grants
from trimtab.core.records import parse_time, utcnow
from trimtab.core.store.keys import MAX_NAME
from trimtab.doctor.checks import Finding, State
from trimtab.doctor.kube import Kube, Unseen, core, custom, decoded

if TYPE_CHECKING:
    from trimtab.doctor.checks import Where

# What the manifests use (preStop's `sleep`, CEL admission policies) is all on by default from here.
LEAST = (1, 30)
# KServe joins model, namespace and `-predictor` into host names of at most 63 characters.
HOST, SUFFIX = 63, 11
KEYS = ("access_key", "secret_key", "endpoint", "region")
GPU = "nvidia.com/gpu"
RECENT = timedelta(hours=1)
# Reasons of events, and what to do about them.
EVENTS = {
    "Failed": "see that the image exists under that name and that the nodes may pull it (imagePullSecrets)",
    "ErrImagePull": "see that the image exists under that name and that the nodes may pull it (imagePullSecrets)",
    "FailedScheduling": "no node has room, the GPU or the labels that are asked for: kubectl describe pod",
    "FailedCreate": "Pod Security, a quota or a missing ServiceAccount refuses the pod",
    "FailedMount": "a Secret or ConfigMap that the pod mounts is missing",
}
APPLY = "apply your overlay (docs/kubernetes.md)"


def check_kubernetes(where: Where, kube: Kube) -> Iterator[Finding]:
    """Reachable, and new enough."""
    told = kube.get("/version") or {}
    version = str(told.get("gitVersion", "unknown"))
    digits = tuple(
        int(part) for part in (str(told.get("major", "")), str(told.get("minor", "")).rstrip("+")) if part.isdigit()
    )
    if len(digits) == 2 and digits < LEAST:
        least = ".".join(map(str, LEAST))
        yield Finding(
            "Kubernetes", "warning", f"{kube.host} is {version}", f"the manifests are tried on {least} and later"
        )
    else:
        yield Finding("Kubernetes", "ok", f"{kube.host} answers ({version}), namespace {where.namespace}")


def check_namespace(where: Where, kube: Kube) -> Iterator[Finding]:
    """There, short enough for host names, and held to Pod Security `restricted`."""
    name = where.namespace
    found = kube.get(f"/api/v1/namespaces/{name}")
    if found is None:
        yield Finding("namespace", "failed", f"there is no namespace {name}", f"kubectl create namespace {name}")
        return
    room = HOST - SUFFIX - len(name)
    if room < MAX_NAME:
        said = f"with namespace {name} a model's name has at most {room} characters"
        yield Finding("namespace", "warning", said, "KServe joins both into host names; take a shorter namespace")
    else:
        yield Finding("namespace", "ok", name)
    level = (found["metadata"].get("labels") or {}).get("pod-security.kubernetes.io/enforce", "")
    if level != "restricted":
        hint = f"kubectl label namespace {name} pod-security.kubernetes.io/enforce=restricted --overwrite"
        yield Finding("Pod Security", "warning", f"{name} enforces {level or 'nothing'}", hint)
    else:
        yield Finding("Pod Security", "ok", f"{name} enforces restricted, in which all of ours runs")


def check_accounts(where: Where, kube: Kube) -> Iterator[Finding]:
    """The ServiceAccounts that our pods run as."""
    wanted = [(where.namespace, "trimtab-watch"), (where.namespace, "trimtab-hook"), (where.runs_in, "pipeline-runner")]
    lacking = [f"{name} in {space}" for space, name in wanted if kube.get(core(space, "serviceaccounts", name)) is None]
    if lacking:
        yield Finding("accounts", "failed", f"no ServiceAccount {', '.join(lacking)}", APPLY)
    else:
        yield Finding("accounts", "ok", "watch, hook and pipeline-runner have ServiceAccounts")


def check_secrets(where: Where, kube: Kube) -> Iterator[Finding]:
    """The Secrets that our pods mount, with the keys they read. Values are never shown."""
    wanted: dict[tuple[str, str], tuple[str, ...]] = {
        (where.runs_in if user == "pipeline" else where.namespace, f"trimtab-s3-{user}"): KEYS for user in grants.USERS
    }
    wanted |= {
        (where.runs_in, "trimtab-signing"): ("signing.pem",),
        (where.namespace, "trimtab-tokens"): ("token", "tokens.json"),
        (where.namespace, "trimtab-server-tokens"): ("token", "tokens.json"),
    }
    if _has_minio(where, kube):
        # Its setup makes these two users, so that it mounts their keys here too.
        for name in ("trimtab-s3-pipeline", "trimtab-s3-artifacts"):
            wanted.setdefault((where.namespace, name), KEYS[:2])
    well = 0
    for (namespace, name), keys in wanted.items():
        secret = kube.get(core(namespace, "secrets", name))
        if secret is None:
            hint = "docs/kubernetes.md lists the Secrets; none is in Git"
            yield Finding("secrets", "failed", f"no Secret {name} in {namespace}", hint)
            continue
        entries = decoded(secret)
        lacking = [key for key in keys if not entries.get(key)]
        if lacking:
            yield Finding(
                "secrets",
                "failed",
                f"Secret {name} in {namespace} lacks {', '.join(lacking)}",
                f"it has {', '.join(sorted(entries)) or 'nothing'}",
            )
        else:
            well += 1
    for namespace in dict.fromkeys((where.namespace, where.runs_in)):
        trusted = kube.get(core(namespace, "configmaps", "trimtab-trusted-keys"))
        if not (trusted or {}).get("data"):
            hint = "put the public half of the signing key there: openssl pkey -in signing.pem -pubout"
            # Servers do not start without; where runs execute, evaluate mounts it if it is there.
            state: State = "failed" if namespace == where.namespace else "warning"
            yield Finding("secrets", state, f"ConfigMap trimtab-trusted-keys in {namespace} has no key", hint)
    if well:
        yield Finding("secrets", "ok", f"{well} of {len(wanted)} Secrets are there with their keys")


def _has_minio(where: Where, kube: Kube) -> bool:
    """Whether the component `minio` is applied, as far as this account sees."""
    try:
        return kube.get(core(where.namespace, "secrets", "trimtab-minio-root")) is not None
    except Unseen:
        return False


def check_deployed(where: Where, kube: Kube) -> Iterator[Finding]:
    """Watch and hook run."""
    for name in ("trimtab-watch", "trimtab-hook"):
        found = kube.get(custom("apps", "v1", "deployments", name, where.namespace))
        part = name.removeprefix("trimtab-")
        check = f"{part} deployed"
        if found is None:
            yield Finding(check, "failed", f"no Deployment {name} in {where.namespace}", APPLY)
        elif not (found.get("status") or {}).get("availableReplicas"):
            hint = f"kubectl -n {where.namespace} describe pod -l app.kubernetes.io/component={part}"
            yield Finding(check, "failed", f"{name} has no available pod", hint)
        else:
            yield Finding(check, "ok", f"{name} is available")


def check_gpus(where: Where, kube: Kube) -> Iterator[Finding]:
    """Which nodes have GPUs, and what the namespace may take of them."""
    nodes = [node for node in kube.items("/api/v1/nodes") if _count((node.get("status") or {}).get("allocatable"), GPU)]
    free = sum(_count(node["status"]["allocatable"], GPU) for node in nodes)
    if not nodes:
        yield Finding(
            "GPUs", "ok", "no node has one: stages train on CPUs (no `accelerator` in the project's resources)"
        )
        return
    says = f"{free} on {len(nodes)} {'node' if len(nodes) == 1 else 'nodes'}"
    for quota in kube.items(core(where.runs_in, "resourcequotas")):
        hard = ((quota.get("status") or {}).get("hard") or quota["spec"].get("hard") or {}).get(f"requests.{GPU}")
        if hard is not None:
            used = ((quota.get("status") or {}).get("used") or {}).get(f"requests.{GPU}", "0")
            says += f"; {where.runs_in} may have {hard}, {used} in use"
            if int(hard) <= int(used):
                hint = f"raise ResourceQuota {quota['metadata']['name']}, or wait: runs that ask for a GPU stay pending"
                yield Finding("GPUs", "warning", says, hint)
                return
    yield Finding("GPUs", "ok", says)


def check_pods(where: Where, kube: Kube) -> Iterator[Finding]:
    """Pods that do not start: images that cannot be pulled, nothing to run on, refused by the namespace."""
    seen: dict[tuple[str, str], str] = {}
    for namespace in dict.fromkeys((where.namespace, where.runs_in)):
        for event in kube.items(f"{core(namespace, 'events')}?fieldSelector=type%3DWarning"):
            reason, last = str(event.get("reason", "")), _moment(event)
            if reason not in EVENTS or (last is not None and utcnow() - last > RECENT):
                continue
            about = event.get("involvedObject") or {}
            message = str(event.get("message", "")).split("\n")[0][:200]
            if reason == "Failed" and "mage" not in message:
                continue
            seen[f"{namespace}/{about.get('name', '?')}", reason] = message
    for (name, reason), message in list(seen.items())[:10]:
        yield Finding("pods", "warning", f"{name}: {message}", EVENTS[reason])
    if not seen:
        yield Finding("pods", "ok", f"none that failed to start in the last {RECENT.seconds // 3600} h")


def _count(resources: dict[str, Any] | None, name: str) -> int:
    value = str((resources or {}).get(name, "0"))
    return int(value) if value.isdigit() else 0


def _moment(event: dict[str, Any]) -> datetime | None:
    text = (
        event.get("lastTimestamp") or event.get("eventTime") or (event.get("metadata") or {}).get("creationTimestamp")
    )
    return parse_time(str(text)) if text else None
