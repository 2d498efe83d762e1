"""Autoscaling by requests in flight needs a custom metrics API: what `doctor` and `cluster-up` say of the one there is.

An adapter's part is played by a server that answers discovery alone, behind the API server's own aggregation. The
adapter's rule is tried on a real Prometheus in tests/manifests/test_autoscaling.py.
"""

from __future__ import annotations

import json
import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.cluster.test_cluster_up import Up, up
from tests.cluster.test_doctor_cluster import apply, look, seen, thing
from tests.cluster.test_rbac import can
from tests.servers.kubernetes.api_server import ApiServer
from tests.servers.kubernetes.cluster import Cluster
from tests.servers.kubernetes.processes import wait_until
from tests.serving.bundles import Place

from trimtab.doctor import Finding
from trimtab.monitoring.kserve.scaling import METRIC

__all__ = ["up"]
pytestmark = pytest.mark.cluster
API, VERSION = "v1beta1.custom.metrics.k8s.io", "custom.metrics.k8s.io/v1beta1"
CONTROLLER = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"


class Adapter:
    """What an adapter answers: which metrics it has.

    Attributes:
        offers: their names.
    """

    def __init__(self, cluster: ApiServer) -> None:
        self.offers: list[str] = []
        pair = cluster.authority.issue("adapter", "adapter", hosts=["localhost"])
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair.certificate, pair.key)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        adapter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                resources = [
                    {"name": n, "singularName": "", "namespaced": True, "kind": "MetricValueList", "verbs": ["get"]}
                    for n in adapter.offers
                ]
                told = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": VERSION, "resources": resources}
                body = json.dumps(told).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Silent."""

        return Handler

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A store with a model whose pods are to follow the load."""
    made = Place(tmp_path)
    made.say("numbers", "promoted", made.publish("numbers", "numbers", 1, serving={"replicas": 2, "max_replicas": 4}))
    return made


@contextmanager
def aggregated(cluster: Cluster, namespace: str, port: int, **annotations: str) -> Iterator[None]:
    """The API server hands the custom metrics API to a port of this machine."""
    spec = {
        "group": "custom.metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
        "insecureSkipTLSVerify": True, "service": {"name": "adapter", "namespace": namespace, "port": port},
    }  # fmt: skip
    service = thing("Service", "adapter", namespace, spec={"type": "ExternalName", "externalName": "localhost"})
    made = thing("APIService", API, version="apiregistration.k8s.io/v1", spec=spec)
    made["metadata"]["annotations"] = annotations
    try:
        apply(cluster, service, made)
        yield
    finally:
        cluster.kubectl("delete", "apiservice", API, "--ignore-not-found", check=True)


def alone(cluster: Cluster) -> ApiServer:
    """The API server of the tests; another cluster's custom metrics API is not ours to take."""
    if not isinstance(cluster, ApiServer):
        pytest.skip("the custom metrics API is played behind an API server of the tests' own")
    return cluster


def test_what_autoscalers_lack_is_told_with_what_to_do(cluster_api: Cluster, namespace: str, place: Place) -> None:
    cluster = alone(cluster_api)

    def told() -> Finding:
        return seen(look(cluster.kubeconfig, namespace, environ=place.environ))["autoscaling"]

    absent = told()
    assert (absent.state, "no custom metrics API: the pods of numbers do not" in absent.says) == ("warning", True)
    assert "manifests/cluster/prometheus-adapter/values.yaml" in absent.hint
    adapter = Adapter(cluster)
    try:
        with aggregated(cluster, namespace, adapter.port):
            wait_until(lambda: "does not offer" in told().says, 60, "the API answers")
            assert (told().state, METRIC in told().says, "add the rule" in told().hint) == ("warning", True, True)
            adapter.offers = [f"pods/{METRIC}", f"namespaces/{METRIC}"]
            assert (told().state, told().says) == ("ok", f"autoscalers are told {METRIC}, for numbers")
            # Kubernetes lets its autoscaler ask, with no right of ours.
            assert can(cluster, CONTROLLER, namespace, "get", "pods.custom.metrics.k8s.io")
            adapter.stop()
            wait_until(lambda: "does not answer" in told().says, 60, "the API is away")
            assert (told().state, f"kubectl describe apiservice {API}" in told().hint) == ("warning", True)
    finally:
        adapter.stop()
    wait_until(lambda: "no custom metrics API" in told().says, 60, "the API is gone")


def test_a_fixed_number_of_pods_needs_no_metric(cluster_api: Cluster, namespace: str, place: Place) -> None:
    place.say("numbers", "promoted", place.publish("numbers", "numbers", 2, serving={"replicas": 2}))
    told = seen(look(cluster_api.kubeconfig, namespace, environ=place.environ))["autoscaling"]
    assert (told.state, "the number of pods is fixed" in told.says) == ("ok", True)


def test_cluster_up_leaves_anothers_adapter_alone(up: Up, cluster_api: Cluster, tmp_path: Path) -> None:
    cluster = alone(cluster_api)
    helm = tmp_path / "bin" / "helm"
    helm.parent.mkdir()
    helm.write_text('#!/bin/sh\necho "helm $*"\n')
    helm.chmod(0o755)
    words, path = ("--no-kind", "--only", "scaling"), f"{helm.parent}:{os.environ['PATH']}"
    with cluster.namespace() as name:
        with aggregated(cluster, name, 1, **{"meta.helm.sh/release-name": "theirs"}):
            done = up.run(*words, PATH=path)
            assert (done.returncode, "helm" in done.stdout) == (2, False)
            assert f"another adapter serves {API}" in done.stderr
            assert "--skip scaling" in done.stderr
        with aggregated(cluster, name, 1, **{"meta.helm.sh/release-name": "prometheus-adapter"}):
            assert "helm upgrade --install prometheus-adapter" in up.run(*words, PATH=path).stdout
