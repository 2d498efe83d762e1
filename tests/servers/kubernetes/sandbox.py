"""Namespaces for a node: processes, mounts and network of their own, all gone with the first process in them.

Whatever a node mounts, starts or configures happens in here; the machine keeps its /run, /var/log, /var/lib/kubelet
and sysctls. The kernel ends every process of a PID namespace when its first one ends, and that one ends when the tests
do, however they end. What outlives a killed one are its cgroups: the next sandbox removes them (`reap`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TextIO

from tests.servers.kubernetes.processes import Process, wait_until

_PLACES = 8
# kubelet and kube-proxy set these for the whole machine; in here they write to copies.
_SYSCTLS = (
    "vm/overcommit_memory",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
_CGROUPS = Path("/sys/fs/cgroup")
_NAMESPACES = ("--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc")


class Sandbox:
    """A place of its own for a node: addresses, cgroups, namespaces.

    Args:
        folder: for what is mounted over the machine's folders.

    Attributes:
        place: its number on this machine.
        host: this machine as seen from inside, pods included.
        node: the inside as seen from this machine.
        pods, services: address ranges, routed into the inside.
        cgroup: name of the group, below every controller, that all pods are in.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place, self._lock = _take_place()
        self.host, self.node = f"10.213.{self.place}.1", f"10.213.{self.place}.2"
        self.pods, self.services = f"10.214.{self.place}.0/24", f"10.215.{self.place}.0/24"
        self.cgroup = _name(self.place)
        self._link = _link(self.place)
        self._first: Process | None = None
        self._pid = 0

    def start(self) -> None:
        """Make the namespaces, link them to this machine, and cover the machine's folders."""
        reap()
        self._first = Process(
            "sandbox",
            ["unshare", *_NAMESPACES, "sleep", "infinity"],
            self.folder,
        )
        children = Path(f"/proc/{self._first.pid}/task/{self._first.pid}/children")
        wait_until(children.read_text, 10, "the sandbox", [self._first], every=0.02)
        self._pid = int(children.read_text().split()[0])
        wait_until(lambda: self._inside("test", "!", "-e", f"/proc/{self._pid}"), 10, "its /proc", [self._first])
        for controller in _controllers():
            (controller / self.cgroup).mkdir(exist_ok=True)
        # cpuset groups start empty, and nothing runs in an empty one.
        for file in ("cpuset.cpus", "cpuset.mems"):
            if (root := _CGROUPS / "cpuset" / file).exists():
                (_CGROUPS / "cpuset" / self.cgroup / file).write_text(root.read_text())
        self._link_up()
        self._cover()

    def command(self, *command: str) -> list[str]:
        """The command line that runs a command inside."""
        return ["nsenter", "-t", str(self._pid), "-m", "-n", "-p", "-i", *command]

    def run(self, *command: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a command inside and wait for it."""
        line = self.command(*command)
        quiet = subprocess.DEVNULL
        return subprocess.run(line, capture_output=True, text=True, check=False, timeout=timeout, stdin=quiet)

    def stop(self) -> None:
        """End everything inside, and with it every mount and interface; then remove the cgroups."""
        if self._first is not None:
            if self._pid:  # 0, where it did not start, would be all of this session's own processes
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._pid, signal.SIGKILL)
            self._first.stop()
            self._first = None
        _remove_leftovers(self.place)
        self._lock.close()

    def _inside(self, *command: str) -> bool:
        return self.run(*command).returncode == 0

    def _must(self, *command: str, outside: bool = False) -> None:
        line = list(command) if outside else self.command(*command)
        done = subprocess.run(line, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise RuntimeError(f"`{' '.join(command)}`: {done.stderr.strip()}")

    def _link_up(self) -> None:
        ip = ("ip", "link")
        self._must(
            *ip, "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", str(self._pid), outside=True
        )
        self._must("ip", "address", "add", f"{self.host}/24", "dev", self._link, outside=True)
        self._must(*ip, "set", self._link, "up", outside=True)
        self._must(*ip, "set", "lo", "up")
        self._must("ip", "address", "add", f"{self.node}/24", "dev", "eth0")
        self._must(*ip, "set", "eth0", "up")
        self._must("ip", "route", "add", "default", "via", self.host)
        self._must("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        for subnet in (self.pods, self.services):
            self._must("ip", "route", "replace", subnet, "via", self.node, outside=True)

    def _cover(self) -> None:
        # The kubelet wants the mounts of its volumes to reach the containers.
        self._must("mount", "--make-rshared", "/")
        self._must("mount", "-t", "tmpfs", "tmpfs", "/run")
        for name, target in (("kubelet", "/var/lib/kubelet"), ("log", "/var/log"), ("cni", "/var/lib/cni")):
            (self.folder / name).mkdir(exist_ok=True)
            Path(target).mkdir(parents=True, exist_ok=True)
            self._must("mount", "--bind", str(self.folder / name), target)
        self._must("mount", "--make-rshared", "/var/lib/kubelet")
        for name in _SYSCTLS:
            real = Path("/proc/sys") / name
            if real.exists():
                copy = self.folder / "sysctl" / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_text(real.read_text())
                self._must("mount", "--bind", str(copy), str(real))


def cgroups_v1() -> bool:
    """Whether this machine has cgroups of version 1: what the settings here are for."""
    return (_CGROUPS / "memory").is_dir() and not (_CGROUPS / "cgroup.controllers").exists()


def reap() -> None:
    """Remove what is left of sandboxes whose tests were killed."""
    for place in range(_PLACES):
        if lock := _locked(place):
            with lock:
                _remove_leftovers(place)


def _name(place: int) -> str:
    return f"trimtab-node-{place}"


def _link(place: int) -> str:
    return f"tt-node-{place}"


def _controllers() -> list[Path]:
    return [p for p in _CGROUPS.iterdir() if p.is_dir() and not p.is_symlink() and (p / "cgroup.procs").exists()]


def _remove_leftovers(place: int) -> None:
    if Path("/sys/class/net", _link(place)).exists():
        subprocess.run(["ip", "link", "delete", _link(place)], capture_output=True, check=False)
    deadline = time.monotonic() + 15
    for controller in _controllers():
        for group in sorted((controller / _name(place)).glob("**/"), key=lambda p: -len(p.parts)):
            _remove_group(group, deadline)


def _remove_group(group: Path, deadline: float) -> None:
    # A group empties a moment after its last process was killed.
    while group.exists():
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                return
            time.sleep(0.05)


def _locked(place: int) -> TextIO | None:
    """The lock of a place, which ends with the process that holds it; None where somebody has it."""
    lock = (Path(tempfile.gettempdir()) / f"{_name(place)}.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock


def _take_place() -> tuple[int, TextIO]:
    """A number that no other node on this machine has, and its lock."""
    for place in range(_PLACES):
        if lock := _locked(place):
            return place, lock
    raise RuntimeError(f"{_PLACES} Kubernetes nodes run on this machine already")
