"""CPU seconds and memory of a process and everything below it, read from /proc."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
SHIPPER = b"trimtab.serving.shipper"


def tree(pid: int) -> list[int]:
    """A process and its descendants, whichever thread started them."""
    found = [pid]
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += tree(int(child))
    return found


def cpu(pid: int) -> float:
    """CPU seconds of a process's living and ended threads, user and system, and of its children that ended."""
    with suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(field) for field in fields[11:15]) / TICK
    return 0.0


def rss_mb(pid: int) -> float:
    """Resident memory now, in MB of 10⁶ bytes."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return 0.0


def is_shipper(pid: int) -> bool:
    """Whether it is the sibling that ships the server's log."""
    with suppress(OSError):
        return SHIPPER in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


@dataclass
class Use:
    """CPU seconds and memory of a server: of what answers, and of the sibling that ships its log."""

    cpu: float
    shipper_cpu: float
    rss_mb: float
    shipper_rss_mb: float

    def since(self, before: Use) -> Use:
        """CPU since then; memory as now."""
        return Use(self.cpu - before.cpu, self.shipper_cpu - before.shipper_cpu, self.rss_mb, self.shipper_rss_mb)


def use(pid: int) -> Use:
    """What a server used until now."""
    used = Use(0.0, 0.0, 0.0, 0.0)
    for one in tree(pid):
        if is_shipper(one):
            used.shipper_cpu += cpu(one)
            used.shipper_rss_mb += rss_mb(one)
        else:
            used.cpu += cpu(one)
            used.rss_mb += rss_mb(one)
    return used
