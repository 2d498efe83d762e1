"""What the app asks of its neighbours on the way of a request: who may ask, whether there is room, who runs it.

Each may be absent: then everyone may ask, there is always room, and a request runs by itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
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


class Slot(Protocol):
    """A request's way through the server: its room among those in flight, and its deadline."""

    def check(self) -> None:
        """Take room, once the body is whole; asked again before the model runs, where the request waited in between.

        Raises:
            RequestError: 429, there is no room; 504, the deadline has passed.
        """

    def left(self) -> float:
        """Seconds until the deadline."""

    def leave(self) -> None:
        """Give the room back; called once, whatever became of the request."""


class Admission(Protocol):
    """Whether there is room for one more request."""

    def enter(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Slot:
        """Begin; asked before the body is read. A deadline is among the headers, or the default.

        Raises:
            RequestError: 429, with the seconds after which to try again; 504, the deadline has passed.
        """


class Batcher(Protocol):
    """Runs rows of several requests together."""

    def takes(self, model: LoadedModel, n: int) -> bool:
        """Whether a request of n rows goes through it; quick models never do."""

    def run(
        self, model: LoadedModel, tensors: Tensors, n: int, slot: Slot | None = None
    ) -> Awaitable[np.ndarray[Any, Any]]:
        """The output for these rows, float32 [n, k] or [n, 1]."""


class Trace(Protocol):
    """One request's place in a trace, and its id."""

    headers: Headers

    def end(self, version: str, code: int) -> None:
        """The request was answered; called once."""


class Tracing(Protocol):
    """Reads request ids and W3C trace contexts."""

    def context(self, headers: Mapping[bytes, bytes], protocol: str) -> Trace | None:
        """The request's, with the headers its answer carries; None where there is nothing to do (the cheap way)."""
