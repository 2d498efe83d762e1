"""The API server that the other cluster tests lean on: strict, with Pod Security, RBAC and every CRD."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from tests.servers.kubernetes.cluster import CRDS, Cluster

pytestmark = pytest.mark.cluster


def test_it_has_every_crd_and_kserve_has_canaries(cluster_api: Cluster, namespace: str) -> None:
    there = cluster_api.kubectl("get", "crd", "-o", "name", check=True).stdout
    assert [f.stem for f in CRDS.glob("*.yaml") if f.stem not in there] == []
    manifest: dict[str, Any] = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "digits", "namespace": namespace},
        "spec": {
            "predictor": {"model": {"modelFormat": {"name": "trimtab"}, "storageUri": "s3://bucket/a"}},
            "canary": [
                {
                    "trafficPercent": 10,
                    "predictor": {
                        "name": "v2",
                        "model": {
                            "name": "kserve-container",
                            "modelFormat": {"name": "trimtab"},
                            "storageUri": "s3://bucket/b",
                        },
                    },
                }
            ],
        },
    }
    cluster_api.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump(manifest), check=True)
    manifest["spec"]["canari"] = []
    refused = cluster_api.kubectl("apply", "--dry-run=server", "-f", "-", input=yaml.safe_dump(manifest))
    assert "canari" in refused.stderr


def test_pod_security_is_enforced(cluster_api: Cluster, namespace: str) -> None:
    refused = cluster_api.kubectl("run", "bare", "--image=none", "-n", namespace)
    assert refused.returncode == 1
    assert "violates PodSecurity" in refused.stderr


def test_an_account_may_do_what_it_was_given_and_nothing_else(cluster_api: Cluster, namespace: str) -> None:
    cluster_api.kubectl("create", "role", "reader", "--verb=get", "--resource=configmaps", "-n", namespace, check=True)
    cluster_api.kubectl(
        "create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={namespace}:default", "-n", namespace,
        check=True,
    )  # fmt: skip
    account = cluster_api.as_account(namespace, "default")
    assert cluster_api.kubectl("get", "configmap", "kube-root-ca.crt", kubeconfig=account).returncode == 0
    refused = cluster_api.kubectl("get", "secrets", kubeconfig=account)
    assert "forbidden" in refused.stderr


def test_a_namespace_goes_with_what_is_in_it(cluster_api: Cluster) -> None:
    with cluster_api.namespace(wait=True) as name:
        cluster_api.kubectl("create", "configmap", "one", "-n", name, check=True)
    assert cluster_api.kubectl("get", "namespace", name).returncode == 1


def test_the_python_client_is_the_administrator(cluster_api: Cluster, namespace: str) -> None:
    from kubernetes.client import CoreV1Api

    with cluster_api.client() as client:
        assert CoreV1Api(client).read_namespace(namespace).metadata.name == namespace
