"""What a process used of its GPU: seconds, how busy it was, and the most memory it held.

Read from torch where a stage has loaded it; utilisation by NVIDIA's own library through `torch.cuda.utilization`,
where that is installed.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from types import TracebackType
from typing import Any

INTERVAL_SECONDS = 2.0


class Usage:
    """Watches this process's GPU while it is entered; costs nothing where there is none.

    Args:
        every: seconds between two looks at how busy the GPU is.

    >>> Usage().spent(3.0)
    {'gpu_seconds': 0.0}
    """

    def __init__(self, every: float = INTERVAL_SECONDS) -> None:
        self._every = every
        self._busy: list[float] = []
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Usage:
        self._thread = threading.Thread(target=self._watch, name="gpu-usage", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()

    def spent(self, wall: float) -> dict[str, float]:
        """The cost's fields.

        Args:
            wall: seconds that the stage took; a GPU is a pod's alone for as long as the pod runs.

        Returns:
            `gpu_seconds`; where a GPU was used also `gpu_peak_memory_bytes`, and `gpu_utilisation_ratio` with the
            `gpu_busy_seconds` that follow from it where it could be read.
        """
        cuda = _cuda()
        if cuda is None:
            return {"gpu_seconds": 0.0}
        found = {"gpu_seconds": round(wall, 3), "gpu_peak_memory_bytes": float(cuda.max_memory_reserved())}
        if self._busy:
            ratio = sum(self._busy) / len(self._busy) / 100
            found |= {"gpu_utilisation_ratio": round(ratio, 4), "gpu_busy_seconds": round(wall * ratio, 3)}
        return found

    def _watch(self) -> None:
        while not self._end.wait(self._every):
            cuda = _cuda()
            if cuda is None:
                continue
            # Without NVIDIA's library, or with a GPU that does not tell, the ratio is left out.
            with contextlib.suppress(Exception):
                self._busy.append(float(cuda.utilization()))


def _cuda() -> Any:
    """Torch's view of the GPU, once the process uses one."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    return cuda if cuda is not None and cuda.is_initialized() else None
