"""`manifests/kind/faults` and `loop tell` on a real API: pods are killed, the store is away, everything is told."""

from __future__ import annotations

import os
import subprocess

import pytest
import yaml
from tests.cluster.test_manifests import pod_of
from tests.manifests.kustomize import MANIFESTS, Manifest, documents, named, overlay, templates
from tests.servers.kubernetes.cluster import Cluster, kubectl_program

pytestmark = pytest.mark.cluster


def script(cluster: Cluster, namespace: str, name: str, what: str) -> subprocess.CompletedProcess[str]:
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
        [str(MANIFESTS / "kind" / name), what],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def faults(cluster: Cluster, namespace: str, what: str) -> subprocess.CompletedProcess[str]:
    return script(cluster, namespace, "faults", what)


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


def test_the_loop_tells_why_it_failed(cluster_api: Cluster, namespace: str, objects: list[Manifest]) -> None:
    model = {"modelFormat": {"name": "trimtab"}, "runtime": "trimtab-server-v1", "storageUri": "s3://bucket/v1"}
    service = {
        "apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService",
        "metadata": {"name": "digits", "namespace": namespace}, "spec": {"predictor": {"model": model}},
    }  # fmt: skip
    event = {
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "some.1", "namespace": namespace},
        "involvedObject": {"kind": "Pod", "name": "some", "namespace": namespace}, "type": "Warning",
        "reason": "Failed", "message": "the image is not there",
    }  # fmt: skip
    cluster_api.kubectl("create", "-f", "-", input=yaml.safe_dump_all([service, event]), check=True)
    done = script(cluster_api, namespace, "loop", "tell")
    # What is not there (deployments without pods, namespace kubeflow) stops nothing.
    assert done.returncode == 0, done.stderr
    assert "the image is not there" in done.stdout
    assert "storageUri: s3://bucket/v1" in done.stdout
    for component in ("server", "watch", "hook", "minio"):
        assert f"\n{component}-" in done.stdout, component
