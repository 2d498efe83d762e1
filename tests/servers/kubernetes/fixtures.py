"""Fixtures: `cluster_api` (a Kubernetes API), `cluster_node` (a whole node), a namespace in each.

TRIMTAB_TEST_KUBECONFIG names any other Kubernetes for `cluster_api`: its administrator's kubeconfig. CRDs that it lacks
are put there for the tests and removed after them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.fixtures import without
from tests.servers.kubernetes import node
from tests.servers.kubernetes.api_server import ApiServer
from tests.servers.kubernetes.cluster import BIN, Cluster
from tests.servers.kubernetes.node import Node

_PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")


def described() -> str:
    """Which Kubernetes tests use, for the head of pytest's report."""
    given = os.environ.get("TRIMTAB_TEST_KUBECONFIG")
    return given or lacking() or f"built, in {BIN.parent.name}/"


def lacking(programs: tuple[str, ...] = _PROGRAMS) -> str:
    """Why there is no Kubernetes to test with; empty when there is."""
    missing = [p for p in programs if not (BIN / p).exists()]
    return f"no {', '.join(missing)}: run `make servers`, or set TRIMTAB_TEST_KUBECONFIG=<file>" if missing else ""


def given(folder: Path) -> Cluster | None:
    """The Kubernetes that TRIMTAB_TEST_KUBECONFIG names."""
    named = os.environ.get("TRIMTAB_TEST_KUBECONFIG")
    return Cluster(Path(named), folder) if named else None


@pytest.fixture(scope="session")
def cluster_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A real Kubernetes API with our CRDs: nothing runs on it where it is ours."""
    folder = tmp_path_factory.mktemp("kubernetes")
    if other := given(folder):
        other.apply_crds()
        yield other
        other.remove_crds()
        return
    if why := lacking():
        without(why)
    server = ApiServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def cluster_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A whole node of ours, where pods run; about half a minute to start.

    Tests of it load images, kill processes and reach pods by their addresses: no other Kubernetes stands in for it.
    """
    if os.environ.get("TRIMTAB_TEST_KUBECONFIG"):
        without("not run on TRIMTAB_TEST_KUBECONFIG: this test loads images and kills processes on a node of its own")
    if why := lacking() or node.lacking():
        without(f"not run, no Kubernetes node here: {why}")
    ours = Node(tmp_path_factory.mktemp("node"))
    ours.start()
    try:
        yield ours
    finally:
        ours.stop()


@pytest.fixture
def node_namespace(cluster_node: Node) -> Iterator[str]:
    """A namespace of its own for one test, Pod Security `restricted`, on `cluster_node`; its pods go too."""
    with cluster_node.namespace(wait=True) as name:
        yield name


@pytest.fixture
def namespace(cluster_api: Cluster) -> Iterator[str]:
    """A namespace of its own for one test, Pod Security `restricted`, on `cluster_api`."""
    with cluster_api.namespace() as name:
        yield name
