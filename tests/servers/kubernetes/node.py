"""One whole Kubernetes node: control plane, kubelet, kube-proxy, CoreDNS, containerd, inside a sandbox of its own.

Settings are for cgroups of version 1 and Debian's containerd, without privileges beyond root's: no negative oom
scores, no file limits above 20000, no AppArmor. Pods, Services and NodePorts are reached from this machine by their
addresses; pods reach this machine at `sandbox.host`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import yaml
from tests.servers.kubernetes import archive
from tests.servers.kubernetes.api_server import ApiServer
from tests.servers.kubernetes.cluster import BIN, FOLDER
from tests.servers.kubernetes.install import missing_packages
from tests.servers.kubernetes.processes import Process, wait_until
from tests.servers.kubernetes.sandbox import Sandbox, cgroups_v1

NAME = "node"
PAUSE = "trimtab.test/pause:1"
PROGRAMS = ("kube-scheduler", "kubelet", "kube-proxy", "coredns", "pause")
_READY_SECONDS = 180.0
_BY_ID = re.compile(r"-[0-9a-f]{12,64}$")
_CONTAINERD = """version = 2
root = "{root}"
state = "/run/containerd"
oom_score = 0
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
disable_apparmor = true
tolerate_missing_hugetlb_controller = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{cni}"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""
_COREDNS = """. {{
    bind {address}
    errors
    health {address}:8081
    ready {address}:8181
    kubernetes cluster.local {{
        kubeconfig {kubeconfig}
        ttl 5
    }}
}}
"""


def lacking() -> str:
    """Why this machine cannot run a node; empty when it can."""
    if os.geteuid() != 0:
        return "a node needs root, for namespaces, mounts and cgroups"
    if packages := missing_packages():
        return f"a node needs Debian's {', '.join(packages)}: apt-get install {' '.join(packages)}"
    if not cgroups_v1():
        return "the node's settings are for cgroups of version 1, and this machine has others"
    if missing := [p for p in PROGRAMS if not (BIN / p).exists()]:
        return f"no {', '.join(missing)}: run `make servers`"
    return ""


class Node(ApiServer):
    """A Kubernetes of one node, where pods run.

    Args:
        folder: data, images, certificates, logs.

    Attributes:
        sandbox: where it all runs; its addresses.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.sandbox = Sandbox(folder)
        super().__init__(folder, self.sandbox.node, self.sandbox.services)
        self._kept = FOLDER.resolve() / f"images-{self.sandbox.place}"

    def start(self) -> None:
        """Start everything, wait until the node is Ready and DNS answers.

        Raises:
            RuntimeError: a part ended or was not ready in time; with the end of its log.
        """
        try:
            self.sandbox.start()
            self._start_containerd()
            self._start_api(6443)
            self._start_controllers(f"--cluster-cidr={self.sandbox.pods}", "--allocate-node-cidrs=false")
            self._start_scheduler()
            self._start_proxy()
            kubelet = self._start_kubelet()
            self.apply_crds()
            self._start_dns()
            self.load(archive.write(self.folder / "pause.tar", PAUSE, {"/pause": BIN / "pause"}, ["/pause"]))
            wait_until(self._is_ready, _READY_SECONDS, "the node", [kubelet], every=0.3)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End everything, and remove what takes room."""
        self._forget_containers()
        self.sandbox.stop()
        super().stop()
        for name in ("kubelet", "etcd", "volumes"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def spawn(self, name: str, command: list[str], environ: dict[str, str] | None = None) -> Process:
        """Start a program inside the sandbox; its log is `<name>.log` in the folder."""
        path = f"{BIN}:/usr/sbin:/sbin:{os.environ.get('PATH', '')}"
        return super().spawn(name, self.sandbox.command(*command), {"PATH": path, **(environ or {})})

    def load(self, image: Path) -> None:
        """Bring the images of a docker-archive to the node.

        One whose tag ends in its id is brought once: images stay on disk for the next node. Older ones of the same
        name go.
        """
        names, there = archive.names(image), self.images()
        pinned = [name for name in names if _BY_ID.search(name)]
        if pinned == names and all(any(one.endswith(f"/{name}") for one in there) for name in names):
            return
        for one in there:
            if any(one.rpartition(":")[0].endswith(f"/{name.rpartition(':')[0]}") for name in pinned):
                self.drop(one)
        done = self.sandbox.run("ctr", "-n", "k8s.io", "images", "import", str(image), timeout=600)
        assert done.returncode == 0, done.stderr

    def images(self) -> list[str]:
        """The images on the node."""
        return self.sandbox.run("ctr", "-n", "k8s.io", "images", "ls", "-q").stdout.split()

    def drop(self, image: str) -> None:
        """Remove an image from the node."""
        self.sandbox.run("ctr", "-n", "k8s.io", "images", "rm", "--sync", image)

    def reach(self, namespace: str, kind: str, name: str) -> str:
        """The address of a `pod` or a `service`, that this machine reaches."""
        path = {"pod": "{.status.podIP}", "service": "{.spec.clusterIP}"}[kind]
        done = self.kubectl("get", kind, name, "-n", namespace, "-o", f"jsonpath={path}", check=True)
        return done.stdout.strip()

    def processes_of(self, namespace: str, pod: str, container: str = "") -> list[int]:
        """Process ids, as this machine has them, of a pod's container (the first one by default)."""
        done = self.kubectl("get", "pod", pod, "-n", namespace, "-o", "json", check=True)
        statuses = json.loads(done.stdout)["status"].get("containerStatuses", [])
        wanted = next(s for s in statuses if not container or s["name"] == container)
        identity = wanted["containerID"].rpartition("/")[2]
        groups = Path("/sys/fs/cgroup/memory", self.sandbox.cgroup).glob(f"**/{identity}/cgroup.procs")
        return [int(pid) for group in groups for pid in group.read_text().split()]

    @contextlib.contextmanager
    def volumes(self, count: int, size: str = "5Gi") -> Iterator[str]:
        """Volumes for claims: the name of a storage class that has `count` folders of this machine to give."""
        name = f"folders-{os.urandom(3).hex()}"
        storage = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": name},
            "provisioner": "kubernetes.io/no-provisioner",
        }
        items = [storage, *(self._volume(name, k, size) for k in range(count))]
        everything = yaml.safe_dump_all(items)
        self.kubectl("create", "-f", "-", input=everything, check=True)
        try:
            yield name
        finally:
            self.kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", input=everything)

    def _volume(self, storage_class: str, number: int, size: str) -> dict[str, object]:
        folder = self.folder / "volumes" / f"{storage_class}-{number}"
        folder.mkdir(parents=True)
        folder.chmod(0o777)
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"{storage_class}-{number}"},
            "spec": {
                "capacity": {"storage": size},
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": storage_class,
                "hostPath": {"path": str(folder)},
            },
        }

    def _forget_containers(self) -> None:
        """Leave only images to the next node; without this word of ours it begins with none."""
        everything = (
            "ctr -n k8s.io tasks ls -q | xargs -r ctr -n k8s.io tasks rm -f; "
            "ctr -n k8s.io containers ls -q | xargs -r ctr -n k8s.io containers rm && ctr -n k8s.io containers ls -q"
        )
        done = self.sandbox.run("sh", "-c", everything, timeout=60) if self.processes else None
        if done is not None and done.returncode == 0 and not done.stdout.split():
            shutil.rmtree(self._kept / "io.containerd.grpc.v1.cri", ignore_errors=True)
            (self._kept / "clean").touch()

    def _is_ready(self) -> bool:
        wanted = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'
        return self.kubectl("get", "node", NAME, "-o", wanted).stdout == "True"

    def _start_containerd(self) -> None:
        networks = self.folder / "networks"
        networks.mkdir()
        bridge = {
            "type": "bridge",
            "bridge": "pods",
            "isGateway": True,
            "hairpinMode": True,
            "ipMasq": False,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": self.sandbox.pods}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
        plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]
        (networks / "10-pods.conflist").write_text(
            json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": plugins})
        )
        configuration = self.folder / "containerd.toml"
        if self._kept.exists() and not (self._kept / "clean").exists():
            # Thousands of files: nobody waits for their end.
            gone = self._kept.rename(self._kept.with_name(f"gone-{os.urandom(4).hex()}"))
            subprocess.run(["sh", "-c", 'rm -rf "$0" &', str(gone)], check=True, stdout=subprocess.DEVNULL)
        self._kept.mkdir(exist_ok=True)
        (self._kept / "clean").unlink(missing_ok=True)
        configuration.write_text(_CONTAINERD.format(root=self._kept, pause=PAUSE, cni=networks))
        self.spawn("containerd", ["containerd", "--config", str(configuration)])

    def _start_scheduler(self) -> None:
        kubeconfig = self.kubeconfig_of("scheduler", "system:kube-scheduler")
        flags = (f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--bind-address=127.0.0.1")
        self.spawn("kube-scheduler", [str(BIN / "kube-scheduler"), *flags])

    def _start_proxy(self) -> None:
        kubeconfig = self.kubeconfig_of("proxy", "system:kube-proxy")
        self.spawn(
            "kube-proxy",
            [
                str(BIN / "kube-proxy"),
                f"--kubeconfig={kubeconfig}",
                f"--hostname-override={NAME}",
                "--proxy-mode=iptables",
                "--iptables-min-sync-period=0s",
                f"--cluster-cidr={self.sandbox.pods}",
                # Pods of one bridge answer each other directly; as the node's, they answer the way they were asked.
                "--masquerade-all=true",
                "--conntrack-max-per-core=0",
                "--conntrack-min=0",
                "--conntrack-tcp-timeout-established=0s",
                "--conntrack-tcp-timeout-close-wait=0s",
                "--oom-score-adj=0",
            ],
        )

    def _start_kubelet(self) -> Process:
        serving = self.authority.issue("kubelet-serving", NAME, hosts=[NAME, self.sandbox.node])
        resolver = self.folder / "resolv.conf"
        resolver.write_text(f"nameserver {self.sandbox.node}\n")
        configuration = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self.sandbox.node,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self.authority.certificate)},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(serving.certificate),
            "tlsPrivateKeyFile": str(serving.key),
            "clusterDomain": "cluster.local",
            "clusterDNS": [self._dns_address()],
            "resolvConf": str(resolver),
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "cgroupRoot": f"/{self.sandbox.cgroup}",
            "cgroupDriver": "cgroupfs",
            "failCgroupV1": False,
            "failSwapOn": False,
            "maxOpenFiles": 20000,
            "oomScoreAdj": 0,
            "enforceNodeAllocatable": [],
            # A test machine's disk may be nearly full, and no image of ours can be pulled again.
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "volumePluginDir": str(self.folder / "plugins"),
            "nodeStatusUpdateFrequency": "4s",
        }
        file = self.folder / "kubelet.yaml"
        file.write_text(yaml.safe_dump(configuration))
        kubeconfig = self.kubeconfig_of("kubelet", f"system:node:{NAME}", "system:nodes")
        return self.spawn(
            "kubelet",
            [
                str(BIN / "kubelet"),
                f"--config={file}",
                f"--kubeconfig={kubeconfig}",
                f"--hostname-override={NAME}",
                f"--node-ip={self.sandbox.node}",
            ],
        )

    def _dns_address(self) -> str:
        return f"{self.services.rsplit('.', 1)[0]}.10"

    def _start_dns(self) -> None:
        """CoreDNS beside the kubelet, behind the Service `kube-dns`."""
        corefile = self.folder / "Corefile"
        corefile.write_text(_COREDNS.format(address=self.sandbox.node, kubeconfig=self.kubeconfig))
        self.spawn("coredns", [str(BIN / "coredns"), "-conf", str(corefile)])
        ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
            "spec": {"clusterIP": self._dns_address(), "ports": ports},
        }
        endpoints = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "kube-dns-1",
                "namespace": "kube-system",
                "labels": {"kubernetes.io/service-name": "kube-dns"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [self.sandbox.node], "conditions": {"ready": True}}],
            "ports": ports,
        }
        self.kubectl("apply", "-f", "-", input=yaml.safe_dump_all([service, endpoints]), check=True)
