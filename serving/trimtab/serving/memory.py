"""What request bodies may take of this process's memory: while they come, and while they are parsed.

Eight megabytes of JSON become 300 as Python objects where they are nothing but brackets. Such a body is refused before
it is parsed; what large bodies need together is bounded, and they wait for each other rather than add up.
"""

from __future__ import annotations

import asyncio
from collections import deque

from trimtab.core.errors import RequestError

# Bodies that together hold more than so many of the largest are told to come later.
BODIES = 4
# Parsing may take so many times the largest body.
FACTOR = 10
# Bytes of memory per byte of a body at the very worst; what is larger than `EXACT` is looked at instead.
WORST = 42
EXACT = 1 << 20
SMALL = 32_768


def parse_cost(body: bytes) -> int:
    """About how many bytes a body takes as Python objects, measured with orjson: too high rather than too low.

    >>> parse_cost(b"[1,2]") < parse_cost(b"[" * 100)
    True
    """
    if len(body) <= EXACT:
        return len(body) * WORST
    arrays, objects, values = body.count(b"["), body.count(b"{"), body.count(b",")
    return len(body) + 88 * arrays + 200 * objects + 26 * (values + body.count(b".")) + 30 * body.count(b'"')


class Memory:
    """The account of one event loop.

    Attributes:
        held: bytes of large bodies that are here, whole or in part.
        parsing: what parsing takes now, by estimate.
    """

    def __init__(self) -> None:
        self.held = 0
        self.parsing = 0
        self._waiting: deque[tuple[int, int, asyncio.Future[None]]] = deque()

    def share(self, limit: int) -> Share:
        """What one request takes.

        Args:
            limit: the largest body in bytes.
        """
        return Share(self, limit)

    async def _room(self, cost: int, most: int) -> None:
        """Wait until parsing has room."""
        if not self._waiting and (self.parsing == 0 or self.parsing + cost <= most):
            self.parsing += cost
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (cost, most, turn)
        self._waiting.append(entry)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give(cost)
            else:
                self._waiting.remove(entry)
            raise

    def _give(self, cost: int) -> None:
        self.parsing -= cost
        while self._waiting:
            cost, most, turn = self._waiting[0]
            if self.parsing and self.parsing + cost > most:
                return
            self._waiting.popleft()
            if not turn.cancelled():
                self.parsing += cost
                turn.set_result(None)


class Share:
    """What one request takes; `release` gives it back, once."""

    __slots__ = ("_cost", "_held", "_limit", "_memory")

    def __init__(self, memory: Memory, limit: int) -> None:
        self._memory, self._limit = memory, limit
        self._held = self._cost = 0

    def hold(self, size: int) -> None:
        """So many bytes more of the body are here.

        Raises:
            RequestError: 429, too many large bodies are on their way at once.
        """
        memory, most = self._memory, BODIES * self._limit
        if memory.held + size > most and memory.held > self._held:
            raise RequestError(
                429,
                "too many large bodies are on their way",
                object="body",
                expected=f"at most {most} bytes at once, of all requests together",
                got=f"{memory.held + size} bytes",
                hint="send fewer at once, or in smaller requests",
            )
        memory.held += size
        self._held += size

    async def parse(self, body: bytes) -> None:
        """Make room for parsing a body; small ones have it.

        Raises:
            RequestError: 413, it would take too much.
        """
        if len(body) <= SMALL:
            return
        cost, most = parse_cost(body), FACTOR * self._limit
        if cost > most and len(body) > EXACT:
            raise RequestError(
                413,
                "the body would take too much memory",
                object="body",
                expected=f"at most {most} bytes once it is parsed",
                got=f"about {cost} bytes",
                hint="send fewer instances in one request, without empty arrays or objects",
            )
        await self._memory._room(cost, most)
        self._cost = cost

    def release(self) -> None:
        """The request was answered."""
        self._memory.held -= self._held
        self._held = 0
        if self._cost:
            self._memory._give(self._cost)
            self._cost = 0
