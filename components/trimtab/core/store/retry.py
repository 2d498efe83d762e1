"""Retries with backoff and a limit: short hiccups are waited out, longer ones are the caller's to handle."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Retry:
    """How often and how long apart a request is tried.

    Attributes:
        attempts: how often at most, the first included.
        base: mean wait before the second attempt, seconds; doubled each time.
        cap: longest wait, seconds.
        sleep: how to wait (a test's own clock).
    """

    attempts: int = 6
    base: float = 0.1
    cap: float = 3.0
    sleep: Callable[[float], None] = time.sleep

    def tries(self) -> Iterator[int]:
        """Attempt numbers from 1, waiting between them; jitter keeps rivals from meeting again.

        >>> waits = []
        >>> list(Retry(attempts=4, base=0.1, sleep=waits.append).tries()), len(waits)
        ([1, 2, 3, 4], 3)
        """
        for attempt in range(1, self.attempts + 1):
            if attempt > 1:
                wait = min(self.cap, self.base * 2 ** (attempt - 2))
                self.sleep(wait * random.uniform(0.5, 1.5))  # noqa: S311 (jitter, not a secret)
            yield attempt
