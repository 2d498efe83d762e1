"""The hook's process: alerts answered as they come, rollouts and campaigns stepped in the background."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence, Set
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from trimtab.core import ledger
from trimtab.core.launch import Launcher
from trimtab.monitoring import campaign, overview
from trimtab.monitoring.actuators import Actuator
from trimtab.monitoring.campaign_data import Readers
from trimtab.monitoring.campaign_gain import Gains
from trimtab.monitoring.campaign_open import Answer
from trimtab.monitoring.campaign_records import newest
from trimtab.monitoring.controller import Controller
from trimtab.monitoring.models import POLLS, Models
from trimtab.monitoring.replay import Replays
from trimtab.monitoring.shared_work import SharedWork
from trimtab.monitoring.turns import Turns, fails

if TYPE_CHECKING:
    from trimtab.core.store import Store


class HookService:
    """Answers alerts, and steps every model's rollout and campaign.

    Args:
        store: the store.
        launcher: starts pipeline runs.
        actuator: the place where versions serve.
        models: names of the models; none takes every model of the store, also those that come later.
        poll_seconds: pause between two steps of a model.
    """

    def __init__(
        self,
        store: Store,
        launcher: Launcher,
        actuator: Actuator,
        models: Sequence[str] = (),
        poll_seconds: float = 5.0,
    ) -> None:
        self.store = store
        self.launcher = launcher
        self.actuator = actuator
        self._models = Models(store, models, POLLS * poll_seconds)
        self._turns = Turns(poll_seconds)
        self._failures = 0
        self.readers = Readers()
        self.replays = Replays()
        self.gains = Gains(store, self.readers)
        self.waiting: dict[str, str] = {}
        self._answering: dict[str, SharedWork[Answer]] = {}
        self._nudged = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def models(self) -> list[str]:
        """The models that are looked after, as the store has them now."""
        return self._models.names(now=True)

    def known(self) -> list[str]:
        """The models that are looked after, as the store had them a few steps ago: costs nothing."""
        return self._models.names()

    def answers(self, asked: Mapping[str, str]) -> dict[str, Answer]:
        """Answer alerts that came together, one look at each model.

        Args:
            asked: model → why, in words.
        """
        known = set() if self._answering.keys() >= asked.keys() else set(self.models())
        return {model: self._answer(model, why, known) for model, why in asked.items()}

    def answer(self, model: str, why: str) -> Answer:
        """Answer an alert about a model; those of a storm share what was looked up after they came."""
        return self.answers({model: why})[model]

    def _answer(self, model: str, why: str, known: Set[str]) -> Answer:
        if model not in self._answering and model not in known:
            return Answer(reason=f"no model is called {model!r}")
        shared = self._answering.setdefault(model, SharedWork())
        found = shared.result(lambda: campaign.answer(self.store, model, why=why))
        self._nudged.set()
        return found

    def status(self) -> dict[str, Any]:
        """Every model's state, JSON."""
        return {"models": [overview.overview(self.store, m) | self._waits(m) for m in self.models()]}

    def _waits(self, model: str) -> dict[str, str]:
        return {"waiting": self.waiting[model]} if self.waiting.get(model) else {}

    def round(self) -> list[str]:
        """Step every model once; what was done, in words."""
        return [words for model in self.models() for words in self.step(model)]

    def step(self, model: str) -> list[str]:
        """Step one model; what was done, in words."""
        # The rollout first: what it decides is what the campaign waits for. And again, for what that asks.
        controller = Controller(self.store, model, self.actuator, self.readers, replays=self.replays)
        stepper = campaign.Stepper(self.store, model, self.launcher, self.readers)
        done = controller.step()
        moved = stepper.step()
        if not moved and (opened := self.gains.step(model)):
            moved = [opened, *stepper.step()]
        self.waiting[model] = stepper.waiting
        done += moved + (controller.step() if moved else [])
        self._rest(model)
        return done

    def _rest(self, model: str) -> None:
        """Let go of the log that was read and answered, where nothing is tried and no campaign is open."""
        if not self.readers.holds(model) and not self.replays.holds(self.store, model):
            return
        state = ledger.state(self.store, model)
        at = newest(self.store, model)
        if state.canary or state.shadow or (at is not None and not at.closed):
            return
        self.readers.forget(model)
        self.replays.forget(self.store, model)
        pa.default_memory_pool().release_unused()

    def start(self) -> None:
        """Step in a thread until `stop`."""
        self._thread = threading.Thread(target=self._run, name="rollouts-and-campaigns", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the round it is in."""
        self._stopped.set()
        self._nudged.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def turn(self) -> tuple[bool, float]:
        """Step every model whose turn it is; no model's trouble keeps the others from theirs.

        Returns:
            Whether all went well, and seconds until the next turn.
        """
        names: list[str] = []
        well = not fails(lambda: names.extend(self.known()))
        self._failures = 0 if well else self._failures + 1
        for model in names:
            if self._turns.due(model) and not self._stopped.is_set():
                well = self._turns.take(model, partial(self.step, model)) and well
        return well, self._turns.wait(names) if names else self._turns.pause(self._failures)

    def _run(self) -> None:
        while not self._stopped.is_set():
            if self._nudged.is_set():
                self._nudged.clear()
                self._turns.hurry()
            self._nudged.wait(self.turn()[1])


def serve(service: HookService, app: Any, host: str, port: int) -> None:
    """Serve the hook's app until SIGTERM or Ctrl-C, with the service's thread beside it."""
    import signal

    import uvicorn

    config = uvicorn.Config(app, host=host, port=port, log_config=None, lifespan="off", access_log=False)
    # uvicorn raises the signal again once it has drained; the thread is to be ended after that.
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGTERM, lambda *_: None)
    service.start()
    try:
        uvicorn.Server(config).run()
    finally:
        service.stop()
