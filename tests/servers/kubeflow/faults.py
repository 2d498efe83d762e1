"""Failing on demand, in each way that a KFP backend and what stands before it were seen to fail."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import Literal

How = Literal["answer", "empty", "hang", "break", "reset", "lost", "trickle", "page", "redirect"]


@dataclass
class Fault:
    """One way to fail.

    Attributes:
        match: pattern of `METHOD path`, e.g. `POST .*/runs$`.
        how: `answer` a proper error with `status`; `empty` the same without a word; `hang` without an answer;
            `break` the answer off in its middle; `reset` the connection; `lost`: do what is asked, then reset;
            `trickle` the answer, a byte now and then; `page` a login page with 200; `redirect` to one.
        status: HTTP status of `answer` and `empty`.
        words: the error's sentence.
        times: how often; below zero for ever.
    """

    match: str
    how: How = "answer"
    status: int = 500
    words: str = "internal error"
    times: int = 1


class Faults:
    """The faults that are to happen, in order."""

    def __init__(self) -> None:
        self._planned: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, *faults: Fault) -> None:
        """Plan faults."""
        with self._lock:
            self._planned += faults

    def clear(self) -> None:
        """Plan none any more."""
        with self._lock:
            self._planned.clear()

    def take(self, request: str) -> Fault | None:
        """The fault that meets a request, counted down."""
        with self._lock:
            for fault in self._planned:
                if fault.times != 0 and re.fullmatch(fault.match, request):
                    fault.times -= 1
                    return fault
        return None
