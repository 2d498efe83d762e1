"""Whether there is room for one more request: what cannot be answered in time is refused at once, not made to wait.

A server that takes everything answers everything too late. So a request is refused with 429 and Retry-After when the
wait that lies before it would be longer than the served version's `serving: latency_ms` allows:

- For a quick model, computed on the event loop, the queue is the sockets that the loop has yet to read: all that were
  readable are answered in one turn of it. A request has waited since that turn began or since its own first byte was
  read (`scope["arrived"]`), and before that for a part of the turn before. A turn's end is seen by a callback that the
  loop runs in its next; while turns are short only one request in some asks for it, since it costs as much as the look.
- For a heavy one the queue is the requests in flight: the work they are expected to be, by the model's run time at the
  warm-up and the length of the body, over the speed at which such work gets done. The speed is measured while the
  server is busy: batches raise it, neighbours on the machine lower it. (Little's law; the same estimate stands behind
  adaptive concurrency limits, as in Netflix's concurrency-limits.)

A body that is still on its way takes no room, so slow senders cannot keep others out.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from trimtab.core.errors import RequestError
from trimtab.serving.limits import Limits

if TYPE_CHECKING:
    from trimtab.serving.http import Scope
    from trimtab.serving.traffic import Traffic

DEADLINE = b"x-trimtab-deadline-ms"
MAX_DEADLINE_MS = 3_600_000
# The part of the latency that may be spent waiting, at most and at least; the rest is for the run.
WAITING, LEAST_WAITING = 0.5, 0.3
# The speed is measured over so long or longer, and so many answers or more; it counts for so long.
SAMPLE_SECONDS = 0.1
SAMPLE_ANSWERS = 8
SPEED_SECONDS = 10.0
# A loop that began its next turn within this had something to do all the time.
LOOP_SECONDS = 0.001
# So many requests in a turn are answered however late: something else held up the loop, not they. One in so many asks
# for the turn's end.
CROWD = 16
# No request is cheaper than this, in seconds: what the loop itself costs.
LEAST_SECONDS = 50e-6
# What a byte of the body is expected to cost, in seconds: 1,000 rows of 64 numbers in JSON take some 20 ms.
BYTE_SECONDS = 20e-9


class Overloaded(RequestError):
    """Refused for want of room, or of time.

    Attributes:
        retry_after: seconds after which to try again.
    """

    def __init__(self, status: int, message: str, retry_after: float, **facts: str) -> None:
        self.retry_after = retry_after
        self._sentence = ""
        super().__init__(status, message, **facts)

    def sentence(self) -> str:
        """The refusal as one line, made once."""
        if not self._sentence:
            self._sentence = super().sentence()
        return self._sentence


class Slot:
    """One request's way through the server.

    Attributes:
        deadline: when nobody waits for the answer any more, on the monotonic clock.
    """

    __slots__ = ("_admission", "_cost", "_taken", "deadline")

    def __init__(self, admission: Admission, cost: float, deadline: float) -> None:
        self._admission, self._cost = admission, cost
        self._taken = -1.0
        self.deadline = deadline

    def check(self) -> None:
        """Take room, on the first call, once the body is whole; later calls only look at the deadline.

        Raises:
            Overloaded: 429, there is no room; 504, the deadline has passed.
        """
        now = self._admission.clock()
        if now >= self.deadline:
            raise too_late()
        if self._taken < 0:
            self._admission.take(self._cost)
            self._taken = now

    def left(self) -> float:
        """Seconds until the deadline; negative once it has passed."""
        return self.deadline - self._admission.clock()

    def leave(self) -> None:
        """Give the room back; called once, whatever became of the request."""
        if self._taken >= 0:
            self._admission.give_back(self._cost, self._taken)
            self._taken = -1.0


class Admission:
    """The requests in flight of one process, and how fast they leave.

    Args:
        traffic: what serves now; its champion says how long a request may wait.
        runs: how many runs of the model go on at once.
        latency_ms: overrides the project's bound.
        deadline_ms: overrides the project's default deadline.
        clock: the monotonic clock, in seconds.
        soon: runs a function in the loop's next turn; by default the running loop's `call_soon`.

    Attributes:
        in_flight: requests whose body is whole and whose answer is not.
        work: what they are expected to cost together, in seconds of one processor.
        shed: how many were refused so far.
        latency: what the bound is now, in seconds.
    """

    def __init__(
        self,
        traffic: Callable[[], Traffic],
        runs: int = 1,
        latency_ms: float | None = None,
        deadline_ms: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        soon: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self.clock = clock
        self._soon = soon
        # Of the turn that is watched: when it began, how many requests came in it; and of the one before.
        self._watching, self._turn, self._crowd = False, 0.0, 0
        self._crowded, self._before, self._ended, self._passed = False, 0.0, 0.0, 0
        self.in_flight, self.work = 0, 0.0
        self.shed = 0
        self._read, self._runs = traffic, max(1, runs)
        self._latency_ms, self._deadline_ms = latency_ms, deadline_ms
        self._seen: Traffic | None = None
        self.latency, self._deadline, self._least = 0.0, 0.0, LEAST_SECONDS
        self._share, self._worst = WAITING, 0.0
        self._refusals: dict[int, Overloaded] = {}
        self._speed, self._measured_at = 0.0, -math.inf
        self._since, self._answers, self._done = -1.0, 0, 0.0

    def glance(self, headers: Mapping[bytes, bytes]) -> None:
        """Look at a request that is whole and will be answered at once: it takes no room, it can only be too late.

        Raises:
            Overloaded: 429, it waited too long for the loop; 504, its deadline has passed.
            RequestError: 400, the deadline's header cannot be read.
        """
        if self._is_calm() and DEADLINE not in headers:
            return
        traffic = self._read()
        if traffic is not self._seen:
            self._learn(traffic)
        waited = self._waited(self.clock())
        given = headers.get(DEADLINE)
        if given is not None and waited >= read_deadline(given):
            raise too_late()
        if waited > self._waiting and (self._crowd > CROWD or self._crowded):
            raise self._refuse(waited)

    def enter(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Slot:
        """Begin a request, before its body is read.

        Raises:
            Overloaded: 429, it waited too long already or there is no room; 504, its deadline has passed.
            RequestError: 400, the deadline's header cannot be read.
        """
        traffic = self._read()
        if traffic is not self._seen:
            self._learn(traffic)
        self._is_calm()
        now = self.clock()
        waited = self._waited(now)
        arrived = scope.get("arrived")
        if arrived is None:
            arrived = now - waited
        elif now - arrived > waited:
            waited = now - arrived
        given = headers.get(DEADLINE)
        deadline = arrived + (self._deadline if given is None else read_deadline(given))
        if now >= deadline:
            raise too_late()
        if waited > self._waiting and (self._crowd > CROWD or self._crowded):
            raise self._refuse(waited)
        if self.in_flight >= self._runs:
            self._look_for_room()
        length = headers.get(b"content-length", b"")
        cost = max(self._least, int(length) * BYTE_SECONDS) if length.isdigit() else self._least
        return Slot(self, cost, deadline)

    def take(self, cost: float) -> None:
        """Count a request whose body is whole.

        Raises:
            Overloaded: 429, there is no room.
        """
        if self.in_flight >= self._runs:
            self._look_for_room()
        self.in_flight += 1
        self.work += cost

    def give_back(self, cost: float, taken: float) -> None:
        """A counted request is over; while the server is busy this measures how fast they leave."""
        self.in_flight -= 1
        self.work = self.work - cost if self.in_flight else 0.0
        if self.in_flight < 2 * self._runs:
            self._since = -1.0
            return
        now = self.clock()
        if self._since < 0:
            self._since, self._answers, self._done, self._worst = now, 0, 0.0, 0.0
            return
        self._answers += 1
        self._done += cost
        self._worst = max(self._worst, now - taken)
        if self._answers >= SAMPLE_ANSWERS and now - self._since >= SAMPLE_SECONDS:
            sample = self._done / (now - self._since)
            fresh = now - self._measured_at > SPEED_SECONDS
            self._speed = sample if fresh else 0.7 * self._speed + 0.3 * sample
            self._measured_at = self._since = now
            # Where answers take longer than they may, whoever else slows them, less of the bound is for waiting.
            late = self._worst > self.latency
            self._share = max(LEAST_WAITING, 0.9 * self._share) if late else min(WAITING, 1.05 * self._share)
            self._answers, self._done, self._worst = 0, 0.0, 0.0

    @property
    def speed(self) -> float:
        """Expected seconds of work that are done in a second; before it is measured, as many as runs go on at once."""
        if self._speed and self.clock() - self._measured_at <= SPEED_SECONDS:
            return self._speed
        return self._runs

    @property
    def room(self) -> float:
        """How much work may be in flight, so that the last of it does not wait too long."""
        return self._waiting * self.speed

    @property
    def _waiting(self) -> float:
        """How long a request may wait, in seconds."""
        return self._share * self.latency

    def _look_for_room(self) -> None:
        if self.work >= self.room - 1e-9:
            raise self._refuse(self.work / self.speed)

    def _is_calm(self) -> bool:
        """Count a request of this turn of the loop; whether it is one of few, which are never refused."""
        if self._watching:
            self._crowd += 1
        else:
            self._passed += 1
            if self._crowded or self._passed >= CROWD:
                self._watch()
        return self._crowd <= CROWD and not self._crowded

    def _watch(self) -> None:
        """Watch this turn from here to its end."""
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon
        self._watching, self._turn = True, self.clock()
        self._crowd, self._passed = 1, 0
        if self._crowded and self._turn - self._ended > LOOP_SECONDS:
            self._crowded, self._before = False, 0.0  # a loop that slept between the two turns let nothing wait
        self._soon(self._turned)

    def _turned(self) -> None:
        """The watched turn is over."""
        self._watching, self._ended = False, self.clock()
        self._crowded = self._crowd > CROWD
        self._before = self._ended - self._turn if self._crowded else 0.0
        self._crowd = 0

    def _waited(self, now: float) -> float:
        """How long a request that is looked at now has waited for the loop: as one that came amid the turn before."""
        return (now - self._turn if self._watching else 0.0) + self._before / 2

    def _learn(self, traffic: Traffic) -> None:
        """Take the bounds of what serves now; a measured rate counts no longer."""
        self._seen = traffic
        self._refusals.clear()
        serving = [model for model in (traffic.champion, traffic.canary) if model is not None]
        limits = serving[0].limits if serving else Limits()
        self.latency = (limits.latency_ms if self._latency_ms is None else self._latency_ms) / 1000
        self._share = WAITING
        self._deadline = (limits.deadline_ms if self._deadline_ms is None else self._deadline_ms) / 1000
        slowest = max((model.row_seconds for model in serving), default=0.0)
        self._least = max(slowest, LEAST_SECONDS)
        self._measured_at, self._since = -math.inf, -1.0

    def _refuse(self, wait: float) -> Overloaded:
        """The refusal for a wait of so many seconds; the same one again where it says the same: it is not cheap."""
        self.shed += 1
        tenths = min(600, math.ceil(10 * wait))  # come back in a minute at the latest
        found = self._refusals.get(tenths)
        if found is None:
            found = self._refusals[tenths] = Overloaded(
                429,
                "the server has more requests than it can answer in time",
                tenths / 10,
                expected=f"a wait that leaves time to answer within {self.latency * 1000:.0f} ms",
                got=f"about {tenths * 100} ms",
                hint="send it again after the seconds that Retry-After says",
            )
        return found.with_traceback(None)


def read_deadline(given: bytes) -> float:
    """The header's milliseconds, as seconds.

    Raises:
        RequestError: 400, they are none.

    >>> read_deadline(b"250")
    0.25
    """
    if not given.isdigit() or len(given) > 9 or not 0 < int(given) <= MAX_DEADLINE_MS:
        raise RequestError(
            400,
            "the deadline cannot be read",
            object="X-Trimtab-Deadline-Ms",
            expected=f"whole milliseconds from 1 to {MAX_DEADLINE_MS}",
            got=repr(given[:40].decode("latin-1")),
        )
    return int(given) / 1000


def too_late() -> Overloaded:
    """The refusal of a request whose deadline has passed: nobody waits for its answer."""
    return Overloaded(
        504,
        "the deadline passed before the model could answer",
        1.0,
        object="X-Trimtab-Deadline-Ms",
        hint="allow more time, or send fewer rows in one request",
    )
