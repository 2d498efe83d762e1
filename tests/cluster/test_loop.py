"""The mission, whole, in one test: drift to promotion on a node, under load, and a bad version that is taken back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks import cluster_loop
from tests.servers.docker import Docker
from tests.servers.kubernetes.node import Node

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1700)]
# What watch, hook and one server may take together when nobody asks: CPU cores, 10⁶ bytes.
IDLE_CPU, IDLE_MB = 0.2, 500.0


def test_drift_is_answered_and_a_bad_version_is_taken_back_with_no_failed_request(
    cluster_node: Node, docker: Docker, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    found = cluster_loop.play(cluster_node, docker, tmp_path)
    cluster_loop.save(found, cluster_loop.RESULTS / "cluster.json")
    figures, facts = found["figures"], found["facts"]
    for name, value in figures.items():
        record_property(name, value)
    told = "\n".join([*facts["events"], *facts["failures"]])
    assert figures["failed_requests"] == 0, told
    assert figures["requests"] > 1000, told
    assert figures["campaigns"] == 1, told
    assert facts["trigger"] == "TrimtabDrift (Prometheus)", told
    assert figures["promotions"] == 1, told
    assert figures["rollbacks"] == 1, told
    # Three runs of one candidate: eleven stages each.
    assert figures["stage_pods"] == 33, told
    assert figures["alarm_to_serving_s"] > 0, told
    # Before the first request; after them the log's readers hold what they have read.
    assert facts["idle_before"]["cpu"] < IDLE_CPU, facts["idle_before"]
    assert facts["idle_before"]["megabytes"] < IDLE_MB, facts["idle_before"]
