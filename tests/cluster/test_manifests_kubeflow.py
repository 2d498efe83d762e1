"""Component kfp-hardening on Kubeflow's objects, on the real API server, in a namespace of each test's own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
import yaml
from tests.cluster.test_manifests import APPLY, pod_of
from tests.cluster.test_rbac import can
from tests.manifests.kustomize import Manifest, documents, overlay, templates
from tests.servers.kubernetes.cluster import Cluster

pytestmark = pytest.mark.cluster
HOOK = "system:serviceaccount:trimtab:trimtab-hook"


@pytest.fixture
def kubeflow(cluster_api: Cluster, namespace: str) -> Iterator[tuple[str, list[Manifest]]]:
    """A namespace with Kubeflow's objects, hardened; what is cluster-wide has a name of its own, and goes."""
    parts = ["tests/manifests/kubeflow", "manifests/runs"]
    objects = documents(overlay("", namespace, ["kfp-hardening"], parts))
    for one in objects:
        if one["kind"] == "ClusterRoleBinding":
            one["metadata"]["name"] += f"-{secrets.token_hex(4)}"
            (subject,) = one["subjects"]
            assert subject == {"kind": "ServiceAccount", "name": "ml-pipeline", "namespace": "kubeflow"}
            subject["namespace"] = namespace
    text = yaml.safe_dump_all(objects)
    wide = yaml.safe_dump_all([o for o in objects if o["kind"] == "ClusterRoleBinding"])
    try:
        cluster_api.kubectl(*APPLY, input=text, check=True)
        yield namespace, objects
    finally:
        cluster_api.kubectl("delete", "--ignore-not-found", "-f", "-", input=wide, check=True)


def test_its_pods_are_admitted_where_pod_security_is_restricted(
    cluster_api: Cluster, kubeflow: tuple[str, list[Manifest]]
) -> None:
    namespace, objects = kubeflow
    for owner, template in templates(objects):
        template["spec"].setdefault("volumes", [])
        pod = yaml.safe_dump(pod_of(template, namespace))
        done = cluster_api.kubectl("create", "--dry-run=server", "-f", "-", input=pod)
        assert done.returncode == 0, f"{owner}: {done.stderr}"


def test_a_runs_pod_may_what_it_needs(cluster_api: Cluster, kubeflow: tuple[str, list[Manifest]]) -> None:
    namespace, _ = kubeflow
    runner = f"system:serviceaccount:{namespace}:pipeline-runner"
    for verb, what in (
        ("get", "configmaps/kfp-launcher"),
        ("get", "secrets/trimtab-s3-artifacts"),
        ("create", "workflowtaskresults.argoproj.io"),
        ("patch", "workflowtaskresults.argoproj.io"),
    ):
        assert can(cluster_api, runner, namespace, verb, what), (verb, what)
    for verb, what in (
        ("get", "secrets/trimtab-signing"),
        ("get", "secrets/mlpipeline-minio-artifact"),
        ("list", "secrets"),
        ("create", "pods"),
        ("create", "pods/exec"),
        ("patch", "deployments.apps"),
        ("patch", "workflows.argoproj.io"),
    ):
        assert not can(cluster_api, runner, namespace, verb, what), (verb, what)


def test_the_hook_submits_and_looks_why_a_run_fails(cluster_api: Cluster, kubeflow: tuple[str, list[Manifest]]) -> None:
    namespace, _ = kubeflow
    # What the proxy before Kubeflow's API asks the API server about a token's owner.
    for verb in ("get", "create", "update", "delete"):
        assert can(cluster_api, HOOK, namespace, verb, "pipelines.pipelines.kubeflow.org"), verb
        stranger = f"system:serviceaccount:{namespace}:default"
        assert not can(cluster_api, stranger, namespace, verb, "pipelines.pipelines.kubeflow.org"), verb
    for verb, what in (("list", "pods"), ("list", "events"), ("list", "workflows.argoproj.io")):
        assert can(cluster_api, HOOK, namespace, verb, what), (verb, what)
    for verb, what in (
        ("get", "secrets"),
        ("get", "serviceaccounts"),
        ("get", "pods/log"),
        ("watch", "pods"),
        ("delete", "pods"),
        ("create", "pods/exec"),
        ("patch", "workflows.argoproj.io"),
    ):
        assert not can(cluster_api, HOOK, namespace, verb, what), (verb, what)
    # The proxy may ask about tokens and rights: its account has Kubernetes' own role for that.
    proxy = f"system:serviceaccount:{namespace}:ml-pipeline"
    assert can(cluster_api, proxy, "", "create", "tokenreviews.authentication.k8s.io")
    assert can(cluster_api, proxy, "", "create", "subjectaccessreviews.authorization.k8s.io")
