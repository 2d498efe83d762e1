"""Our admission policies on the real API server: what they let pass, and what they refuse with which words.

They are cluster-scoped, so every test applies copies under names of its own, bound to a label of its own, and removes
them: no other test's namespace ever meets them.
"""

from __future__ import annotations

import copy
import functools
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from tests.manifests.kustomize import OVERLAYS, Manifest, build, documents, named, of_kind, overlay
from tests.servers.kubernetes.cluster import Cluster
from tests.servers.kubernetes.processes import wait_until

pytestmark = pytest.mark.cluster
LABEL = "trimtab/policies"


@pytest.fixture
def guarded(cluster_api: Cluster) -> Iterator[str]:
    """A namespace in which the policies count."""
    mark = f"enforce-{secrets.token_hex(4)}"
    policies = copy.deepcopy(build("manifests/policies"))
    for one in policies:
        one["metadata"]["name"] += f"-{mark}"
        if one["kind"].endswith("Binding"):
            one["spec"]["policyName"] += f"-{mark}"
            one["spec"]["matchResources"]["namespaceSelector"] = {"matchLabels": {LABEL: mark}}
    text = yaml.safe_dump_all(policies)
    try:
        cluster_api.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", input=text, check=True)
        # Without Pod Security: what is refused here is refused by the policies.
        with cluster_api.namespace(restricted=False) as name:
            cluster_api.kubectl("label", "namespace", name, f"{LABEL}={mark}", check=True)
            for kind in ("limits", "probes", "root", "latest", "any verb"):
                # A policy counts a moment after it was made.
                one = REFUSED[kind][0](name)
                wait_until(functools.partial(refusal, cluster_api, one), 60, f"policy {kind}")
            yield name
    finally:
        cluster_api.kubectl("delete", "--ignore-not-found", "-f", "-", input=text, check=True)


def refusal(cluster: Cluster, manifest: Manifest) -> str:
    """Why the API server refuses an object; empty when it does not."""
    done = cluster.kubectl("create", "--dry-run=server", "-f", "-", input=yaml.safe_dump(manifest))
    return done.stderr if done.returncode else ""


def good(namespace: str, kind: str = "Deployment") -> Any:
    """The watch's Deployment, or another workload made from its template."""
    one = named(documents(overlay("base", namespace)), "Deployment", "trimtab-watch")
    one["metadata"]["name"] = "good"
    template = one["spec"]["template"]
    template["spec"]["serviceAccountName"] = "default"
    container(one)["image"] = "registry.example/a:1.0"
    if kind == "Pod":
        return {"apiVersion": "v1", "kind": "Pod", "metadata": one["metadata"], "spec": template["spec"]}
    if kind == "CronJob":
        template["spec"]["restartPolicy"] = "Never"
        job = {"template": template}
        spec = {"schedule": "0 0 * * *", "jobTemplate": {"spec": job}}
        return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": one["metadata"], "spec": spec}
    return one


def container(one: Manifest) -> Any:
    """Its only container."""
    spec = one["spec"]
    spec = spec["jobTemplate"]["spec"] if "jobTemplate" in spec else spec
    return (spec["template"]["spec"] if "template" in spec else spec)["containers"][0]


def changed(how: Callable[[Any], object], kind: str = "Deployment") -> Callable[[str], Manifest]:
    def make(namespace: str) -> Manifest:
        one: Manifest = good(namespace, kind)
        how(container(one))
        return one

    return make


def role(**rule: list[str]) -> Callable[[str], Manifest]:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"], **rule}]
    return lambda namespace: {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "some", "namespace": namespace},
        "rules": rules,
    }


REFUSED: dict[str, tuple[Callable[[str], Manifest], str]] = {
    "limits": (changed(lambda c: c["resources"]["limits"].pop("memory")), "requests and limits of cpu and memory"),
    "no resources in a pod": (changed(lambda c: c.pop("resources"), "Pod"), "requests and limits of cpu and memory"),
    "requests in a schedule": (changed(lambda c: c["resources"].pop("requests"), "CronJob"), "requests and limits"),
    "probes": (changed(lambda c: c.pop("livenessProbe")), "readinessProbe and livenessProbe are missing in: watch"),
    "root": (changed(lambda c: c["securityContext"].update(runAsNonRoot=False)), "runAsNonRoot"),
    "user 0": (changed(lambda c: c["securityContext"].update(runAsUser=0)), "runAsNonRoot"),
    "escalation": (changed(lambda c: c["securityContext"].pop("allowPrivilegeEscalation"), "Pod"), "allowPrivilege"),
    "capabilities": (changed(lambda c: c["securityContext"].pop("capabilities")), "capabilities.drop"),
    "latest": (changed(lambda c: c.update(image="registry.example/a:latest")), "a tag other than latest"),
    "untagged": (changed(lambda c: c.update(image="registry.example:5000/a"), "Pod"), "a tag other than latest"),
    "any verb": (role(verbs=["*"]), "names groups, resources and verbs"),
    "any resource": (role(resources=["*"]), "names groups, resources and verbs"),
    "any subresource": (role(resources=["pods/*"]), "names groups, resources and verbs"),
    "any group": (role(apiGroups=["*"]), "names groups, resources and verbs"),
    "escalate": (role(verbs=["escalate"]), "names groups, resources and verbs"),
}


def test_what_is_refused_and_what_passes(cluster_api: Cluster, guarded: str) -> None:
    for kind in ("Deployment", "Pod", "CronJob"):
        assert refusal(cluster_api, good(guarded, kind)) == ""
    assert refusal(cluster_api, role()(guarded)) == ""
    by_digest = changed(lambda c: c.update(image=f"registry.example:5000/a@sha256:{'0' * 64}"))
    assert refusal(cluster_api, by_digest(guarded)) == ""
    for name, (make, words) in REFUSED.items():
        assert words in refusal(cluster_api, make(guarded)), name


def test_an_init_container_is_looked_at_too(cluster_api: Cluster, guarded: str) -> None:
    one = good(guarded, "Pod")
    first = {**copy.deepcopy(container(one)), "name": "first", "image": "registry.example/b"}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        first.pop(probe)
    one["spec"]["initContainers"] = [first]
    assert "first (registry.example/b)" in refusal(cluster_api, one)


@pytest.mark.parametrize("name", OVERLAYS)
def test_our_own_overlays_pass(name: str, cluster_api: Cluster, guarded: str) -> None:
    kinds = ("Deployment", "StatefulSet", "Job", "Role")
    for one in of_kind(documents(overlay(name, guarded)), *kinds):
        assert refusal(cluster_api, one) == "", one["metadata"]["name"]


def test_other_namespaces_are_left_alone(cluster_api: Cluster, guarded: str) -> None:
    with cluster_api.namespace(restricted=False) as other:
        make, _ = REFUSED["latest"]
        assert refusal(cluster_api, make(other)) == ""


def test_the_policies_are_consistent(cluster_api: Cluster, guarded: str) -> None:
    # Where the policy controller runs, it checks the types of each expression and says what is wrong.
    said = cluster_api.kubectl("get", "validatingadmissionpolicies", "-o", "yaml", check=True).stdout
    warned = [
        (p["metadata"]["name"], warnings)
        for p in yaml.safe_load(said)["items"]
        if (warnings := p.get("status", {}).get("typeChecking", {}).get("expressionWarnings"))
    ]
    # One policy looks at several kinds: a field that one of them has not is a warning, guarded by `kind` or `has`.
    assert [w for w in warned if "non-existing" in str(w)] == []
