"""One piece of work for all who ask for it at about the same time: a storm of alerts looks at the store a few times."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedWork(Generic[T]):
    """Work whose result serves everybody who asked before it began.

    Nobody gets the result of work that began before they asked, so each sees the effect of whatever happened before.
    Where it raises, all who share it get the exception.

    Attributes:
        asked: how often it was asked for.

    >>> shared = SharedWork[int]()
    >>> shared.result(lambda: 3)
    3
    """

    def __init__(self) -> None:
        self._counting = threading.Lock()
        self._working = threading.Lock()
        self.asked = 0
        self._begun = 0
        self._ended = 0
        self._value: T | None = None
        self._error: Exception | None = None

    def result(self, work: Callable[[], T]) -> T:
        """The result of this work, or of the same work that another thread began after this call."""
        with self._counting:
            first = self._begun + 1
            self.asked += 1
        with self._working:
            if self._ended < first:
                self._run(work)
            if self._error is not None:
                raise self._error
            return self._value  # type: ignore[return-value]  # set by the work that ended

    def _run(self, work: Callable[[], T]) -> None:
        with self._counting:
            self._begun += 1
        self._value, self._error = None, None
        try:
            self._value = work()
        except Exception as error:  # noqa: BLE001 - handed on to all who share it
            self._error = error
        self._ended = self._begun
