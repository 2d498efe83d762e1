"""The batcher over a real small model that counts its runs: who runs with whom, and who waits for whom."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.serving.bundles import DIGITS, write_bundle

from trimtab.serving.admission import Overloaded
from trimtab.serving.batcher import Batcher
from trimtab.serving.limits import Limits
from trimtab.serving.model import LoadedModel

Array = np.ndarray[Any, Any]


class Counted(LoadedModel):
    """A version that says how many rows each run had, and holds its runs while told to."""

    sizes: list[int]
    go: threading.Event
    begun: threading.Event
    pause = 0.0

    def run(self, tensors: dict[str, Array]) -> Array:
        self.sizes.append(len(tensors["image"]))
        self.begun.set()
        assert self.go.wait(60)
        time.sleep(self.pause)
        return super().run(tensors)


@pytest.fixture
def model(tmp_path: Path) -> Counted:
    import onnxruntime as ort

    write_bundle(tmp_path, "digits")
    session = ort.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    made = Counted(
        "digits", "v1-00000000", DIGITS, session, None, Limits(batch_rows=16, batch_delay_ms=20, latency_ms=3_600_000)
    )
    made.row_seconds = 0.05
    made.sizes, made.go, made.begun = [], threading.Event(), threading.Event()
    made.go.set()
    return made


def rows(n: int, seed: int) -> dict[str, Array]:
    return {"image": np.random.default_rng(seed).uniform(0, 16, (n, 8, 8)).astype(np.float32)}


def drive(batcher: Batcher, work: Coroutine[Any, Any, Any]) -> Any:
    try:
        return asyncio.run(asyncio.wait_for(work, 60))
    finally:
        batcher.close()


async def held(model: Counted, batcher: Batcher, sizes: list[int]) -> list[Array]:
    """One row begins and is held; then the others come; then all go on."""
    model.go.clear()
    first = asyncio.ensure_future(batcher.run(model, rows(1, 99), 1))
    await asyncio.to_thread(model.begun.wait, 60)
    others = [asyncio.ensure_future(batcher.run(model, rows(n, i), n)) for i, n in enumerate(sizes)]
    await asyncio.sleep(0)  # each has queued
    model.go.set()
    await first
    return list(await asyncio.gather(*others))


def test_rows_that_come_during_a_run_are_run_together_and_each_gets_its_own(model: Counted) -> None:
    batcher = Batcher()
    sizes = [1, 3, 1, 2]
    outputs = drive(batcher, held(model, batcher, sizes))
    assert model.sizes == [1, 7]
    for i, (n, output) in enumerate(zip(sizes, outputs, strict=True)):
        np.testing.assert_allclose(output, LoadedModel.run(model, rows(n, i)), atol=1e-6)


def test_a_run_has_no_more_rows_than_the_setting_and_a_large_request_runs_alone(model: Counted) -> None:
    model.limits = model.limits._replace(batch_rows=4)
    batcher = Batcher()
    drive(batcher, held(model, batcher, [1, 1, 1, 1, 1, 9, 2]))
    assert model.sizes == [1, 4, 1, 9, 2]


def test_how_many_rows_a_run_may_have_is_found_by_trying(model: Counted) -> None:
    model.row_seconds = 1.0  # of ten seconds a run may take three: three rows, by what is known at the start
    batcher = Batcher(latency_ms=10_000)

    async def work() -> None:
        await asyncio.gather(*(batcher.run(model, rows(1, i), 1) for i in range(40)))

    drive(batcher, work())
    assert model.sizes[:3] == [1, 3, 5]  # they take far less than a second each
    assert sum(model.sizes) == 40


def test_runs_that_take_too_long_become_smaller(model: Counted) -> None:
    model.row_seconds, model.pause = 0.0001, 0.02
    batcher = Batcher(latency_ms=10)

    async def work() -> None:
        await asyncio.gather(*(batcher.run(model, rows(1, i), 1) for i in range(80)))

    drive(batcher, work())
    assert model.sizes[1] == 11
    assert model.sizes[-1] == 1
    assert sum(model.sizes) == 80


def test_two_runs_at_once_share_what_waits(model: Counted) -> None:
    batcher = Batcher(2)

    async def work() -> None:
        model.go.clear()
        first = [asyncio.ensure_future(batcher.run(model, rows(1, i), 1)) for i in range(2)]
        while len(model.sizes) < 2:  # both are held
            await asyncio.sleep(0.001)
        others = [asyncio.ensure_future(batcher.run(model, rows(1, i), 1)) for i in range(8)]
        await asyncio.sleep(0)
        model.go.set()
        await asyncio.gather(*first, *others)

    drive(batcher, work())
    assert sum(model.sizes) == 10
    assert max(model.sizes) <= 8


def test_requests_one_after_another_never_wait_for_company(model: Counted) -> None:
    model.limits = model.limits._replace(batch_delay_ms=10_000)
    batcher = Batcher()  # company would be waited for ten seconds, and the whole of this test has sixty

    async def work() -> None:
        for i in range(20):
            await batcher.run(model, rows(1, i), 1)

    drive(batcher, work())
    assert model.sizes == [1] * 20


def test_after_a_crowd_a_row_waits_for_others_but_not_longer_than_the_setting(model: Counted) -> None:
    model.limits = model.limits._replace(batch_delay_ms=200)
    batcher = Batcher()

    async def work() -> tuple[float, float]:
        await held(model, batcher, [1] * 8)
        loop = asyncio.get_running_loop()
        began = loop.time()
        lone = asyncio.ensure_future(batcher.run(model, rows(1, 1), 1))
        await asyncio.sleep(0)
        runs = len(model.sizes)
        await lone
        return runs, loop.time() - began

    runs, waited = drive(batcher, work())
    assert runs == 2  # the lone row was not begun at once …
    assert model.sizes == [1, 8, 1]  # … and ran without company in the end
    assert waited > 0.19


def test_company_that_was_waited_for_ends_the_waiting(model: Counted) -> None:
    model.limits = model.limits._replace(batch_delay_ms=50_000)
    batcher = Batcher()

    async def work() -> None:
        await held(model, batcher, [1] * 8)
        # The memory of nine rows under way has faded to seven: with the seventh they go, long before the delay is over.
        await asyncio.gather(*(batcher.run(model, rows(1, i), 1) for i in range(7)))

    drive(batcher, work())
    assert model.sizes == [1, 8, 7]


def test_a_row_that_the_graph_cannot_take_fails_alone(model: Counted) -> None:
    batcher = Batcher()

    async def work() -> list[Array | BaseException]:
        model.go.clear()
        first = asyncio.ensure_future(batcher.run(model, rows(1, 1), 1))
        await asyncio.to_thread(model.begun.wait, 60)
        bad = {"image": np.zeros((1, 3, 8), np.float32)}
        others = [batcher.run(model, rows(1, 2), 1), batcher.run(model, bad, 1), batcher.run(model, rows(2, 3), 2)]
        futures = [asyncio.ensure_future(one) for one in others]
        await asyncio.sleep(0)
        model.go.set()
        await first
        return list(await asyncio.gather(*futures, return_exceptions=True))

    one, bad, two = drive(batcher, work())
    assert isinstance(bad, Exception)
    np.testing.assert_allclose(one, LoadedModel.run(model, rows(1, 2)), atol=1e-6)
    np.testing.assert_allclose(two, LoadedModel.run(model, rows(2, 3)), atol=1e-6)


class Hurried:
    """A request whose deadline is near."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def check(self) -> None:
        """It has not passed yet."""

    def left(self) -> float:
        return self.seconds

    def leave(self) -> None:
        """It had no room."""


def test_a_request_whose_deadline_passes_is_given_up_and_never_run(model: Counted) -> None:
    batcher = Batcher()

    async def work() -> None:
        model.go.clear()
        first = asyncio.ensure_future(batcher.run(model, rows(1, 1), 1))
        await asyncio.to_thread(model.begun.wait, 60)
        late = asyncio.ensure_future(batcher.run(model, rows(3, 2), 3, Hurried(0.01)))
        with pytest.raises(Overloaded) as given_up:
            await late
        assert given_up.value.status == 504
        model.go.set()
        await first
        await batcher.run(model, rows(1, 3), 1)

    drive(batcher, work())
    assert model.sizes == [1, 1]


def test_quick_models_are_not_taken(model: Counted) -> None:
    batcher = Batcher()
    assert batcher.takes(model, 1)
    model.row_seconds = 0.0005
    assert not batcher.takes(model, 1)
    batcher.close()
