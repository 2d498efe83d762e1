"""Which models there are: the store's, looked for now and then, so that one watch and one hook serve all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from trimtab.core import bundle

if TYPE_CHECKING:
    from trimtab.core.store import Store

# New models are looked for once in so many polls: one listing a model is dear where nothing else happens.
POLLS = 3


class Models:
    """The names of the models that a process looks after; safe to share between threads.

    Args:
        store: where they are found.
        names: these and no others; none takes whatever the store has, also what comes and goes later.
        every_seconds: pause between two looks.
        clock: gives seconds.

    >>> Models(None, ["digits"]).names()
    ['digits']
    """

    def __init__(
        self,
        store: Store | None,
        names: Sequence[str] = (),
        every_seconds: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.fixed = tuple(names)
        self.every_seconds = every_seconds
        self._clock = clock
        self._known: list[str] = []
        self._looked: float | None = None
        self._lock = threading.Lock()

    def names(self, *, now: bool = False) -> list[str]:
        """The models, sorted; as they were at the last look unless that is too long ago.

        Args:
            now: look at the store now.

        Raises:
            StoreError: the store could not be listed; those known before stay known.
        """
        if self.fixed or self.store is None:
            return list(self.fixed)
        with self._lock:
            if now or self._looked is None or self._clock() - self._looked >= self.every_seconds:
                self._known = bundle.list_models(self.store)
                self._looked = self._clock()
            return list(self._known)
