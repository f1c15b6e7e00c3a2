"""Who waits for whom, counted in tasks that go before, never in time."""

from __future__ import annotations

import asyncio
import heapq
import math
import random
from collections import Counter
from collections.abc import Callable

import pytest

from fairlead.testing import ManualClock
from fairlead.traffic.admission import PRIORITIES, Priority, QueueOptions
from fairlead.traffic.dispatch import Dispatch
from fairlead.traffic.fairness import deal
from fairlead.traffic.tickets import Ticket, Waiter


class Place(asyncio.Future[Ticket]):
    """Notes that a task goes at the moment of the decision, not when its caller wakes up."""

    goes: Callable[[Ticket], None]

    def set_result(self, ticket: Ticket) -> None:
        super().set_result(ticket)
        self.goes(ticket)


class Office:
    """A dispatch whose slots are all taken."""

    def __init__(self, options: QueueOptions) -> None:
        self.clock = ManualClock()
        self.dispatch = Dispatch(options, "up-1", self.clock)
        self.running: list[Ticket] = []
        self.went: list[tuple[str, Priority]] = []
        while (ticket := self.dispatch.try_enter("normal")) is not None:
            self.running.append(ticket)

    def join(self, flow: str, priority: Priority = "normal") -> Waiter:
        place = Place()

        def goes(ticket: Ticket) -> None:
            self.running.append(ticket)
            self.went.append((flow, priority))

        place.goes = goes
        return self.dispatch.join(flow, priority, 1e4, place)

    def turn(self) -> tuple[str, Priority]:
        """The task that has run longest ends; who goes then."""
        self.running.pop(0).release()
        return self.went[-1]

    def turns_until(self, flow: str, *, refill: bool = True) -> int:
        """Tasks that go before one of `flow`; each comes back at once where `refill`."""
        for ahead in range(10_000):
            went, priority = self.turn()
            if went == flow:
                return ahead
            if refill:
                self.join(went, priority)
        raise AssertionError(f"{flow} starves")


WIDE = QueueOptions(limit=4, max_waiting=5000)
FEW = 64
"""Queues where collisions are to be seen; by default they are too rare for that."""


async def test_a_light_user_waits_for_no_more_than_the_eight_queues_of_a_heavy_one() -> None:
    office = Office(WIDE)
    for _ in range(100):
        office.join("heavy")
    waits = []
    for n in range(300):
        office.join(f"light-{n}")
        waits.append(office.turns_until(f"light-{n}"))

    assert max(waits) <= 8
    assert Counter(flow for flow, _ in office.went)["heavy"] >= 300 * 8 / WIDE.queues


async def test_so_it_is_when_all_come_at_once_and_none_comes_back() -> None:
    office = Office(WIDE)
    for _ in range(100):
        office.join("heavy")
    office.join("light")

    assert office.turns_until("light", refill=False) <= 8


@pytest.mark.parametrize("heavy", [1, 4, 16])
async def test_among_many_heavy_users_it_is_as_collisions_predict(heavy: int) -> None:
    rng = random.Random(heavy)  # noqa: S311 - which users meet is drawn again the same way
    options = QueueOptions(limit=1, max_waiting=5000, queues=FEW)
    collisions = 0
    draws = 150
    for _ in range(draws):
        office = Office(options)
        flows = [f"user-{rng.randrange(10**9)}" for _ in range(heavy)]
        # All at once, so that nobody's queue is longer than another's for having come first.
        for flow in flows * 16:
            office.join(flow)
        light = f"light-{rng.randrange(10**9)}"
        waiter = office.join(light)
        before = len(waiter.line.items) - 1
        busy = sum(bool(line.items) for line in waiter.lane.queue.lines)
        collisions += before > 0

        # Each queue goes once before each task that is before it in its own.
        assert office.turns_until(light, refill=False) <= (before + 1) * busy

    # A queue is free of all heavy users with (1 - 8/64) ** heavy; all eight of a hand must not be.
    predicted = (1 - (1 - 8 / FEW) ** heavy) ** 8
    spread = math.sqrt(max(predicted * (1 - predicted), 0.01) / draws)
    assert collisions / draws == pytest.approx(predicted, abs=4 * spread)


async def test_a_flow_with_many_tasks_in_many_queues_still_has_them_all_done() -> None:
    office = Office(WIDE)
    for n in range(60):
        for _ in range(5):
            office.join(f"user-{n % 20}")
    for _ in range(300):
        office.turn()

    assert Counter(flow for flow, _ in office.went) == {f"user-{n}": 15 for n in range(20)}
    assert office.dispatch.waiting == 0


@pytest.mark.parametrize("priority", PRIORITIES)
async def test_nothing_starves_under_endless_load_from_above(priority: Priority) -> None:
    office = Office(WIDE)
    others: list[Priority] = [one for one in PRIORITIES if one != priority]
    for n in range(400):
        office.join(f"user-{n % 40}", others[n % 3])
    waits = []
    for n in range(50):
        office.join(f"patient-{n}", priority)
        waits.append(office.turns_until(f"patient-{n}"))

    # The weights of all four are 15; the lowest has one of them.
    assert max(waits) <= 15


@pytest.mark.parametrize("priority", PRIORITIES)
async def test_nor_does_one_of_many_in_the_same_class(priority: Priority) -> None:
    office = Office(WIDE)
    for n in range(400):
        office.join(f"user-{n % 40}", priority)
    waiter = office.join("patient", priority)
    before = len(waiter.line.items)

    assert office.turns_until("patient") <= before * WIDE.queues


async def test_shares_follow_the_weights() -> None:
    office = Office(WIDE)
    for n in range(400):
        office.join(f"user-{n % 10}", PRIORITIES[n % 4])
    for _ in range(1500):
        office.join(*office.turn())

    assert Counter(priority for _, priority in office.went) == pytest.approx(
        {"critical": 800, "high": 400, "normal": 200, "low": 100}, abs=2
    )


async def test_a_class_whose_tasks_have_waited_long_goes_more_often() -> None:
    office = Office(QueueOptions(limit=4, max_waiting=5000, ageing=10))
    for n in range(1000):
        office.join(f"user-{n % 10}", "low")
    await office.clock.advance(30)
    for n in range(400):
        office.join(f"user-{n % 10}", "critical")
    for _ in range(300):
        went = office.turn()
        if went[1] == "critical":
            office.join(*went)

    # Thirty seconds are three times the ageing: the weight of low counts twice, and no more.
    counts = Counter(priority for _, priority in office.went)
    assert counts["critical"] / counts["low"] == pytest.approx(8 / 2, rel=0.05)


async def test_a_user_with_long_tasks_gets_fewer_of_them() -> None:
    office = Office(QueueOptions(limit=2, max_waiting=5000))
    hand = set(deal("long", WIDE.queues, 8))
    flows = (f"short-{n}" for n in range(1000))
    short = next(flow for flow in flows if not hand & set(deal(flow, WIDE.queues, 8)))
    for _ in range(100):
        office.join("long")
        office.join(short)
    ends = [(0.0, number) for number in range(len(office.running))]
    tickets, seconds = list(office.running), {"long": 3.0, short: 1.0}
    for _ in range(600):
        when, number = heapq.heappop(ends)
        await office.clock.advance(when - office.clock.monotonic())
        tickets[number].release()
        flow, _ = office.went[-1]
        office.join(flow)
        heapq.heappush(ends, (when + seconds[flow], len(tickets)))
        tickets.append(office.running[-1])

    counts = Counter(flow for flow, _ in office.went)
    assert counts[short] == pytest.approx(3 * counts["long"], rel=0.1)
