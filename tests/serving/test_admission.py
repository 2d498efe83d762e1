"""Admission by a clock of its own: what waits too long is refused, what has room is not, deadlines hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from trimtab.core.errors import RequestError
from trimtab.serving.admission import CROWD, SPEED_SECONDS, Admission, Overloaded, Slot, read_deadline
from trimtab.serving.limits import Limits

NOTHING: Mapping[bytes, bytes] = {}


class Clock:
    """Seconds that pass when told, and a loop whose turns end when told."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked: list[Callable[[], None]] = []

    def turn(self) -> None:
        asked, self.asked = self.asked, []
        for one in asked:
            one()

    def asked_for(self, one: Callable[[], None]) -> None:
        self.asked.append(one)

    def __call__(self) -> float:
        return self.now


def made(
    clock: Clock, row_seconds: float = 0.1, runs: int = 1, latency_ms: float = 1000, deadline_ms: float = 30_000
) -> Admission:
    limits = Limits(latency_ms=latency_ms, deadline_ms=deadline_ms)
    model = SimpleNamespace(row_seconds=row_seconds, limits=limits)
    traffic: Any = SimpleNamespace(champion=model, canary=None)
    return Admission(lambda: traffic, runs, clock=clock, soon=clock.asked_for)


def fill(admission: Admission, headers: Mapping[bytes, bytes] = NOTHING) -> list[Slot]:
    """Requests until there is no more room."""
    slots: list[Slot] = []
    with pytest.raises(Overloaded) as refused:
        slots.extend(entered(admission, headers) for _ in range(100_000))
    assert refused.value.status == 429
    assert refused.value.retry_after > 0
    return slots


def entered(admission: Admission, headers: Mapping[bytes, bytes] = NOTHING) -> Slot:
    """A request whose body is whole."""
    slot = admission.enter({}, headers)
    slot.check()
    return slot


def test_a_slow_model_takes_as_many_as_it_can_answer_in_time_and_recovers_at_once() -> None:
    admission = made(Clock())
    slots = fill(admission)
    assert len(slots) == 5  # half of a second's latency, at ten a second
    slots.pop().leave()
    slots.append(entered(admission))
    with pytest.raises(Overloaded):
        admission.enter({}, {})
    for slot in slots:
        slot.leave()
        slot.leave()  # giving back twice takes no room from others
    assert admission.in_flight == 0
    assert len(fill(admission)) == 5


def test_a_long_body_is_more_work_than_a_short_one() -> None:
    admission = made(Clock(), row_seconds=0.00001)
    assert len(fill(admission, {b"content-length": b"1000000"})) == 25  # 20 ms each, and half a second


def test_one_request_always_has_room_however_slow_the_model_is() -> None:
    assert len(fill(made(Clock(), row_seconds=60.0, runs=2))) == 2


def test_a_body_on_its_way_takes_no_room() -> None:
    admission = made(Clock())
    waiting = [admission.enter({}, {}) for _ in range(500)]
    assert admission.in_flight == 0
    for slot in waiting[:5]:
        slot.check()
        slot.check()  # the second time only looks at the deadline
    assert admission.in_flight == 5
    with pytest.raises(Overloaded):
        waiting[5].check()
    waiting[5].leave()  # refused: it had no room to give back
    assert admission.in_flight == 5


def test_the_speed_is_measured_while_busy_and_forgotten_afterwards() -> None:
    clock = Clock()
    admission = made(clock)
    slots = fill(admission)
    for _ in range(200):  # a hundred leave in a second: batches make it faster than the warm-up promised
        clock.now += 0.01
        clock.turn()
        slots.pop(0).leave()
        slots.append(entered(admission))
    assert admission.speed == pytest.approx(10, rel=0.2)
    assert admission.room == pytest.approx(5, rel=0.2)
    clock.now += SPEED_SECONDS + 1
    assert admission.speed == 1


def test_a_quick_model_refuses_what_waited_too_long_for_the_loop() -> None:
    clock = Clock()
    admission = made(clock, row_seconds=0.00001)
    refused = 0
    for _ in range(800):  # a turn of the loop in which each request takes a millisecond
        try:
            admission.glance({})
        except Overloaded:
            refused += 1
        clock.now += 0.001
    assert refused == pytest.approx(300, abs=CROWD)
    clock.turn()
    clock.now += 0.0005  # the next turn follows: what it reads came while the one before went on
    for _ in range(100 - CROWD):
        admission.glance({})
        clock.now += 0.001
    clock.now += 0.001 * 2 * CROWD
    with pytest.raises(Overloaded) as late:
        admission.glance({})
    assert late.value.status == 429
    with pytest.raises(Overloaded):
        admission.enter({}, {})
    clock.turn()
    clock.now += 1.0  # the loop had nothing to do
    admission.glance({})
    assert admission.in_flight == 0


def test_short_turns_are_watched_now_and_then_and_refuse_nobody() -> None:
    clock = Clock()
    admission = made(clock, row_seconds=0.00001, latency_ms=1)
    watched = 0
    for _ in range(100):  # a hundred turns of eight requests, one after another, each longer than the latency
        for _ in range(8):
            admission.glance({})
            clock.now += 0.001
        watched += len(clock.asked)
        clock.turn()
    assert 20 < watched < 60


def test_a_deadline_holds_for_what_is_answered_at_once() -> None:
    clock = Clock()
    admission = made(clock, row_seconds=0.00001)
    for _ in range(CROWD + 1):
        admission.glance({})
    with pytest.raises(RequestError, match="deadline"):
        admission.glance({b"x-trimtab-deadline-ms": b"soon"})
    clock.now += 0.2
    admission.glance({b"x-trimtab-deadline-ms": b"300"})
    with pytest.raises(Overloaded) as late:
        admission.glance({b"x-trimtab-deadline-ms": b"100"})
    assert late.value.status == 504
    assert admission.in_flight == 0


def test_a_stamp_of_arrival_counts_and_a_stalled_loop_refuses_nobody() -> None:
    clock = Clock()
    admission = made(clock, row_seconds=0.00001)
    for _ in range(CROWD):
        admission.enter({"arrived": clock.now - 5}, {}).leave()  # few, and late for another reason
    for _ in range(CROWD - 1):
        admission.glance({})
    with pytest.raises(Overloaded):
        admission.enter({"arrived": clock.now - 5}, {})


def test_deadlines_come_by_header_or_default_and_are_kept() -> None:
    clock = Clock()
    admission = made(clock, deadline_ms=2000)
    slot = admission.enter({"arrived": clock.now - 0.5}, {})
    assert slot.left() == pytest.approx(1.5)
    hurried = admission.enter({}, {b"x-trimtab-deadline-ms": b"100"})
    assert hurried.left() == pytest.approx(0.1)
    clock.now += 0.2
    with pytest.raises(Overloaded) as late:
        hurried.check()
    assert late.value.status == 504
    assert admission.in_flight == 0
    with pytest.raises(Overloaded) as late:
        admission.enter({"arrived": clock.now - 1}, {b"x-trimtab-deadline-ms": b"100"})
    assert late.value.status == 504
    slot.check()
    assert admission.in_flight == 1


@pytest.mark.parametrize("given", [b"", b"0", b"-1", b"1.5", b"soon", b"99999999999", b"3600001", b"1" * 5000])
def test_a_deadline_that_cannot_be_read_is_named(given: bytes) -> None:
    with pytest.raises(RequestError) as refused:
        read_deadline(given)
    assert refused.value.status == 400
    assert refused.value.object == "X-Trimtab-Deadline-Ms"


def test_settings_override_the_project_and_a_new_version_brings_its_own() -> None:
    clock = Clock()
    slow: Any = SimpleNamespace(row_seconds=0.1, limits=Limits(latency_ms=1000))
    slower: Any = SimpleNamespace(row_seconds=0.1, limits=Limits(latency_ms=3000))
    serving: Any = SimpleNamespace(champion=slow, canary=None)
    admission = Admission(lambda: serving, clock=clock, soon=clock.asked_for)
    told = Admission(lambda: serving, latency_ms=500, clock=clock, soon=clock.asked_for)
    assert len(fill(told)) == 3
    for slot in fill(admission):
        slot.leave()
    serving = SimpleNamespace(champion=slower, canary=slow)
    assert len(fill(admission)) == 15


def test_where_answers_come_later_than_they_may_less_is_for_waiting() -> None:
    clock = Clock()
    admission = made(clock, latency_ms=10_000)
    slots = fill(admission)

    def pass_by(answers: int) -> float:
        for _ in range(answers):
            clock.now += 0.1
            clock.turn()
            slots.pop(0).leave()
            while admission.work < admission.room - 1e-6:
                slots.append(entered(admission))
        return admission.room

    quick = pass_by(100)
    assert quick == pytest.approx(5, abs=0.2)
    clock.now += 9  # something else has the processors: those in flight will be late
    assert pass_by(45) < 0.85 * quick
    assert pass_by(300) == pytest.approx(quick, abs=0.2)
