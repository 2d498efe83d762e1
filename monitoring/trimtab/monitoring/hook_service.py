"""The hook's process: alerts answered as they come, rollouts and campaigns stepped in the background."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

from trimtab.core import bundle
from trimtab.core.errors import TrimtabError
from trimtab.core.launch import Launcher
from trimtab.monitoring import campaign, overview
from trimtab.monitoring.actuators import Actuator
from trimtab.monitoring.campaign_data import Readers
from trimtab.monitoring.campaign_gain import Gains
from trimtab.monitoring.campaign_open import Answer
from trimtab.monitoring.controller import Controller
from trimtab.monitoring.replay import Replays
from trimtab.monitoring.shared_work import SharedWork

if TYPE_CHECKING:
    from trimtab.core.store import Store

# After a failed round the next one waits longer, up to this factor of the poll interval.
BACKOFF = 20
_log = logging.getLogger(__name__)


class HookService:
    """Answers alerts, and steps every model's rollout and campaign.

    Args:
        store: the store.
        launcher: starts pipeline runs.
        actuator: the place where versions serve.
        models: names of the models; none takes every model of the store.
        poll_seconds: pause between two rounds.
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
        self.names = tuple(models)
        self.poll_seconds = poll_seconds
        self.readers = Readers()
        self.replays = Replays()
        self.gains = Gains(store, self.readers)
        self.waiting: dict[str, str] = {}
        self._answering: dict[str, SharedWork[Answer]] = {}
        self._nudged = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def models(self) -> list[str]:
        """The models that are looked after."""
        return list(self.names) if self.names else bundle.list_models(self.store)

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
        return done + moved + (controller.step() if moved else [])

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

    def _run(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            self._nudged.clear()
            failures = failures + 1 if self._failing_round() else 0
            if failures:
                self._stopped.wait(self.poll_seconds * min(2**failures, BACKOFF))
            else:
                self._nudged.wait(self.poll_seconds)

    def _failing_round(self) -> bool:
        """One round in which no model's trouble keeps the others from their step; whether any had trouble."""
        trouble = False
        try:
            names = self.models()
        except TrimtabError as error:
            _log.error(error.sentence(), extra={"kind": error.kind})
            return True
        for model in names:
            try:
                self.step(model)
            except TrimtabError as error:
                trouble = True
                _log.error(error.sentence(), extra={"kind": error.kind, "model": model})
            except Exception:  # noqa: BLE001 - said with its traceback, and tried again
                # A fault of ours must not end the process that guards the rollouts: said, and tried again.
                trouble = True
                _log.exception("a step failed", extra={"model": model})
        return trouble


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
