"""Every pair of pods, every port: what is allowed is the list below, and nothing else."""

from __future__ import annotations

import pytest
from tests.manifests.kustomize import build, named, of_kind, templates
from tests.manifests.network import Peer, allowed

OURS = {"watch", "hook", "server", "minio", "setup"}
PORTS = (53, 80, 443, 6443, 8080, 8090, 8443, 8887, 8888, 9000, 9090, 9091, 9092, 9093, 9095, 22, 5432)
WORKFLOW = {"workflows.argoproj.io/workflow": "digits-x"}


def peers(namespace: str) -> dict[str, Peer]:
    ours = {c: Peer(namespace, {"app.kubernetes.io/name": "trimtab", "app.kubernetes.io/component": c}) for c in OURS}
    return ours | {
        "run": Peer(namespace, WORKFLOW),
        "stranger": Peer(namespace, {"app": "stranger"}),
        "kubeflow run": Peer("kubeflow", WORKFLOW),
        "kubeflow api": Peer("kubeflow", {"app": "ml-pipeline"}),
        "kubeflow metadata": Peer("kubeflow", {"component": "metadata-grpc-server"}),
        "kubeflow ui": Peer("kubeflow", {"app": "ml-pipeline-ui"}),
        "prometheus": Peer("monitoring", {"app.kubernetes.io/name": "prometheus"}),
        "alertmanager": Peer("monitoring", {"app.kubernetes.io/name": "alertmanager"}),
        "grafana": Peer("monitoring", {"app.kubernetes.io/name": "grafana"}),
        "envoy": Peer("envoy-gateway-system", {"app.kubernetes.io/name": "envoy"}),
        "dns": Peer("kube-system", {"k8s-app": "kube-dns"}),
        "elsewhere": Peer("default", {"app.kubernetes.io/name": "trimtab", "app.kubernetes.io/component": "hook"}),
        "kubernetes api": Peer(address="172.18.0.2"),
        "internet": Peer(address="203.0.113.7"),
    }


STORE = {(who, "minio", 9000) for who in ("watch", "hook", "server", "setup", "run", "kubeflow run")}
ALLOWED = (
    STORE
    | {(who, "dns", 53) for who in (*OURS, "run", "stranger")}
    | {("watch", "hook", 8090), ("alertmanager", "hook", 8090)}
    | {("prometheus", "watch", 9092), ("prometheus", "hook", 9095), ("prometheus", "server", 9091)}
    | {("hook", "server", 9091), ("envoy", "server", 8080)}
    | {("hook", "kubeflow api", 8888), ("hook", "kubeflow api", 8443)}
    | {("run", "kubeflow api", 8887), ("run", "kubeflow api", 8888), ("run", "kubeflow metadata", 8080)}
    # The Kubernetes API is an address; which one differs.
    | {(who, where, p) for who in ("hook", "run") for where in ("kubernetes api", "internet") for p in (443, 6443)}
)
# With a store outside, processes reach the internet by HTTPS, the cluster's own networks not by that rule.
OUTSIDE = {(who, "internet", 443) for who in ("watch", "server")}


@pytest.mark.parametrize(
    ("name", "wanted"), [("local", ALLOWED), ("staging", ALLOWED), ("production", ALLOWED | OUTSIDE)]
)
def test_what_is_allowed_is_what_is_listed(name: str, wanted: set[tuple[str, str, int]]) -> None:
    objects = build(f"manifests/overlays/{name}")
    policies = of_kind(objects, "NetworkPolicy")
    namespace = policies[0]["metadata"]["namespace"]
    known = peers(namespace)
    found = {
        (a, b, port)
        for a, source in known.items()
        for b, target in known.items()
        for port in PORTS
        # Other namespaces' own affairs are not ours.
        if a != b and namespace in {source.namespace, target.namespace}
        if allowed(policies, source, target, port)
    }
    assert found == wanted


def test_names_are_found_by_both_protocols() -> None:
    policies = of_kind(build("manifests/overlays/local"), "NetworkPolicy")
    known = peers("trimtab")
    assert allowed(policies, known["watch"], known["dns"], 53, "UDP")
    assert not allowed(policies, known["watch"], known["internet"], 53, "UDP")


def test_the_labels_are_those_of_our_pods() -> None:
    objects = build("manifests/overlays/local")
    components = {t["metadata"]["labels"]["app.kubernetes.io/component"] for _, t in templates(objects)}
    assert components == OURS
    assert named(objects, "NetworkPolicy", "trimtab-deny")["spec"]["podSelector"] == {}
