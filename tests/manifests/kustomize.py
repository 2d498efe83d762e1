"""What `kubectl kustomize` makes of our folders, as tests read it; no cluster takes part."""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from tests.servers.fixtures import without
from tests.servers.kubernetes.cluster import kubectl_program
from tests.servers.kubernetes.fixtures import lacking

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "manifests"
OVERLAYS = ("local", "staging", "production")
# What goes beside our base: kfp-hardening changes what Kubeflow Pipelines installs.
BESIDE = sorted(p.name for p in (MANIFESTS / "components").iterdir() if p.name != "kfp-hardening")
Manifest = dict[str, Any]
_SOMEWHERE = "namespace-of-some-test"


class DuplicateKeyError(Exception):
    """A mapping has a key twice: the API server takes the last one and says nothing, whatever it validates."""


class Strict(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A loader that refuses what kubectl lets pass: a key that a mapping has twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [str(key.value) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise DuplicateKeyError(f"{', '.join(twice)} twice, line {node.start_mark.line + 1}")
        return dict(super().construct_mapping(node, deep))


# YAML 1.1 has a meaning for a lone `=`, Kubernetes has none.
Strict.add_constructor("tag:yaml.org,2002:value", lambda loader, node: str(node.value))


def documents(text: str) -> list[Manifest]:
    """The documents of a YAML text, no key twice."""
    return [d for d in yaml.load_all(text, Strict) if d is not None]


@functools.cache
def text(folder: str) -> str:
    """What `kubectl kustomize` prints for a folder of the repository."""
    return kustomize(ROOT / folder)


def kustomize(folder: Path) -> str:
    """What `kubectl kustomize` prints for any folder."""
    if why := lacking(("kubectl",)):
        without(why)
    done = subprocess.run(
        [kubectl_program(), "kustomize", str(folder)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, f"{folder}: {done.stderr}"
    # A deprecated field is said on standard error.
    assert done.stderr == "", f"{folder}: {done.stderr}"
    return done.stdout


def build(folder: str) -> list[Manifest]:
    """The objects that a folder makes."""
    return documents(text(folder))


def overlay(name: str, namespace: str = "", components: Sequence[str] = (), resources: Sequence[str] = ()) -> str:
    """The text of an overlay, in a namespace of the test's own and with further components, by their names."""
    above = tuple(resources or [f"manifests/overlays/{name}" if name != "base" else "manifests/base"])
    # Built once: another namespace is another word in the same text.
    found = _combined(above, tuple(components), _SOMEWHERE if namespace else "")
    return found.replace(_SOMEWHERE, namespace)


@functools.cache
def _combined(resources: tuple[str, ...], components: tuple[str, ...], namespace: str) -> str:
    with tempfile.TemporaryDirectory() as name:
        # kustomize takes folders by relative paths alone.
        folder = Path(name).resolve()
        wanted = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [os.path.relpath(ROOT / r, folder) for r in resources],
            "components": [os.path.relpath(MANIFESTS / "components" / c, folder) for c in components],
            **({"namespace": namespace} if namespace else {}),
        }
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(wanted))
        return kustomize(folder)


def of_kind(objects: Sequence[Manifest], *kinds: str) -> list[Manifest]:
    """The objects of these kinds."""
    return [o for o in objects if o["kind"] in kinds]


def named(objects: Sequence[Manifest], kind: str, name: str) -> Manifest:
    """The one object of this kind and name."""
    (found,) = [o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    return found


def templates(objects: Sequence[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Every pod template with the object's name: what the kubelet will be asked to run.

    A ServingRuntime's is what KServe makes of it, with the pod's security context that the rollout controller sets in
    the InferenceService.
    """
    for one in objects:
        name = f"{one['kind']}/{one['metadata']['name']}"
        if one["kind"] in {"Deployment", "StatefulSet", "DaemonSet", "Job"}:
            yield name, one["spec"]["template"]
        elif one["kind"] == "ServingRuntime":
            spec = one["spec"]
            pod = {
                "serviceAccountName": "trimtab-server",
                "automountServiceAccountToken": False,
                "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": spec["containers"],
                "volumes": spec["volumes"],
            }
            yield name, {"metadata": {"labels": spec["labels"]}, "spec": pod}
