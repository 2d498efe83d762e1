"""What the app asks of its neighbours on the way of a request: who may ask, whether there is room, who runs it.

Each may be absent: then everyone may ask, there is always room, and a request runs by itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from trimtab.serving.http import Headers, Scope
    from trimtab.serving.model import LoadedModel, Tensors


class Keys(Protocol):
    """Who may ask for predictions."""

    def check(self, authorization: bytes | None) -> str | None:
        """The key's name, from the `Authorization` header; asked before the body is read.

        Raises:
            RequestError: 401, no key that counts; 403, it is not for this.
        """
        ...


class Slot(Protocol):
    """A place among the requests in flight."""

    def check(self) -> None:
        """Called once the body is whole, and again before the model where it waited in between.

        Raises:
            RequestError: 429, there is no room; 504, the deadline has passed.
        """

    def left(self) -> float:
        """Seconds until the deadline."""
        ...

    def leave(self) -> None:
        """Give it back; called once, whatever became of the request."""


class Admission(Protocol):
    """Whether there is room for one more request."""

    def glance(self, headers: Mapping[bytes, bytes]) -> None:
        """Look at a whole request that is answered at once; it takes no room.

        Raises:
            RequestError: 429 and 504, as `enter`.
        """

    def enter(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Slot:
        """Take a place; asked before the body is read. A deadline is among the headers, or the default.

        Raises:
            RequestError: 429, with the seconds after which to try again (`retry_after`).
        """
        ...


class Batcher(Protocol):
    """Runs rows of several requests together."""

    def takes(self, model: LoadedModel, n: int) -> bool:
        """Whether a request of n rows goes through it; quick models never do."""
        ...

    def run(self, model: LoadedModel, tensors: Tensors, n: int, slot: Any) -> Awaitable[np.ndarray[Any, Any]]:
        """The output for these rows, float32 [n, k] or [n, 1]."""
        ...


class Shadow(Protocol):
    """Has a second version answer the same rows, for comparison alone."""

    def offer(self, model: LoadedModel, tensors: Tensors, outputs: Sequence[Any]) -> None:
        """Rows that `model` answered with `outputs`; taken if there is room, never waited for."""


class Trace(Protocol):
    """One request's place in a trace, and its id."""

    headers: Headers
    request_id: str
    trace_id: str

    def end(self, version: str, code: int) -> None:
        """The request was answered; called once."""


class Tracing(Protocol):
    """Reads request ids and W3C trace contexts."""

    def context(self, headers: Mapping[bytes, bytes], protocol: str) -> Trace | None:
        """The request's, with the headers its answer carries; None where there is nothing to do (the cheap way)."""
        ...
