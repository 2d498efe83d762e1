"""One watch for every model that there is; those that appear later are taken up, those that are gone let go."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from trimtab.monitoring.models import Models
from trimtab.monitoring.turns import Turns, fails
from trimtab.monitoring.watch import Watch

if TYPE_CHECKING:
    from trimtab.monitoring.metrics import WatchMetrics

_log = logging.getLogger(__name__)


class Watches:
    """Watches every model; one with a fault does not stop the others.

    Args:
        models: which there are.
        make: makes a model's watch.
        metrics: where models that are gone are taken off; None for none.
        turns: when each is looked at.
    """

    def __init__(
        self,
        models: Models,
        make: Callable[[str], Watch],
        metrics: WatchMetrics | None = None,
        turns: Turns | None = None,
    ) -> None:
        self.models = models
        self.turns = turns or Turns(5.0)
        self._make = make
        self._metrics = metrics
        self._watched: dict[str, Watch] = {}
        self._failures = 0

    @property
    def names(self) -> list[str]:
        """The models that are watched, sorted."""
        return sorted(self._watched)

    def step(self, stop: threading.Event | None = None) -> float:
        """Look once at every model whose turn it is.

        Args:
            stop: when set, the models that are left are not looked at.

        Returns:
            Seconds until the next look.
        """
        self._failures = self._failures + 1 if fails(self._find) else 0
        for name, watch in self._watched.items():
            if self.turns.due(name) and not (stop is not None and stop.is_set()):
                self.turns.take(name, watch.step)
        return self.turns.wait(self._watched) if self._watched else self.turns.pause(self._failures)

    def run(self, stop: threading.Event) -> None:
        """Step until told to stop."""
        while not stop.is_set():
            stop.wait(self.step(stop))

    def _find(self) -> None:
        found = self.models.names()
        for name in found:
            if name not in self._watched:
                _log.info("watching %s", name, extra={"model": name})
                self._watched[name] = self._make(name)
        for name in self._watched.keys() - set(found):
            _log.info("%s is gone from the store", name, extra={"model": name})
            del self._watched[name]
            self.turns.forget(name)
            if self._metrics is not None:
                self._metrics.forget_model(name)
