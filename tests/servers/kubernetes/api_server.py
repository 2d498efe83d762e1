"""A real Kubernetes API on a loopback port: etcd, kube-apiserver and the few controllers that namespaces need.

It gives strict validation, RBAC, admission policies, Pod Security and every CRD of `.servers/kubernetes/crds/`. No
pod runs and no Deployment gets any: that takes a whole node (see node).
"""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from pathlib import Path

from tests.servers.kubernetes.certificates import Authority, Pair
from tests.servers.kubernetes.cluster import BIN, Cluster, write_kubeconfig
from tests.servers.kubernetes.processes import Process, wait_until
from tests.servers.minio import free_port

# Without a node nothing makes pods: a stand-in for KServe's controller sets the status of Deployments by itself.
_CONTROLLERS = (
    "namespace-controller",
    "serviceaccount-controller",
    "root-ca-certificate-publisher-controller",
    "clusterrole-aggregation-controller",
    "garbage-collector-controller",
)
_READY_SECONDS = 120.0


class ApiServer(Cluster):
    """etcd, kube-apiserver and kube-controller-manager with a handful of controllers.

    Args:
        folder: data, certificates, kubeconfigs, logs.
        address: where the API listens.
        services: the range that Services take their addresses from.

    Attributes:
        authority: signs what else wants to speak to this API.
        url: of the API.
    """

    def __init__(self, folder: Path, address: str = "127.0.0.1", services: str = "10.96.0.0/24") -> None:
        super().__init__(folder / "admin.kubeconfig", folder)
        self.address, self.services = address, services
        self.authority = Authority(folder / "certificates")
        self.url = ""
        self.processes: list[Process] = []
        self._tokens = self.authority.key_pair("service-accounts")

    def start(self) -> None:
        """Start everything, wait until the API is ready, apply the CRDs.

        Raises:
            RuntimeError: a part ended or was not ready in time; with the end of its log.
        """
        try:
            self._start_api(free_port())
            self._start_controllers(f"--controllers={','.join(_CONTROLLERS)}")
            self.apply_crds()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End everything."""
        for process in reversed(self.processes):
            process.stop()
        self.processes = []

    def spawn(self, name: str, command: list[str], environ: dict[str, str] | None = None) -> Process:
        """Start a program where the control plane runs; its log is `<name>.log` in the folder."""
        process = Process(name, command, self.folder, environ)
        self.processes.append(process)
        return process

    def kubeconfig_of(self, file: str, name: str, group: str = "") -> Path:
        """A kubeconfig for a user with a client certificate of ours."""
        pair = self.authority.issue(file, name, group)
        user: dict[str, object] = {"client-certificate": str(pair.certificate), "client-key": str(pair.key)}
        return write_kubeconfig(self.folder / f"{file}.kubeconfig", self._coordinates(), user)

    def _coordinates(self) -> dict[str, object]:
        return {"server": self.url, "certificate-authority": str(self.authority.certificate)}

    def _start_api(self, port: int) -> None:
        etcd = self._start_etcd(free_port(), free_port())
        self.url = f"https://{self.address}:{port}"
        first = f"{self.services.rsplit('.', 1)[0]}.1"
        names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
        hosts = ["localhost", "127.0.0.1", self.address, first, *names]
        serving = self.authority.issue("api-server", "kube-apiserver", hosts=hosts)
        to_kubelet = self.authority.issue("api-server-to-kubelet", "kube-apiserver", "system:masters")
        server = self.spawn("kube-apiserver", self._api_command(etcd, port, serving, to_kubelet))
        self.kubeconfig_of("admin", "admin", "system:masters")
        trusted = ssl.create_default_context(cafile=str(self.authority.certificate))
        wait_until(lambda: _ready(f"{self.url}/readyz", trusted), _READY_SECONDS, "the API", [server])

    def _start_etcd(self, clients: int, peers: int) -> str:
        url, peer = f"http://127.0.0.1:{clients}", f"http://127.0.0.1:{peers}"
        self.spawn(
            "etcd",
            [
                str(BIN / "etcd"),
                f"--data-dir={self.folder / 'etcd'}",
                f"--listen-client-urls={url}",
                f"--advertise-client-urls={url}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
                "--unsafe-no-fsync",
                "--log-level=error",
            ],
        )
        return url

    def _api_command(self, etcd: str, port: int, serving: Pair, to_kubelet: Pair) -> list[str]:
        # A loopback address cannot be the endpoint of the Service `kubernetes`, and alone nobody asks for it.
        alone = ["--endpoint-reconciler-type=none"] if self.address.startswith("127.") else []
        return [
            str(BIN / "kube-apiserver"),
            f"--etcd-servers={etcd}",
            f"--bind-address={self.address}",
            f"--advertise-address={self.address}",
            f"--secure-port={port}",
            f"--service-cluster-ip-range={self.services}",
            f"--tls-cert-file={serving.certificate}",
            f"--tls-private-key-file={serving.key}",
            f"--client-ca-file={self.authority.certificate}",
            f"--kubelet-client-certificate={to_kubelet.certificate}",
            f"--kubelet-client-key={to_kubelet.key}",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self._tokens.certificate}",
            f"--service-account-signing-key-file={self._tokens.key}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            "--profiling=false",
            *alone,
        ]

    def _start_controllers(self, *flags: str) -> Process:
        kubeconfig = self.kubeconfig_of("controller-manager", "system:kube-controller-manager")
        return self.spawn(
            "kube-controller-manager",
            [
                str(BIN / "kube-controller-manager"),
                f"--kubeconfig={kubeconfig}",
                "--bind-address=127.0.0.1",
                f"--secure-port={free_port()}",
                f"--root-ca-file={self.authority.certificate}",
                f"--service-account-private-key-file={self._tokens.key}",
                "--use-service-account-credentials=true",
                "--leader-elect=false",
                "--concurrent-gc-syncs=2",
                "--profiling=false",
                *flags,
            ],
        )


def _ready(url: str, trusted: ssl.SSLContext) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5, context=trusted):
            return True
    except (urllib.error.URLError, OSError):
        return False
