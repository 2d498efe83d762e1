"""Turns of the models in one process: each model has its own troubles and pauses, and none stops the others."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from trimtab.core import logs
from trimtab.core.errors import TrimtabError

# After a failed turn the next one waits longer, up to this factor of the poll interval.
BACKOFF = 20
_log = logging.getLogger(__name__)


@dataclass
class _Turn:
    """How often a model's turn failed in a row, and when the next one is."""

    failures: int = 0
    due: float = 0.0


class Turns:
    """When each model is to be looked at again.

    Args:
        poll_seconds: pause between two turns of a model.
        clock: gives seconds.

    >>> turns = Turns(5.0, clock=lambda: 100.0)
    >>> turns.take("digits", lambda: None), turns.due("digits"), turns.due("bikes"), turns.wait(["digits"])
    (True, False, True, 5.0)
    """

    def __init__(self, poll_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.poll_seconds = poll_seconds
        self._clock = clock
        self._turns: dict[str, _Turn] = {}

    def due(self, name: str) -> bool:
        """Whether it is this one's turn."""
        return name not in self._turns or self._turns[name].due <= self._clock()

    def take(self, name: str, step: Callable[[], object]) -> bool:
        """Do what is to be done for this one; trouble is said in the log and tried again after a longer pause.

        Returns:
            Whether all went well.
        """
        turn = self._turns.setdefault(name, _Turn())
        with logs.about(model=name):
            turn.failures = turn.failures + 1 if fails(step) else 0
        turn.due = self._clock() + self.pause(turn.failures)
        return not turn.failures

    def pause(self, failures: int) -> float:
        """Seconds to the next turn after so many failures in a row."""
        return self.poll_seconds * min(2 ** min(failures, 10), BACKOFF) if failures else self.poll_seconds

    def hurry(self) -> None:
        """Something happened: it is everybody's turn but of those in trouble."""
        for turn in self._turns.values():
            if not turn.failures:
                turn.due = 0.0

    def wait(self, names: Iterable[str]) -> float:
        """Seconds until the next turn of any of these, one poll at most."""
        moments = [self._turns[n].due - self._clock() if n in self._turns else 0.0 for n in names]
        return max(0.0, min([self.poll_seconds, *moments]))

    def forget(self, name: str) -> None:
        """This one is gone."""
        self._turns.pop(name, None)


def fails(do: Callable[[], object]) -> bool:
    """Whether it raises, which is said in the log."""
    try:
        do()
    except TrimtabError as error:
        _log.error(error.sentence(), extra={"kind": error.kind})
    except Exception:  # noqa: BLE001 - a fault of ours must not end the process; it is said and tried again
        _log.exception("a step failed")
    else:
        return False
    return True
