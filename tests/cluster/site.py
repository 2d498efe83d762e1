"""Our part of a cluster as its administrator makes it: manifests, Secrets, a MinIO, servers; in one namespace.

What an administrator takes from registries comes onto the node as archives here. The part of KServe's controller is
played by `Site.serve`: it makes a Deployment and a Service of our ServingRuntime, as the controller would; the
storage-initializer's part is the server's own `--bundle s3://…`.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.servers.kubernetes.node import Node
from tests.serving.bundles import Place

from trimtab.core import grants
from trimtab.core.settings import S3Settings
from trimtab.core.store import Store
from trimtab.core.store.retry import Retry
from trimtab.core.store.s3 import open_s3

ROOT = Path(__file__).resolve().parents[2]
STORE = "s3://trimtab/store"
USER = 10001


@dataclass(frozen=True)
class Images:
    """Names of images that the node has: our server, our monitor, MinIO."""

    server: str
    monitor: str
    minio: str


class Site:
    """One namespace with our manifests.

    Args:
        node: where.
        namespace: an empty one.
        images: what the node has.
        folder: for keys, kustomizations, small files.
        storage_class: whose volumes MinIO gets.

    Attributes:
        place: keys, tokens and tiny models, as bundles; its store is MinIO, as user `pipeline`.
    """

    def __init__(self, node: Node, namespace: str, images: Images, folder: Path, storage_class: str) -> None:
        self.node, self.namespace, self.images, self.folder = node, namespace, images, folder
        self._storage_class = storage_class
        self._keys = {
            user: (f"{namespace}-{user}", secrets.token_hex(16)) for user in (*grants.USERS, "artifacts", "root")
        }
        self._address = ""
        self.place = Place(folder / "place")

    @property
    def endpoint(self) -> str:
        """MinIO's address, for this machine and for pods."""
        self._address = self._address or self.node.reach(self.namespace, "service", "trimtab-minio")
        return f"http://{self._address}:9000"

    def settings(self, user: str) -> S3Settings:
        """How a user of the store (or `root`) reaches it from this machine."""
        access, secret = self._keys[user]
        return S3Settings(endpoint=self.endpoint, access_key=access, secret_key=secret)

    def store(self, user: str) -> Store:
        """The store with the rights of a user."""
        # MinIO hangs up on a PUT that it denies without reading it: then the denial comes with the next try.
        return open_s3(STORE, self.settings(user), retry=Retry(attempts=8, base=0.05))

    def start(self, **replicas: int) -> None:
        """Apply base and MinIO, and wait until our job has made buckets, users and policies.

        Args:
            replicas: of `watch` and `hook`; 0 where not given.
        """
        self._apply_secrets()
        self.apply(self._kustomization())
        self.kubectl("wait", "--for=condition=Complete", "job/trimtab-setup", "--timeout=200s", timeout=220)
        self.place.store = self.store("pipeline")
        # Started before their users are there, they would be started again after a while: nothing to wait for here.
        for process, count in replicas.items():
            self.kubectl("scale", f"deployment/trimtab-{process}", f"--replicas={count}")
            self.rolled_out(f"deployment/trimtab-{process}")

    def kubectl(self, *args: str, input: str | None = None, check: bool = True, timeout: float = 180) -> str:
        """kubectl in the namespace; what it printed."""
        done = self.node.kubectl("-n", self.namespace, *args, input=input, check=check, timeout=timeout)
        return done.stdout.strip()

    def apply(self, kustomization: dict[str, Any]) -> None:
        """Build a kustomization and apply it with strict validation."""
        folder = self.folder / f"overlay-{secrets.token_hex(3)}"
        folder.mkdir(parents=True)
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        built = self.node.kubectl("kustomize", str(folder), check=True).stdout
        self.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", input=built)

    def serve(self, model: str, version: str, replicas: int = 2, *extra: str) -> str:
        """Servers of one version behind a Service and a PodDisruptionBudget; the Service's address.

        Args:
            model, version: what they serve.
            replicas: how many pods.
            extra: further arguments of `trimtab serve`.
        """
        runtime = json.loads(self.kubectl("get", "servingruntime", "trimtab-server-v1", "-o", "json"))["spec"]
        container = runtime["containers"][0]
        bundle = f"--bundle={STORE}/models/{model}/versions/{version}"
        arguments = [bundle if a.startswith("--bundle=") else a for a in container["args"]]
        container["args"] = [a.replace("{{.Name}}", model) for a in arguments] + list(extra)
        labels = {"app": f"{model}-predictor"}
        pod = {
            "serviceAccountName": "trimtab-server",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 60,
            "securityContext": {"runAsNonRoot": True, "fsGroup": USER, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": runtime["volumes"],
        }
        deployment = {
            **_head("apps/v1", "Deployment", f"{model}-predictor"),
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        }
        service = {
            **_head("v1", "Service", f"{model}-predictor"),
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
        }
        budget = {
            **_head("policy/v1", "PodDisruptionBudget", f"{model}-predictor"),
            "spec": {"minAvailable": 1, "selector": {"matchLabels": labels}},
        }
        everything = yaml.safe_dump_all([deployment, service, budget])
        self.kubectl("apply", "--server-side", "-f", "-", input=everything)
        self.rolled_out(f"deployment/{model}-predictor")
        return self.node.reach(self.namespace, "service", f"{model}-predictor")

    def rolled_out(self, what: str) -> None:
        """Wait until a Deployment or StatefulSet is as asked for."""
        self.kubectl("rollout", "status", what, "--timeout=150s")

    def pods(self, selector: str) -> list[str]:
        """Names of the pods that are not ending."""
        found = json.loads(self.kubectl("get", "pods", "-l", selector, "-o", "json"))["items"]
        return [p["metadata"]["name"] for p in found if "deletionTimestamp" not in p["metadata"]]

    def uid(self, pod: str) -> str:
        """A pod's uid."""
        return self.kubectl("get", "pod", pod, "-o", "jsonpath={.metadata.uid}")

    @property
    def token(self) -> str:
        """A bearer token that server and hook accept."""
        return self.place.settings.token_file.read_text().strip()

    def _apply_secrets(self) -> None:
        from trimtab.core.tokens import ensure_token

        token = ensure_token(self.place.settings)
        accepted = self.place.settings.tokens.read_text()
        made: list[dict[str, Any]] = []
        for user, (access, secret) in self._keys.items():
            name = "trimtab-minio-root" if user == "root" else f"trimtab-s3-{user}"
            # The Service's name, as pods have it.
            where = {"endpoint": "http://trimtab-minio:9000", "region": "us-east-1"}
            made.append(_secret(name, access_key=access, secret_key=secret, **where))
        made += [
            _secret(name, **{"token": token, "tokens.json": accepted})
            for name in ("trimtab-tokens", "trimtab-server-tokens")
        ]
        trusted = {f.name: f.read_text() for f in self.place.settings.trusted_keys.iterdir()}
        made.append({**_head("v1", "ConfigMap", "trimtab-trusted-keys"), "data": trusted})
        self.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(made))

    def _kustomization(self) -> dict[str, Any]:
        def here(path: str) -> str:
            return os.path.relpath(ROOT / "manifests" / path, self.folder / "overlay")

        claim = "/spec/volumeClaimTemplates/0/spec"
        storage = [
            {"op": "add", "path": f"{claim}/storageClassName", "value": self._storage_class},
            {"op": "replace", "path": f"{claim}/resources/requests/storage", "value": "1Gi"},
        ]
        hook = [
            # Neither Kubeflow nor KServe is here: the hook takes requests for rollouts and writes the ledger.
            {
                "op": "replace",
                "path": "/spec/template/spec/containers/0/args",
                "value": ["hook", "--host=0.0.0.0", "--port=8090", "--metrics-port=9095", "--server-metrics="],
            }
        ]
        return {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": self.namespace,
            "resources": [here("base")],
            "components": [here("components/minio")],
            "replicas": [{"name": f"trimtab-{p}", "count": 0} for p in ("watch", "hook")],
            "images": [
                _image("trimtab-server", self.images.server),
                _image("trimtab-monitor", self.images.monitor),
                _image("quay.io/minio/minio", self.images.minio),
            ],
            "patches": [
                {"target": {"kind": "StatefulSet", "name": "trimtab-minio"}, "patch": yaml.safe_dump(storage)},
                {"target": {"kind": "Deployment", "name": "trimtab-hook"}, "patch": yaml.safe_dump(hook)},
            ],
        }


@contextlib.contextmanager
def site(node: Node, images: Images, folder: Path) -> Iterator[Site]:
    """A site in a namespace of its own, `restricted`; gone with its pods and volumes at the end."""
    with node.volumes(1, "1Gi") as storage, node.namespace(wait=True) as name:
        made = Site(node, name, images, folder, storage)
        try:
            yield made
        finally:
            # What ends has nothing left to lose: nobody waits for it, and nobody makes it anew.
            node.kubectl("delete", "deploy,statefulset,job", "--all", "-n", name, "--cascade=orphan")
            node.kubectl("delete", "pods", "--all", "-n", name, "--grace-period=1", "--wait=false")


def _head(version: str, kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}}


def _secret(name: str, **values: str) -> dict[str, Any]:
    return {**_head("v1", "Secret", name), "stringData": values}


def _image(name: str, image: str) -> dict[str, str]:
    new, _, tag = image.rpartition(":")
    return {"name": name, "newName": new, "newTag": tag}
