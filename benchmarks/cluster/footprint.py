"""What our processes take on a node, from the cgroups of their pods."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_MB = 1e6


@dataclass(frozen=True)
class Footprint:
    """What pods took over a while.

    Attributes:
        cpu: CPU cores, as an average, by pod.
        megabytes: memory of its own (what is used less the pages of files that the kernel keeps), by pod, 10⁶ bytes.
        files: pages of files, by pod, 10⁶ bytes. They are charged to the pod that read a file first, so that the pods
            of an image that was just unpacked carry its libraries, and the same pods an hour later may not.
        seconds: over how long.
    """

    cpu: Mapping[str, float]
    megabytes: Mapping[str, float]
    files: Mapping[str, float]
    seconds: float

    def record(self) -> dict[str, object]:
        """As plain values, with the sums."""
        return {
            "cpu": round(sum(self.cpu.values()), 4),
            "megabytes": round(sum(self.megabytes.values()), 1),
            "files": round(sum(self.files.values()), 1),
            "by_pod": {
                pod: {
                    "cpu": round(self.cpu[pod], 4),
                    "megabytes": round(self.megabytes[pod], 1),
                    "files": round(self.files[pod], 1),
                }
                for pod in self.cpu
            },
            "seconds": round(self.seconds, 1),
        }


def measure(group: str, uids: Mapping[str, Sequence[str]], seconds: float = 20.0) -> Footprint:
    """Measure pods over a while.

    Args:
        group: the cgroup, below every controller (version 1), that all pods of the node are in.
        uids: the pods' uids by what they are called in the result.
        seconds: over how long CPU is averaged.

    Raises:
        FileNotFoundError: a pod has no cgroup here.
    """
    before, begun = {name: _cpu(group, pods) for name, pods in uids.items()}, time.monotonic()
    time.sleep(seconds)
    after, took = {name: _cpu(group, pods) for name, pods in uids.items()}, time.monotonic() - begun
    memory = {name: [_memory(group, uid) for uid in pods] for name, pods in uids.items()}
    return Footprint(
        {name: (after[name] - before[name]) / took for name in uids},
        {name: sum(own for own, _ in pods) / _MB for name, pods in memory.items()},
        {name: sum(files for _, files in pods) / _MB for name, pods in memory.items()},
        took,
    )


def _cpu(group: str, uids: Sequence[str]) -> float:
    """CPU seconds that pods have taken so far."""
    return sum(int((_folder("cpuacct", group, uid) / "cpuacct.usage").read_text()) for uid in uids) / 1e9


def _memory(group: str, uid: str) -> tuple[int, int]:
    """Bytes that are a pod's own, and those of files' pages beside them."""
    folder = _folder("memory", group, uid)
    stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    used = int((folder / "memory.usage_in_bytes").read_text())
    files = int(stat["total_inactive_file"]) + int(stat["total_active_file"])
    return max(0, used - files), files


def _folder(controller: str, group: str, uid: str) -> Path:
    for found in (_CGROUPS / controller / group).glob(f"**/pod{uid}"):
        return found
    raise FileNotFoundError(f"no cgroup of pod {uid} below {_CGROUPS / controller / group}")
