"""Deadlines on an injected clock, and the line in which nobody is overtaken or loses anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.tasks import TaskOwner, log_failure
from fairlead.core.waiting import NEVER, Deadlines, Line, Turn
from fairlead.testing import ManualClock
from unit.core.poolfactory import Time, settle


@pytest.fixture
def clock() -> ManualClock:
    return Time()


@pytest.fixture
async def tasks() -> AsyncIterator[TaskOwner]:
    async with TaskOwner(log_failure) as tasks:
        yield tasks


@pytest.fixture
def deadlines(clock: ManualClock, tasks: TaskOwner) -> Deadlines:
    return Deadlines(clock, tasks, "deadlines")


async def test_they_ring_in_the_order_of_time(clock: ManualClock, deadlines: Deadlines) -> None:
    rung: list[tuple[str, float]] = []
    for name, when in [("late", 9.0), ("soon", 2.0), ("first", 1.0), ("too", 2.0)]:
        deadlines.at(when, lambda name=name: rung.append((name, clock.monotonic())))
    await clock.advance(5)
    assert rung == [("first", 1), ("soon", 2), ("too", 2)]
    await clock.advance(5)
    assert rung[3:] == [("late", 9)]


async def test_one_that_is_cancelled_does_not_ring(
    clock: ManualClock, deadlines: Deadlines
) -> None:
    rung: list[int] = []
    first, second = (deadlines.at(1.0, partial(rung.append, number)) for number in (1, 2))
    first.cancel()
    await clock.advance(2)
    assert rung == [2]
    assert (first.passed, second.passed) == (False, True)
    second.cancel()
    assert second.passed, "that came too late"


async def test_what_rings_may_set_the_next(clock: ManualClock, deadlines: Deadlines) -> None:
    rung: list[float] = []

    def again() -> None:
        rung.append(clock.monotonic())
        if len(rung) < 3:
            deadlines.at(clock.monotonic() + 1, again)

    deadlines.at(1.0, again)
    await clock.advance(10)
    assert rung == [1, 2, 3]


async def test_there_is_one_task_and_only_while_something_is_to_come(
    clock: ManualClock, deadlines: Deadlines, tasks: TaskOwner
) -> None:
    deadlines.at(NEVER, lambda: None)
    assert len(tasks) == len(deadlines) == 0
    for when in (5.0, 7.0, 3.0):
        deadlines.at(when, lambda: None)
    await settle()
    assert len(tasks) == 1
    await clock.advance(10)
    assert len(tasks) == len(deadlines) == 0


async def test_cancelled_ones_do_not_pile_up(deadlines: Deadlines) -> None:
    kept = [deadlines.at(1e6 + number, lambda: None) for number in range(100)]
    for number in range(10_000):
        deadlines.at(2e6 + number, lambda: None).cancel()
        assert len(deadlines) <= 3 * len(kept) + 128
    assert not any(deadline.passed for deadline in kept)


async def test_nothing_rings_after_the_end(clock: ManualClock) -> None:
    rung: list[int] = []
    async with TaskOwner(log_failure) as tasks:
        deadlines = Deadlines(clock, tasks, "deadlines")
        deadlines.at(1.0, lambda: rung.append(1))
    deadlines.at(0.5, lambda: rung.append(2))
    await clock.advance(2)
    assert rung == []


@given(
    whens=st.lists(st.integers(0, 20), max_size=30),
    cancelled=st.sets(st.integers(0, 29)),
    steps=st.lists(st.integers(1, 8), max_size=8),
)
def test_each_rings_once_at_its_time(
    whens: list[int], cancelled: set[int], steps: list[int]
) -> None:
    async def scenario() -> None:
        clock, rung = Time(), []
        async with TaskOwner(log_failure) as tasks:
            deadlines = Deadlines(clock, tasks, "deadlines")
            made = [deadlines.at(when, partial(rung.append, n)) for n, when in enumerate(whens)]
            for number in cancelled & set(range(len(made))):
                made[number].cancel()
            for step in steps:
                await clock.advance(step)
            now = clock.monotonic()
            wanted = [n for n, when in enumerate(whens) if when <= now and n not in cancelled]
            if now:
                assert rung == sorted(wanted, key=lambda n: (whens[n], n))

    asyncio.run(scenario())


# ---- the line


class Guests:
    """Callers in a line, by number, and what became of them."""

    def __init__(self) -> None:
        self.given: list[tuple[int, str]] = []
        self.back: list[str] = []
        self.line: Line[str] = Line(self.back.append)

    def arrive(self, number: int) -> tuple[Turn[str], asyncio.Task[None]]:
        turn = self.line.join()

        async def stand() -> None:
            self.given.append((number, await self.line.wait(turn)))

        return turn, asyncio.create_task(stand())


async def test_first_come_first_served() -> None:
    guests = Guests()
    tasks = [guests.arrive(number)[1] for number in range(3)]
    assert [guests.line.hand_off(item) for item in "abcd"] == [True, True, True, False]
    await asyncio.gather(*tasks)
    assert guests.given == [(0, "a"), (1, "b"), (2, "c")]
    assert (len(guests.line), guests.back) == (0, [])


async def test_who_has_gone_is_passed_over() -> None:
    guests = Guests()
    _, gone = guests.arrive(0)
    refused, task = guests.arrive(1)
    _, there = guests.arrive(2)
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    assert refused.refuse(TimeoutError())
    assert guests.line.hand_off("a")
    await asyncio.gather(gone, task, there, return_exceptions=True)
    assert guests.given == [(2, "a")]
    assert isinstance(task.exception(), TimeoutError)
    assert guests.back == []


async def test_cancelled_between_hand_off_and_waking_it_goes_back() -> None:
    guests = Guests()
    turn, task = guests.arrive(0)
    await asyncio.sleep(0)
    assert guests.line.hand_off("a")
    assert not turn.refuse(TimeoutError()), "it has been served"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (guests.given, guests.back) == ([], ["a"])


async def test_all_are_sent_away_each_with_its_own_error() -> None:
    guests = Guests()
    tasks = [guests.arrive(number)[1] for number in range(2)]
    guests.line.refuse_all(lambda: ConnectionError("closed"))
    first, second = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(first, ConnectionError)
    assert isinstance(second, ConnectionError)
    assert first is not second
    assert len(guests.line) == 0
