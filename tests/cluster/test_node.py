"""The node that tests of pods lean on: Ready, DNS, a pod that runs, a Service that is reached, nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml
from tests.servers.kubernetes import archive, install, sandbox
from tests.servers.kubernetes.node import NAME, Node, lacking
from tests.servers.minio import BINARY
from tests.servers.prometheus import wait_until

pytestmark = pytest.mark.cluster
HARDENED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def minio(namespace: str, image: str) -> str:
    """A MinIO over an emptyDir behind a Service `minio`."""
    labels = {"app": "minio"}
    container = {
        "name": "minio",
        "image": image,
        "imagePullPolicy": "Never",
        "args": ["server", "--quiet", "/data"],
        "env": [{"name": "MINIO_CI_CD", "value": "1"}, {"name": "HOME", "value": "/tmp"}],
        "ports": [{"containerPort": 9000}],
        "readinessProbe": {"httpGet": {"path": "/minio/health/ready", "port": 9000}, "periodSeconds": 1},
        "resources": {"requests": {"memory": "64Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": HARDENED,
        "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "tmp", "mountPath": "/tmp"}],
    }
    volumes = [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]
    spec = {"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 1}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "minio", "namespace": namespace, "labels": labels},
        "spec": {**spec, "securityContext": {"fsGroup": 65532}},
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "minio", "namespace": namespace},
        "spec": {"selector": labels, "ports": [{"port": 9000}]},
    }
    return yaml.safe_dump_all([pod, service])


def test_a_pod_runs_and_its_service_answers(cluster_node: Node, node_namespace: str, tmp_path: Path) -> None:
    if not BINARY.exists():
        pytest.fail("no MinIO: run `make servers`")
    image = f"trimtab.test/minio:{node_namespace}"
    cluster_node.load(archive.write(tmp_path / "minio.tar", image, {"/minio": BINARY}, ["/minio"]))
    assert image in cluster_node.images()
    kubectl = cluster_node.kubectl
    kubectl("apply", "-f", "-", input=minio(node_namespace, image), check=True)
    kubectl("wait", "--for=condition=Ready", "pod/minio", "-n", node_namespace, "--timeout=60s", check=True)
    for kind in ("pod", "service"):
        address = cluster_node.reach(node_namespace, kind, "minio")
        with urllib.request.urlopen(f"http://{address}:9000/minio/health/ready", timeout=10) as answer:
            assert answer.status == 200
    assert "DEVELOPMENT" in kubectl("exec", "minio", "-n", node_namespace, "--", "/minio", "--version").stdout
    assert kubectl("logs", "minio", "-n", node_namespace).returncode == 0
    pid = cluster_node.processes_of(node_namespace, "minio")[0]
    assert "minio" in Path(f"/proc/{pid}/cmdline").read_text()

    service = cluster_node.reach(node_namespace, "service", "minio")
    assert resolved(cluster_node, f"minio.{node_namespace}.svc.cluster.local") == service
    cluster_node.drop(image)


def test_the_machine_keeps_its_settings_and_gets_everything_back(tmp_path: Path) -> None:
    if why := lacking():
        pytest.skip(f"not run, no Kubernetes node here: {why}")
    before = machine()
    # A test run that is killed in the middle, with a node that has pods' cgroups and mounts.
    script = (
        "import pathlib, sys, time\n"
        "from tests.servers.kubernetes.node import Node\n"
        "node = Node(pathlib.Path(sys.argv[1]))\n"
        "node.start()\n"
        "print(node.sandbox.cgroup, flush=True)\n"
        "time.sleep(600)\n"
    )
    root = Path(__file__).resolve().parents[2]
    run = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "node")], cwd=root, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert run.stdout is not None
    group = run.stdout.readline().strip()
    assert group.startswith("trimtab-node-")
    assert machine() == before
    run.kill()
    run.wait(10)
    run.stdout.close()
    wait_until(lambda: not inhabited(group), 20, f"the end of every process in {group}")
    wait_until(lambda: not Path(f"/sys/class/net/tt-{group[8:]}").exists(), 20, "the end of its link")
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
    sandbox.reap()
    assert not Path("/sys/fs/cgroup/memory", group).exists()


def resolved(node: Node, name: str) -> str:
    """What the cluster's DNS says of a name, asked by the kernel's resolver inside the sandbox."""
    lookup = "import socket, sys; print(socket.gethostbyname(sys.argv[1]))"
    ask = f"mount --bind {node.folder}/resolv.conf /etc/resolv.conf && exec {sys.executable} -c '{lookup}' {name}"
    done = node.sandbox.run("unshare", "-m", "sh", "-c", ask)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def machine() -> dict[str, str]:
    """The settings that a kubelet would like to change."""
    names = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward")
    return {name: Path("/proc/sys", name).read_text() for name in names}


def inhabited(group: str) -> bool:
    """Whether a process lives in a node's cgroups."""
    return any(procs.read_text() for procs in Path("/sys/fs/cgroup/memory", group).glob("**/cgroup.procs"))


def test_the_node_is_ready_and_named(cluster_node: Node) -> None:
    done = cluster_node.kubectl("get", "node", NAME, "-o", "jsonpath={.status.nodeInfo.kubeletVersion}", check=True)
    assert done.stdout == install.version()
