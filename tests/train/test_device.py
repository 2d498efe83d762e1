"""What a fit computes on. No GPU is needed: what torch says of one is stood in for, and the paths that a CPU has too
(bfloat16 under autocast, rows moved once, only repeatable algorithms, steps that are timed) run for real on it."""

from __future__ import annotations

import dataclasses
import sys
import threading
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.stages import Line
from tests.tables import MIXED, mixed

from trimtab.core.blocks import Candidate
from trimtab.core.gpus import Usage
from trimtab.train import compiling, device
from trimtab.train.device import ON_CPU
from trimtab.train.fits import Plan
from trimtab.train.stage import TrainConfig, train

GPU = device.Device("gpu", "NVIDIA L4", free_bytes=10_000, bf16=True, compiler=True)


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """torch as it speaks where there is a GPU."""

    def have(bf16: bool = True, free: int = 24_000_000_000) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, free))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA L4")
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16)

    return have


def test_a_gpu_is_used_where_one_is_asked_for_and_there(
    fake_gpu: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.find("gpu", "mlp") == device.Device()
    assert "mlp is trained on the CPU" in caplog.text
    fake_gpu()
    found = device.find("gpu", "mlp")
    assert (found.kind, found.name, found.bf16, found.free_bytes) == ("gpu", "NVIDIA L4", True, 24_000_000_000)
    assert device.find("cpu", "mlp") == device.Device()


def test_how_a_gpu_is_used() -> None:
    usual = device.use(GPU, 5_000)
    assert (usual.accelerator, usual.precision, usual.rows, usual.compiles) == ("gpu", "bf16-mixed", "gpu", True)
    assert device.use(GPU, 5_001).rows == "pinned"
    assert device.use(GPU, 1, precision="float32").precision == "32-true"
    assert device.use(dataclasses.replace(GPU, bf16=False), 1).precision == "32-true"
    assert not device.use(dataclasses.replace(GPU, compiler=False), 1).compiles
    assert not device.use(GPU, 1, deterministic=True).compiles, "what is compiled hangs on timing"
    assert dataclasses.replace(device.use(device.Device(), 1, deterministic=True), deterministic=False) == ON_CPU


def test_without_a_compiler_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert not device.compiler_there()


def test_rows_are_the_same_wherever_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = torch.randn(50, 3), torch.arange(50)
    order = torch.randperm(50)[:20]
    plain = device.Rows(x, y, ON_CPU).take(order)
    pinned: list[int] = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        pinned.append(len(tensor))
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *_, **__: tensor)
    for where in ("gpu", "pinned"):
        found = device.Rows(x, y, device.Use("gpu", rows=where)).take(order)
        assert all(torch.equal(a, b) for a, b in zip(found, plain, strict=True))
    assert pinned == [20, 20]


def test_only_repeatable_algorithms_are_used_where_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")  # the user's own stays
    plan = Plan(1, 8, 0, "mlp", device.use(GPU, 1, deterministic=True))
    assert not torch.are_deterministic_algorithms_enabled()
    with device.repeatable(plan):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    with device.repeatable(Plan(1, 8, 0, "mlp")):
        assert not torch.are_deterministic_algorithms_enabled()


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    made = Line(tmp_path_factory.mktemp("mixed"), mixed(), MIXED)
    made.prepare()
    return made


def fitted(line: Line, out: str, kind: str = "mlp", **config: Any) -> Any:
    candidate = Candidate(name=kind, kind=kind, params={"epochs": 4})
    asked = TrainConfig(candidate=candidate, name=kind, task="classification", metric="accuracy", **config)
    return train(asked, line.root / "prepared", line.root / out)


def test_a_fit_that_asks_for_a_gpu_in_vain_is_the_cpu_s_to_the_bit(line: Line) -> None:
    plain, asked = fitted(line, "plain"), fitted(line, "asked", accelerator="gpu", deterministic=True)
    assert plain.digest == asked.digest
    assert plain.hardware == {
        "device": "cpu", "precision": "float32", "rows_on": "cpu", "compiled": False, "deterministic": True,
        "seed": 0, "threads": 1,
    }  # fmt: skip


def test_bfloat16_under_autocast_learns_as_well(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real, on the CPU, which has the same autocast."""
    plain = fitted(line, "float32")
    how = device.Use("cpu", "cpu", precision="bf16-mixed")
    monkeypatch.setattr(device, "use", lambda *_, **__: how)
    half = fitted(line, "bfloat16")
    assert half.digest != plain.digest
    assert half.hardware["precision"] == "bfloat16"
    assert half.figures["accuracy"]["value"] > plain.figures["accuracy"]["value"] - 0.1
    from safetensors.numpy import load_file

    stored = load_file(next((line.root / "bfloat16").glob("*.safetensors")))
    assert {str(a.dtype) for a in stored.values() if np.issubdtype(a.dtype, np.floating)} == {"float32"}


class Clock:
    """Seconds by the step: so many for each step as it is, so many once compiled."""

    def __init__(self, eager: float, compiled: float) -> None:
        self.now, self.eager, self.compiled = 0.0, eager, compiled

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("eager", "compiled", "steps", "tried", "kept"),
    [(0.01, 0.005, 1_000, False, False), (0.01, 0.005, 1_000_000, True, True), (0.01, 0.0099, 1_000_000, True, False)],
    ids=["too short to pay", "pays", "no faster"],
)
def test_compiling_is_tried_where_it_can_pay_and_kept_where_it_does(
    monkeypatch: pytest.MonkeyPatch, eager: float, compiled: float, steps: int, tried: bool, kept: bool
) -> None:
    network = torch.nn.Linear(2, 2)
    calls = []

    def compile_in_place(self: torch.nn.Module) -> None:
        calls.append(self)
        self._compiled_call_impl = self.forward

    monkeypatch.setattr(torch.nn.Module, "compile", compile_in_place)
    clock, notes = Clock(eager, compiled), {}  # type: ignore[var-annotated]
    watcher = compiling.CompileWhenItPays([network], steps, notes, clock, wait=lambda: None)
    for _ in range(200):
        clock.now += compiled if network._compiled_call_impl is not None else eager
        watcher.on_train_batch_end(None, None, None, None, 0)
    assert bool(calls) is tried
    assert (network._compiled_call_impl is not None) is kept
    assert notes.get("compiled", False) is kept
    watcher.on_train_end(None, None)
    assert network._compiled_call_impl is None, "what is exported is the network as it was written"


def test_the_timing_of_steps_changes_nothing_that_is_computed(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, for real: steps are timed, and found too few to pay."""
    plain = fitted(line, "untimed")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(compiling.CompileWhenItPays.__init__, "__defaults__", (lambda: 0.0, lambda: None))
    monkeypatch.setattr(device, "use", lambda *_, **__: device.Use("cpu", "cpu", compiles=True))
    timed = fitted(line, "timed")
    assert timed.digest == plain.digest
    assert timed.hardware["compiled"] is False


def test_what_a_gpu_was_used_for_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    enough = threading.Event()

    def utilization() -> int:
        looked.append(1)
        if len(looked) == 4:
            enough.set()
        if len(looked) == 2:
            raise RuntimeError("NVML does not answer")
        return 40

    cuda = types.SimpleNamespace(is_initialized=lambda: True, max_memory_reserved=lambda: 123, utilization=utilization)
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))
    usage = Usage(every=0.001)
    with usage:
        assert enough.wait(20)
    spent = usage.spent(2.0)
    assert spent == {"gpu_seconds": 2.0, "gpu_peak_memory_bytes": 123.0, "gpu_utilisation_ratio": 0.4} | {
        "gpu_busy_seconds": 0.8
    }
    quiet = Usage()
    assert quiet.spent(2.0) == {"gpu_seconds": 2.0, "gpu_peak_memory_bytes": 123.0}
    cuda.is_initialized = lambda: False
    assert quiet.spent(2.0) == {"gpu_seconds": 0.0}
