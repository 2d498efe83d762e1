"""`manifests/kind/faults` on a real API: the right pods are killed, the store goes and comes back."""

from __future__ import annotations

import os
import subprocess

import pytest
import yaml
from tests.cluster.test_manifests import pod_of
from tests.manifests.kustomize import MANIFESTS, Manifest, documents, named, overlay, templates
from tests.servers.kubernetes.cluster import Cluster, kubectl_program

pytestmark = pytest.mark.cluster


def faults(cluster: Cluster, namespace: str, what: str) -> subprocess.CompletedProcess[str]:
    environ = {
        "PATH": os.environ["PATH"],
        # kubectl keeps a cache beside it.
        "HOME": str(cluster.folder),
        "KUBECONFIG": str(cluster.kubeconfig),
        "KUBECTL": kubectl_program(),
        "NAMESPACE": namespace,
        "SECONDS_AWAY": "0",
        # No kubelet and no controllers: nothing would come back.
        "WAIT": "no",
    }
    return subprocess.run(
        [str(MANIFESTS / "kind" / "faults"), what],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def objects(cluster_api: Cluster, namespace: str) -> list[Manifest]:
    """The local overlay's objects; a pod of each kind of process is there, two of the server."""
    found = documents(overlay("local", namespace))
    accounts = [o for o in found if o["kind"] == "ServiceAccount"]
    pods = [pod_of(template, namespace) for _, template in templates(found)]
    by_component = {p["metadata"]["labels"]["app.kubernetes.io/component"]: p for p in pods}
    made = [named(found, "StatefulSet", "trimtab-minio"), *accounts]
    for component, pod in [*by_component.items(), ("server", by_component["server"])]:
        metadata = {k: v for k, v in pod["metadata"].items() if k != "generateName"}
        made.append({**pod, "metadata": {**metadata, "name": f"{component}-{len(made)}"}})
    cluster_api.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(made), check=True)
    return found


def components(cluster: Cluster, namespace: str) -> list[str]:
    path = "jsonpath={.items[*].metadata.labels.app\\.kubernetes\\.io/component}"
    return sorted(cluster.kubectl("get", "pods", "-n", namespace, "-o", path, check=True).stdout.split())


def test_a_pod_of_each_process_is_killed(cluster_api: Cluster, namespace: str, objects: list[Manifest]) -> None:
    # A cluster with controllers may have started pods of its own for what is scaled.
    before = components(cluster_api, namespace)
    assert before.count("server") == 2
    done = faults(cluster_api, namespace, "kill")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("is killed") == 3
    assert components(cluster_api, namespace) == ["minio", "server", "setup"]
    again = faults(cluster_api, namespace, "kill")
    assert again.returncode == 1
    assert "no pod of the watch" in again.stderr


def test_the_store_goes_and_comes_back(cluster_api: Cluster, namespace: str, objects: list[Manifest]) -> None:
    done = faults(cluster_api, namespace, "cut")
    assert done.returncode == 0, done.stderr
    found = cluster_api.kubectl(
        "get", "statefulset", "trimtab-minio", "-n", namespace, "-o", "jsonpath={.spec.replicas} {.metadata.generation}"
    )
    # Made, taken away, brought back.
    assert found.stdout == "1 3"


def test_it_says_what_it_can(cluster_api: Cluster, namespace: str) -> None:
    done = faults(cluster_api, namespace, "explode")
    assert (done.returncode, done.stderr) == (2, "faults: kill or cut\n")
