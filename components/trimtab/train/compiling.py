"""torch.compile where it pays: tried once the steps have been timed, kept only if they got faster.

Compiling takes longer than most fits on tables do. So the first steps run as they are; from their time and the steps
still to come follows whether it can pay. Compiled steps are timed too, and taken back where they are no faster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import lightning.pytorch as pl
import torch

SKIPPED = 10  # steps that still choose algorithms, or compile
TIMED = 20
GAIN = 0.3  # what compiling saves of a step's time, as a guess
START_SECONDS, NETWORK_SECONDS = 20.0, 10.0
KEPT = 0.95  # of the time before: less of a gain is noise


def pays(step_seconds: float, steps_left: int, networks: int) -> bool:
    """Whether compiling would be back in before the fit is over.

    >>> pays(0.01, 1_000, 1), pays(0.01, 100_000, 1)
    (False, True)
    """
    return step_seconds * steps_left * GAIN > START_SECONDS + NETWORK_SECONDS * networks


class CompileWhenItPays(pl.Callback):
    """Times steps, compiles the networks in place, and undoes it where that does not help.

    Args:
        networks: what is compiled; their weights and names stay as they are.
        steps: of the whole fit.
        notes: told `compiled`, whether the fit ended with compiled networks.
        clock: seconds.
        wait: until the device has done what it was given.
    """

    def __init__(
        self,
        networks: Sequence[torch.nn.Module],
        steps: int,
        notes: dict[str, Any],
        clock: Callable[[], float] = time.perf_counter,
        wait: Callable[[], None] = torch.cuda.synchronize,
    ) -> None:
        self._networks, self._steps, self._notes = list(networks), steps, notes
        self._clock, self._wait = clock, wait
        self._seen = 0
        self._since = 0.0
        self._before = 0.0
        self._phase = "eager"

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Lightning's hook after each step."""
        if self._phase == "settled":
            return
        self._seen += 1
        if self._seen == SKIPPED:
            self._wait()
            self._since = self._clock()
        elif self._seen == SKIPPED + TIMED:
            self._wait()
            self._decide((self._clock() - self._since) / TIMED)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
        """Lightning's hook at the end: what is exported and kept is the network as it was written."""
        self._undo()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:  # noqa: ARG002
        """Lightning's hook when a fit fails."""
        self._undo()

    def _decide(self, seconds: float) -> None:
        if self._phase == "eager":
            self._before = seconds
            if pays(seconds, self._steps - self._seen, len(self._networks)):
                for network in self._networks:
                    network.compile()
                self._phase, self._seen = "compiled", 0
                return
        elif seconds > KEPT * self._before:
            self._undo()
        else:
            self._notes["compiled"] = True
        self._phase = "settled"

    def _undo(self) -> None:
        for network in self._networks:
            network._compiled_call_impl = None
