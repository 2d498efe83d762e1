"""What a fit computes on: a GPU where there is one and it was asked for, else the CPU; and how it uses it.

On the CPU nothing here changes what is computed: 32-bit floats, rows taken as they lie, no compiler.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

    from trimtab.train.fits import Plan

# Rows stay on the GPU for the whole fit where they take at most this share of its free memory.
RESIDENT_SHARE = 0.5


@dataclass(frozen=True)
class Device:
    """What there is to compute on.

    Attributes:
        kind: Lightning's name of it.
        name: the GPU's own name, or `cpu`.
        free_bytes: free memory of the GPU; 0 for the CPU.
        bf16: whether it computes in bfloat16 itself, and not by emulation.
        compiler: whether kernels can be compiled for it here: Triton and a C compiler.
    """

    kind: Literal["cpu", "gpu"] = "cpu"
    name: str = "cpu"
    free_bytes: int = 0
    bf16: bool = False
    compiler: bool = False


@dataclass(frozen=True)
class Use:
    """How a fit uses its device.

    Attributes:
        accelerator: Lightning's name of it.
        name: the GPU's own name, or `cpu`.
        precision: Lightning's name: `bf16-mixed` computes in bfloat16 under autocast, weights stay 32 bits wide.
        rows: where they lie: `cpu`, `gpu` (moved once), or `pinned` (each batch is copied while the last computes).
        compiles: whether compiling the networks may be tried, once their steps have been timed.
        deterministic: whether only what computes the same each time may be used.
    """

    accelerator: Literal["cpu", "gpu"] = "cpu"
    name: str = "cpu"
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    rows: Literal["cpu", "gpu", "pinned"] = "cpu"
    compiles: bool = False
    deterministic: bool = False


ON_CPU = Use()


def find(asked: str, candidate: str) -> Device:
    """The device to train on: a file that asks its pods for a GPU also trains where there is none.

    Args:
        asked: `gpu` or `cpu`.
        candidate: the candidate's name, for the log.
    """
    if asked != "gpu":
        return Device()
    import torch

    if not torch.cuda.is_available():
        logging.getLogger(__name__).warning("no GPU here: %s is trained on the CPU", candidate)
        return Device()
    free, _ = torch.cuda.mem_get_info()
    return Device(
        kind="gpu",
        name=torch.cuda.get_device_name(),
        free_bytes=int(free),
        bf16=bool(torch.cuda.is_bf16_supported(including_emulation=False)),
        compiler=compiler_there(),
    )


def compiler_there() -> bool:
    """Whether torch.compile could make kernels here; the stage image has no compiler."""
    names = [os.environ.get("CC", ""), "cc", "gcc", "clang"]
    return importlib.util.find_spec("triton") is not None and any(shutil.which(n) for n in names if n)


def use(device: Device, row_bytes: int, *, precision: str = "auto", deterministic: bool = False) -> Use:
    """How to use a device.

    Args:
        device: what there is.
        row_bytes: what all rows and targets take, bytes.
        precision: `auto` or `float32`.
        deterministic: whether the same rows and seed must give the same weights; a compiler's choices hang on timing.

    >>> use(Device("gpu", "L4", free_bytes=100, bf16=True, compiler=True), 60).rows
    'pinned'
    """
    if device.kind == "cpu":
        return Use(deterministic=deterministic)
    return Use(
        accelerator="gpu",
        name=device.name,
        precision="bf16-mixed" if device.bf16 and precision == "auto" else "32-true",
        rows="gpu" if row_bytes <= RESIDENT_SHARE * device.free_bytes else "pinned",
        compiles=device.compiler and not deterministic,
        deterministic=deterministic,
    )


class Rows:
    """Rows and targets, held where taking a batch of them is cheapest."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor, how: Use) -> None:
        self._where = how.rows
        if self._where == "gpu":
            x, y = x.to("cuda"), y.to("cuda")
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows at these positions (a tensor on the CPU), and their targets."""
        if self._where == "gpu":
            rows = rows.to(self.x.device, non_blocking=True)
        x, y = self.x[rows], self.y[rows]
        if self._where == "pinned":  # Lightning copies pinned batches without waiting for them
            return x.pin_memory(), y.pin_memory()
        return x, y


@contextmanager
def repeatable(plan: Plan) -> Iterator[None]:
    """Let only what computes the same each time be used, where that was asked for and does not hold anyway."""
    import torch

    if not plan.use.deterministic or plan.use.accelerator == "cpu":
        yield
        return
    # cuBLAS reads it when its first handle is made; a compiled pipeline sets it for the whole task.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def facts(plan: Plan) -> dict[str, Any]:
    """What the run record says about how a fit computed."""
    how = plan.use
    return {
        "device": how.name,
        "precision": "bfloat16" if how.precision == "bf16-mixed" else "float32",
        "rows_on": how.rows,
        "compiled": bool(plan.notes.get("compiled", False)),
        "deterministic": how.deterministic or how.accelerator == "cpu",
        "seed": plan.seed,
    }
