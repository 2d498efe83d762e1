"""What tests of pods and of rollouts share: images on the node, and a site or a world of their own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.rollout_world import RolloutWorld, rollout_world
from tests.cluster.site import Images, Site, site
from tests.servers.docker import Docker
from tests.servers.kubernetes import archive
from tests.servers.kubernetes.cluster import Cluster
from tests.servers.kubernetes.node import Node
from tests.servers.minio import BINARY


@pytest.fixture(scope="session")
def pod_images(cluster_node: Node, docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Images:
    """Our server and monitor, built as users build them, and MinIO, on the node."""
    made = {name: docker.build(name) for name in ("server", "monitor")}
    for image in made.values():
        cluster_node.load(docker.save(image))
    minio = "trimtab.test/minio:tests"
    tar = archive.write(
        tmp_path_factory.mktemp("minio") / "minio.tar", minio, {"/usr/bin/minio": BINARY}, ["minio"], "10002:10002"
    )
    cluster_node.load(tar)
    tar.unlink()
    return Images(minio=minio, **made)


@pytest.fixture
def pod_site(cluster_node: Node, pod_images: Images, tmp_path: Path) -> Iterator[Site]:
    """An empty namespace with a volume, keys and Secrets' contents of its own: call `start`."""
    with site(cluster_node, pod_images, tmp_path) as made:
        yield made


@pytest.fixture
def world(cluster_api: Cluster, namespace: str, tmp_path: Path) -> Iterator[RolloutWorld]:
    """A model's rollout on the API, whose pods are said to be ready: no server runs."""
    with rollout_world(cluster_api, namespace, tmp_path, light=True) as found:
        yield found
