"""Every overlay against the real API server: strict, in a `restricted` namespace, a second time without a change."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import yaml
from tests.manifests.kustomize import BESIDE, OVERLAYS, Manifest, documents, overlay, templates
from tests.servers.kubernetes.cluster import Cluster

pytestmark = pytest.mark.cluster
APPLY = ("apply", "--server-side", "--field-manager=trimtab", "--validate=strict", "-f", "-")


def apply(cluster: Cluster, text: str, *more: str) -> str:
    """Apply as the documentation says; what kubectl printed."""
    return cluster.kubectl(*APPLY, *more, input=text, check=True).stdout


def stored(cluster: Cluster, text: str) -> dict[tuple[str, str], Manifest]:
    """What the API server has of each object in a text: all but its status and who wrote it when."""
    done = cluster.kubectl("get", "-f", "-", "-o", "json", input=text, check=True)
    found: dict[tuple[str, str], Manifest] = {}
    for one in json.loads(done.stdout)["items"]:
        one.pop("status", None)
        # Where controllers run, they write the status: the version moves on, the generation stays.
        for volatile in ("resourceVersion", "managedFields"):
            one["metadata"].pop(volatile, None)
        found[one["kind"], one["metadata"]["name"]] = one
    return found


@pytest.mark.parametrize("name", ["base", *OVERLAYS])
def test_the_overlay_is_applied_and_applied_again_changes_nothing(
    name: str, cluster_api: Cluster, namespace: str
) -> None:
    text = overlay(name, namespace)
    apply(cluster_api, text)
    before = stored(cluster_api, text)
    assert len(before) == len(documents(text))
    apply(cluster_api, text)
    assert stored(cluster_api, text) == before


@pytest.mark.parametrize("component", BESIDE)
def test_each_component_goes_with_the_base(component: str, cluster_api: Cluster, namespace: str) -> None:
    apply(cluster_api, overlay("base", namespace, [component]))


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_pod_of_each_template_is_admitted_where_pod_security_is_restricted(
    name: str, cluster_api: Cluster, namespace: str
) -> None:
    objects = documents(overlay(name, namespace))
    accounts = [o for o in objects if o["kind"] == "ServiceAccount"]
    apply(cluster_api, yaml.safe_dump_all(accounts))
    for owner, template in templates(objects):
        done = cluster_api.kubectl(
            "create", "--dry-run=server", "-f", "-", input=yaml.safe_dump(pod_of(template, namespace))
        )
        assert done.returncode == 0, f"{owner}: {done.stderr}"
        assert "Warning" not in done.stderr, f"{owner}: {done.stderr}"


def test_an_unknown_field_is_refused(cluster_api: Cluster, namespace: str) -> None:
    objects = documents(overlay("base", namespace))
    for kind in ("ServingRuntime", "Deployment", "PodMonitor", "Role"):
        wrong = copy.deepcopy(next(o for o in objects if o["kind"] == kind))
        (wrong["rules"][0] if kind == "Role" else wrong["spec"])["replica"] = 2
        refused = cluster_api.kubectl(*APPLY, input=yaml.safe_dump(wrong))
        assert refused.returncode != 0, kind
        assert "replica" in refused.stderr, kind


def pod_of(template: Manifest, namespace: str) -> dict[str, Any]:
    """A Pod made from a template, as a controller makes it."""
    spec = copy.deepcopy(template["spec"])
    # A claim is the StatefulSet controller's to add.
    for container in spec["containers"]:
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in {v["name"] for v in spec["volumes"]}:
                spec["volumes"].append({"name": mount["name"], "emptyDir": {}})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "from-template-",
            "namespace": namespace,
            "labels": template["metadata"]["labels"],
        },
        "spec": spec,
    }
