"""A pinned Kubernetes in `.servers/kubernetes/`: programs built with Go out of `go.mod`, CRDs, Debian's node packages.

`bin/` holds etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, kube-proxy, kubectl, coredns and
a pause of our own.
Without root, or without Debian's packages, the API server is still there; a node is not, and that is said.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.servers import packages
from tests.servers.kubernetes import crds

HERE = Path(__file__).resolve().parent
KUBECTL = "k8s.io/kubernetes/cmd/kubectl"
COREDNS = "github.com/coredns/coredns@v1.14.7"
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet")
# What a node needs besides: the package of Debian's that brings each program.
PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "ip": "iproute2",
    "conntrack": "conntrack",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "socat": "socat",
}
WAY_ROUND = "  Any Kubernetes will do instead: TRIMTAB_TEST_KUBECONFIG=<kubeconfig of an administrator>"


def stamp() -> str:
    """What is to be built, as one line: built again when it differs."""
    pinned = b"".join((HERE / part).read_bytes() for part in ("go.mod", "go.sum", "pause/main.go")) + COREDNS.encode()
    sources = repr(sorted(crds.SOURCES.items())).encode()
    return f"{version()} {hashlib.sha256(pinned + sources).hexdigest()[:16]}\n"


def version() -> str:
    """The version of Kubernetes in go.mod: `v1.34.4`."""
    found = re.search(r"^\s*k8s\.io/kubernetes (v\S+)", (HERE / "go.mod").read_text(), re.MULTILINE)
    assert found, "go.mod requires no k8s.io/kubernetes"
    return found[1]


def missing_packages() -> list[str]:
    """Debian's packages that a node lacks on this machine."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return sorted({package for program, package in PACKAGES.items() if shutil.which(program, path=path) is None})


def install(folder: Path) -> int:
    """Bring what is not there; 0 when tests have their Kubernetes API, with or without a node."""
    if os.environ.get("TRIMTAB_TEST_KUBECONFIG"):
        print("== servers: TRIMTAB_TEST_KUBECONFIG is set, tests use that Kubernetes")
        return 0
    code = _programs(folder)
    if code == 0:
        _packages()
    return code


def install_kubectl(folder: Path) -> int:
    """Bring kubectl alone, which tells what the manifests make: all that tests without a cluster take; 0 when there."""
    if (folder / "bin" / "kubectl").exists():
        return 0
    if shutil.which("go") is None:
        return _cannot("no Go toolchain was found, and kubectl is built with it: Go 1.26 (https://go.dev/dl)", 2)
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as build:
        print(f"== servers: kubectl {version()} with Go (about 2 minutes the first time)", flush=True)
        if said := _go(HERE, "build", _flags(), "-o", f"{build}/kubectl", KUBECTL, GOFLAGS="-mod=readonly"):
            return _cannot(said, 1)
        (Path(build) / "kubectl").replace(folder / "bin" / "kubectl")
    return 0


def _programs(folder: Path) -> int:
    done = folder / "version"
    if done.exists() and done.read_text() == stamp():
        return 0
    if shutil.which("go") is None:
        return _cannot("no Go toolchain was found, and Kubernetes is built with it: Go 1.26 (https://go.dev/dl)", 2)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        # Whoever comes second finds it built.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists() and done.read_text() == stamp():
            return 0
        print(f"== servers: Kubernetes {version()} with Go (about 12 minutes the first time)", flush=True)
        said = _build(folder) or crds.collect(folder / "crds")
        if said:
            return _cannot(said, 1)
        done.write_text(stamp())
    print(f"== servers: {folder}")
    return 0


def _build(folder: Path) -> str:
    with tempfile.TemporaryDirectory(dir=folder) as build:
        made = _go(HERE, "build", _flags(), "-o", f"{build}/", "tool", GOFLAGS="-mod=readonly")
        made = made or _go(HERE, "build", "-ldflags=-s -w", "-o", f"{build}/pause", "./pause")
        made = made or _go(Path(build), "install", "-ldflags=-s -w", COREDNS, GOBIN=build)
        if made:
            return made
        # Go calls a program by the last part of its module's path: etcd's is go.etcd.io/etcd/server/v3.
        (Path(build) / "server").rename(Path(build) / "etcd")
        (folder / "bin").mkdir(exist_ok=True)
        for program in (*PROGRAMS, "coredns", "pause"):
            (Path(build) / program).replace(folder / "bin" / program)
    return ""


def _flags() -> str:
    """The linker's flags that tell programs which version they are."""
    flags = f"-s -w -X k8s.io/component-base/version.gitVersion={version()}"
    flags += f" -X k8s.io/client-go/pkg/version.gitVersion={version()}"
    for part, value in zip(("gitMajor", "gitMinor"), version()[1:].split("."), strict=False):
        flags += f" -X k8s.io/component-base/version.{part}={value}"
    return f"-ldflags={flags}"


def _go(where: Path, *args: str, **environ: str) -> str:
    """Run Go; what went wrong, empty when nothing did."""
    env = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", **environ}
    code = subprocess.run(["go", *args], cwd=where, env=env, check=False, stdin=subprocess.DEVNULL).returncode
    return f"`go {args[0]} {args[-1]}` failed (exit {code}); its words are above" if code else ""


def _packages() -> None:
    missing = missing_packages()
    if not missing:
        return
    command = f"apt-get install -y --no-install-recommends {' '.join(missing)}"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(
            f"== servers: a Kubernetes node needs packages that are not here: sudo {command}\n"
            "   (without them the tests still have the API server; those of the node are reported as not run)"
        )
        return
    if said := packages.install(*missing):
        print(f"== servers: {said}: tests of a node will be reported as not run")


def _cannot(why: str, code: int) -> int:
    print(f"make servers: {why}.\n{WAY_ROUND}", file=sys.stderr)
    return code
