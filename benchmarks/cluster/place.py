"""The place of the loop: one node, everything of ours on it as pods, and what stands in for KFP's API and KServe.

Real are the Kubernetes node, our images and manifests, MinIO with the users that `trimtab setup` makes, watch and
hook as pods with their own ServiceAccounts, the stages' pods, the server pods. Stand-ins, on this machine and
reached from the pods: Kubeflow Pipelines' API (`tests.servers.kubeflow`), KServe's controller
(`tests.servers.kubernetes.kserve_controller`) and the gateway.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from benchmarks.cluster import overlay
from benchmarks.cluster.alerting import Alerting
from benchmarks.cluster.gateway import Gateway
from benchmarks.cluster.waiting import Missed, describe, until
from tests.servers.kubeflow.cluster_pods import ClusterPods
from tests.servers.kubeflow.server import StandIn
from tests.servers.kubernetes import archive
from tests.servers.kubernetes.kserve_controller import KServeController
from tests.servers.minio import BINARY

from trimtab.core import settings as settings_module
from trimtab.core.store import Store, open_store

if TYPE_CHECKING:
    from minio import Minio
    from tests.servers.docker import Docker
    from tests.servers.kubernetes.node import Node

POD_SECONDS = 180.0
MINIO_IMAGE = "trimtab.test/minio:loop"


class Place:
    """A namespace of its own on a node with everything in it; `with Place(…) as place` makes and removes it.

    Args:
        node: the node.
        docker: builds our images.
        folder: for keys, overlay, logs.
        model: name of the model that the gateway routes to.
        say: told each step, in words.

    Attributes:
        namespace: of everything of ours.
        stages: the pods of the runs.
        gateway: where requests go.
        alerting: Prometheus and Alertmanager.
    """

    def __init__(self, node: Node, docker: Docker, folder: Path, model: str, say: Any = print) -> None:
        self.node, self.docker, self.folder, self.model, self.say = node, docker, folder, model, say
        self.namespace = f"loop-{secrets.token_hex(3)}"
        self.stages: ClusterPods
        self.gateway: Gateway
        self.alerting: Alerting
        self.kubeflow: StandIn
        self.kserve: KServeController
        self.keys: overlay.Keys
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Place:
        try:
            self._make()
        except BaseException:
            self._undo.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    # -- making it ---------------------------------------------------------------------------------------------------

    def _make(self) -> None:
        self.say("images: built by the Dockerfile, brought to the node")
        self.folder.mkdir(parents=True, exist_ok=True)
        images = self._images()
        self.keys = overlay.make_keys(self.folder / "home")
        self._namespace(self.namespace, {"pod-security.kubernetes.io/enforce": "restricted"})
        storage = self._undo.enter_context(self.node.volumes(1, "1Gi"))
        kubeflow = self._kubeflow()
        self.say(f"namespace {self.namespace}: secrets, manifests/base with MinIO, network policies, KFP's launcher")
        endpoint = f"http://trimtab-minio.{self.namespace}:9000"
        self._apply(overlay.secrets_of(self.keys, endpoint))
        self._claim(storage)
        folder = overlay.write(self.folder / "overlay", self.namespace, images, storage, kubeflow)
        done = self.node.kubectl("apply", "--server-side", "-k", str(folder))
        if done.returncode:
            raise Missed(f"the overlay was not taken: {done.stderr.strip()[-3000:]}")
        self._wait_for_job("trimtab-setup")
        for name in ("trimtab-watch", "trimtab-hook"):
            self._wait_for_deployment(name)
        client = self._undo.enter_context(self.node.client())
        self.kserve = self._undo.enter_context(KServeController(client, [self.namespace], every=0.5))
        self.gateway = self._undo.enter_context(Gateway(self.node, self.namespace, self.model))
        self.alerting = self._undo.enter_context(
            Alerting(self.folder, self.node, self.namespace, self.hook_url, self.keys.home / "token")
        )

    def _images(self) -> overlay.Images:
        there = set(self.node.images())
        names = {}
        for target in ("server", "monitor", "stage"):
            names[target] = name = self.docker.build(target)
            if any(image.endswith(name) for image in there):
                continue
            if target == "stage":
                self._bring(name)
            else:
                self.node.load(self.docker.save(name))
        if not any(image.endswith(MINIO_IMAGE) for image in there):
            tar = archive.write(self.folder / "minio.tar", MINIO_IMAGE, {"/usr/bin/minio": BINARY}, ["/usr/bin/minio"])
            self.node.load(tar)
            tar.unlink()
        return overlay.Images(names["server"], names["monitor"], names["stage"], MINIO_IMAGE)

    def _bring(self, image: str) -> None:
        """Bring an image to the node without an archive in between, which with CUDA would take five gigabytes."""
        for old in self.node.images():
            if f"/{image.partition(':')[0]}:" in old:
                self.node.drop(old)
        pipe = self.folder / "image.tar"
        os.mkfifo(pipe)
        words = ["sh", "-c", 'exec "$DOCKER" save "$1" > "$2"', "sh", image, str(pipe)]
        saving = subprocess.Popen(words, env=self.docker.environ, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            done = self.node.sandbox.run("ctr", "-n", "k8s.io", "images", "import", str(pipe), timeout=900)
        finally:
            saving.kill()
            _, said = saving.communicate(timeout=30)
            pipe.unlink()
        if done.returncode:
            raise Missed(f"{image} was not taken by the node: {(done.stderr + said.decode(errors='replace'))[-1000:]}")

    def _namespace(self, name: str, labels: dict[str, str]) -> None:
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        self.node.kubectl("create", "-f", "-", input=yaml.safe_dump(manifest), check=True)
        self._undo.callback(
            self.node.kubectl, "delete", "namespace", name, "--ignore-not-found", "--timeout=120s", timeout=150
        )
        until(
            lambda: self.node.kubectl("get", "serviceaccount", "default", "-n", name).returncode == 0 or None,
            60,
            f"ServiceAccount default in {name}",
        )

    def _kubeflow(self) -> str:
        """KFP's API on this machine, behind a Service of a namespace of its own; its URL as pods have it."""
        client = self._undo.enter_context(self.node.client())
        self.stages = ClusterPods(client, self.namespace, self._artifact, overlay.artifacts_root())
        self.kubeflow = self._undo.enter_context(
            StandIn(self.stages, address=self.node.sandbox.host, root=overlay.artifacts_root())
        )
        port = int(self.kubeflow.url.rpartition(":")[2])
        name = f"kfp-{self.namespace.rpartition('-')[2]}"
        self._namespace(name, {})
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "ml-pipeline", "namespace": name},
            "spec": {"ports": [{"name": "http", "port": 8888, "targetPort": port}]},
        }
        slice_ = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "ml-pipeline-1",
                "namespace": name,
                "labels": {"kubernetes.io/service-name": "ml-pipeline"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [self.node.sandbox.host], "conditions": {"ready": True}}],
            "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        }
        self.node.kubectl("apply", "-f", "-", input=yaml.safe_dump_all([service, slice_]), check=True)
        return f"http://ml-pipeline.{name}:8888"

    def _claim(self, storage: str) -> None:
        """MinIO's claim, bound before its pod comes: a scheduler that has just missed the binding looks again late."""
        spec = {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": storage,
            "resources": {"requests": {"storage": "1Gi"}},
        }
        name = "data-trimtab-minio-0"
        self._apply([{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}])
        until(
            lambda: self._get("pvc", name, "{.status.phase}") == "Bound", POD_SECONDS, "MinIO's volume", self.describe
        )

    def _apply(self, objects: Sequence[dict[str, Any]]) -> None:
        self.node.kubectl(
            "apply", "--server-side", "-n", self.namespace, "-f", "-", input=yaml.safe_dump_all(objects), check=True
        )

    def _wait_for_job(self, name: str) -> None:
        until(
            lambda: self._get("job", name, "{.status.succeeded}") == "1" or None,
            POD_SECONDS,
            f"Job {name}, which makes bucket, users and policies",
            lambda: self.describe(name, "trimtab-minio"),
        )

    def _wait_for_deployment(self, name: str) -> None:
        until(
            lambda: self._get("deployment", name, "{.status.availableReplicas}") == "1" or None,
            POD_SECONDS,
            f"Deployment {name}",
            lambda: self.describe(name),
        )

    # -- using it ----------------------------------------------------------------------------------------------------

    @property
    def hook_url(self) -> str:
        """The hook, as this machine reaches it."""
        return f"http://{self.node.reach(self.namespace, 'service', 'trimtab-hook')}:8090"

    @property
    def s3_url(self) -> str:
        """MinIO, as this machine reaches it."""
        return f"http://{self.node.reach(self.namespace, 'service', 'trimtab-minio')}:9000"

    def environment(self, user: str) -> dict[str, str]:
        """The variables of a command of ours that runs here with the rights of an S3 user."""
        access, secret = self.keys.s3[user]
        return {
            **overlay.environment(self.keys.home),
            "TRIMTAB_STORE": overlay.STORE,
            "TRIMTAB_STAGE_IMAGE": self._stage_image(),
            "TRIMTAB_HOOK_URL": self.hook_url,
            "AWS_ACCESS_KEY_ID": access,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_ENDPOINT_URL": self.s3_url,
            "AWS_REGION": "us-east-1",
            "KF_PIPELINES_ENDPOINT": self.kubeflow.url,
            "KUBECONFIG": str(self.node.kubeconfig),
        }

    def store(self, user: str = "oncall") -> Store:
        """The store with the rights of an S3 user."""
        return open_store(overlay.STORE, settings_module.load(self.environment(user)))

    def command(self, user: str, *arguments: str, cwd: Path | None = None, seconds: float = 600.0) -> str:
        """Run `trimtab …` here; what it wrote to its standard output.

        Raises:
            Missed: it failed, or took too long; with what it said and the pods' states.
        """
        line = f"trimtab {' '.join(arguments)}"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("TRIMTAB_", "AWS_", "KF_"))}
        try:
            done = subprocess.run(
                [sys.executable, "-m", "trimtab.cli.app", *arguments],
                env={**kept, **self.environment(user)}, cwd=cwd or self.folder, capture_output=True, text=True,
                check=False, timeout=seconds, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired as late:
            said = bytes(late.stderr or b"").decode(errors="replace")[-2000:]
            raise Missed(f"`{line}`: not within {seconds:.0f} s.\n{said}\n{self.describe()}") from None
        if done.returncode:
            said = (done.stdout + done.stderr)[-3000:]
            raise Missed(f"`{line}`: exit {done.returncode}.\n{said}\n{self.describe()}")
        return done.stdout

    def ready(self, component: str) -> dict[str, str]:
        """The pods of a component of ours (`watch`, `hook`, `server`) that are ready: name to uid."""
        selector = f"app.kubernetes.io/name=trimtab,app.kubernetes.io/component={component}"
        done = self.node.kubectl("get", "pods", "-n", self.namespace, "-l", selector, "-o", "json", check=True)
        return {
            pod["metadata"]["name"]: pod["metadata"]["uid"]
            for pod in json.loads(done.stdout)["items"]
            if any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
            and not pod["metadata"].get("deletionTimestamp")
        }

    def describe(self, *logs_of: str) -> str:
        """What is on the node now, in words: pods, last logs, warnings, the gateway's weights."""
        weights = dict(self.gateway.weights) if hasattr(self, "gateway") else {}
        names = logs_of or ("trimtab-hook", "trimtab-watch")
        said = self.kserve.trouble if hasattr(self, "kserve") else ""
        trouble = f"\nKServe's controller: {said}" if said else ""
        return f"gateway: {weights or 'no route'}{trouble}\n{describe(self.node, self.namespace, logs_of=names)}"

    def _get(self, kind: str, name: str, path: str) -> str:
        return self.node.kubectl("get", kind, name, "-n", self.namespace, "-o", f"jsonpath={path}").stdout

    def _stage_image(self) -> str:
        return self.docker.build("stage")

    def _artifact(self, uri: str) -> bytes:
        bucket, _, key = uri.partition("://")[2].partition("/")
        answer = self._root_client().get_object(bucket, key)
        try:
            return bytes(answer.read())
        finally:
            answer.close()
            answer.release_conn()

    def _root_client(self) -> Minio:
        from minio import Minio

        access, secret = self.keys.s3["root"]
        return Minio(self.s3_url.removeprefix("http://"), access, secret, secure=False, region="us-east-1")
