"""The queue before a server: each rule alone."""

from __future__ import annotations

import asyncio
import doctest
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fairlead.traffic.queue
from fairlead.errors import ClosedError, ConfigurationError, QueueRefusedError
from fairlead.testing import ManualClock
from fairlead.traffic.admission import PRIORITIES, Priority, QueueOptions
from fairlead.traffic.queue import AdaptiveQueueManager
from fairlead.traffic.tickets import Ticket
from support.gateway import turns


class Bench:
    """A queue with a manual clock, and callers that wait in tasks."""

    def __init__(self, **options: Any) -> None:
        self.clock = ManualClock()
        self.queue = AdaptiveQueueManager(QueueOptions(**options), name="up-1", clock=self.clock)
        self.callers: list[asyncio.Task[Ticket]] = []

    async def __aenter__(self) -> Bench:
        await self.queue.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.queue.close()
        await asyncio.gather(*self.callers, return_exceptions=True)

    def take(self, count: int = 1) -> list[Ticket]:
        """Tickets that are had at once."""
        tickets = [self.queue.try_enter() for _ in range(count)]
        return [ticket for ticket in tickets if ticket is not None]

    async def caller(
        self, flow: str, priority: Priority = "normal", timeout: float | None = None
    ) -> asyncio.Task[Ticket]:
        """One more that waits."""
        entering = self.queue.enter(flow, priority, timeout=timeout)
        task = asyncio.create_task(entering)
        self.callers.append(task)
        await asyncio.sleep(0)
        return task


@pytest.fixture
async def one() -> AsyncIterator[Bench]:
    """One slot, and little room."""
    async with Bench(limit=1, max_waiting=3) as bench:
        yield bench


def test_the_docstring_is_true() -> None:
    results = doctest.testmod(fairlead.traffic.queue)

    assert results.attempted > 0
    assert results.failed == 0


async def test_while_slots_are_free_nobody_waits() -> None:
    async with Bench(limit=3) as bench:
        tickets = [*bench.take(2), await bench.queue.enter("alice", "high")]

        assert [ticket.waited for ticket in tickets] == [0.0, 0.0, 0.0]
        assert tickets[2].priority == "high"
        assert bench.queue.try_enter() is None
        assert (bench.queue.running, bench.queue.waiting) == (3, 0)


async def test_a_released_slot_goes_to_whoever_waits(one: Bench) -> None:
    (ticket,) = one.take()
    caller = await one.caller("alice")
    await one.clock.advance(2)
    ticket.release()

    # Handed over already: a newcomer of the same moment does not overtake.
    assert one.queue.try_enter("critical") is None
    assert (await caller).waited == 2.0
    assert one.queue.running == 1


async def test_a_ticket_is_released_once(one: Bench) -> None:
    (ticket,) = one.take()
    ticket.release()
    ticket.release()

    assert one.queue.running == 0
    assert len(one.take(2)) == 1


async def test_slot_is_released_whatever_happens(one: Bench) -> None:
    async def work() -> None:
        async with one.queue.slot("alice") as ticket:
            assert ticket.priority == "normal"
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await work()

    assert one.queue.running == 0


async def test_low_is_shed_when_full(one: Bench) -> None:
    one.take()
    for n in range(3):
        await one.caller(f"user-{n}", "low")
    with pytest.raises(QueueRefusedError, match="class low: the lowest class is shed") as caught:
        await one.queue.enter("late", "low")

    assert caught.value.reason == "shed"
    assert one.queue.statistics().classes["low"].refused == {"shed": 1}


async def test_normal_overflows_into_high_while_there_is_room(one: Bench) -> None:
    (ticket,) = one.take()
    for n in range(4):
        await one.caller(f"user-{n}")
    classes = one.queue.statistics().classes
    assert (classes["normal"].waiting, classes["high"].waiting) == (3, 1)
    assert classes["normal"].overflowed == 1
    ticket.release()
    overflowed = await one.callers[3]

    assert overflowed.priority == "high"


async def test_when_high_is_full_too_normal_is_refused(one: Bench) -> None:
    one.take()
    for n in range(6):
        assert one.queue.has_room
        await one.caller(f"user-{n}")
    assert not one.queue.has_room
    with pytest.raises(QueueRefusedError, match=r"class normal: .*3 waiting of 3") as caught:
        await one.queue.enter("late")

    assert caught.value.reason == "full"


@pytest.mark.parametrize("priority", ["critical", "high"])
async def test_critical_and_high_overflow_nowhere(one: Bench, priority: Priority) -> None:
    one.take()
    for n in range(3):
        await one.caller(f"user-{n}", priority)
    with pytest.raises(QueueRefusedError) as caught:
        await one.queue.enter("late", priority)

    assert caught.value.reason == "full"
    assert one.queue.waiting == 3


@pytest.mark.parametrize("priority", PRIORITIES)
async def test_in_a_full_class_a_light_flow_takes_the_place_of_the_heaviest(
    priority: Priority,
) -> None:
    async with Bench(limit=1, max_waiting=40) as bench:
        bench.take()
        room = 80 if priority == "normal" else 40
        heavy = [await bench.caller("heavy", priority) for _ in range(room)]
        light = await bench.caller("light", priority)
        await turns(3)
        refused = [task for task in heavy if task.done()]

        # One of the last that came into this class; an older one keeps its place.
        assert len(refused) == 1
        assert 40 - 8 <= heavy.index(refused[0]) < 40
        error = refused[0].exception()
        assert isinstance(error, QueueRefusedError)
        assert error.reason == "share"
        assert not light.done()
        assert bench.queue.waiting == room


async def test_a_flow_that_fills_a_class_alone_is_told_so() -> None:
    async with Bench(limit=1, max_waiting=40) as bench:
        bench.take()
        for _ in range(40):
            await bench.caller("heavy", "high")
        with pytest.raises(QueueRefusedError, match="its share") as caught:
            await bench.queue.enter("heavy", "high")

        assert caught.value.reason == "share"


async def test_time_outs_fire_while_waiting(one: Bench) -> None:
    one.take()
    early = await one.caller("alice")
    await one.clock.advance(10)
    late = await one.caller("bob")
    await one.clock.advance(20)

    error = early.exception()
    assert isinstance(error, QueueRefusedError)
    assert error.reason == "timeout"
    assert "no slot became free in 30 s" in str(error)
    assert not late.done()
    await one.clock.advance(10)
    assert late.done()
    assert one.queue.statistics().timeouts == 2
    assert one.queue.waiting == 0


async def test_a_shorter_time_out_of_one_call_comes_first(one: Bench) -> None:
    one.take()
    patient = await one.caller("alice")
    hasty = await one.caller("alice", timeout=0.5)
    await one.clock.advance(0.5)
    assert isinstance(hasty.exception(), QueueRefusedError)
    await one.clock.advance(29)
    assert not patient.done()
    await one.clock.advance(0.5)

    assert isinstance(patient.exception(), QueueRefusedError)


async def test_the_timer_goes_on_after_a_quiet_time(one: Bench) -> None:
    (ticket,) = one.take()
    await one.caller("alice")
    ticket.release()
    first = await one.callers[0]
    await one.clock.advance(100)
    second = await one.caller("bob")
    await one.clock.advance(30)

    assert isinstance(second.exception(), QueueRefusedError)
    first.release()


async def test_deadlines_of_those_who_left_are_forgotten() -> None:
    async with Bench(limit=1) as bench:
        bench.take()
        for _ in range(1000):
            caller = await bench.caller("alice")
            caller.cancel()
            await asyncio.wait([caller])

        assert bench.queue.waiting == 0
        assert len(bench.queue._dispatch._deadlines) <= 66


async def test_closing_sends_everybody_away_and_takes_tickets_back() -> None:
    bench = Bench(limit=1)
    await bench.queue.open()
    (ticket,) = bench.take()
    caller = await bench.caller("alice")
    await bench.queue.close()
    with pytest.raises(ClosedError, match="up-1"):
        await caller
    with pytest.raises(ClosedError):
        await bench.queue.enter("bob")
    with pytest.raises(ClosedError):
        bench.queue.try_enter()
    ticket.first_byte()
    ticket.overloaded()
    ticket.release()

    assert (bench.queue.running, bench.queue.waiting) == (0, 0)
    assert not bench.queue.has_room


async def test_it_can_be_opened_again() -> None:
    bench = Bench(limit=1)
    for _ in range(2):
        async with bench.queue:
            (ticket,) = bench.take()
            caller = await bench.caller("alice")
            await bench.clock.advance(30)
            assert isinstance(caller.exception(), QueueRefusedError)
            ticket.release()


async def test_retry_after_is_what_waits_by_the_rate_of_ends() -> None:
    async with Bench(limit=1, max_waiting=39, queues=1, hand_size=1) as bench:
        for _ in range(200):
            (ticket,) = bench.take()
            await bench.clock.advance(0.5)
            ticket.release()
        bench.take()
        for n in range(39):
            await bench.caller(f"user-{n}", "high")
        with pytest.raises(QueueRefusedError) as caught:
            await bench.queue.enter("late", "high")

        assert bench.queue.statistics().drain_rate == pytest.approx(2, rel=0.05)
        assert caught.value.retry_after == pytest.approx(20, rel=0.05)


@pytest.mark.parametrize(("seconds", "retry_after"), [(0.001, 1.0), (100.0, 60.0)])
async def test_retry_after_has_bounds(seconds: float, retry_after: float) -> None:
    async with Bench(limit=1, max_waiting=9) as bench:
        for _ in range(50):
            (ticket,) = bench.take()
            await bench.clock.advance(seconds)
            ticket.release()
        bench.take()
        for n in range(9):
            await bench.caller(f"user-{n}", "low")
        with pytest.raises(QueueRefusedError) as caught:
            await bench.queue.enter("late", "low")

        assert caught.value.retry_after == retry_after


async def test_retry_after_before_anything_was_measured() -> None:
    async with Bench(limit=1, max_waiting=0) as bench:
        bench.take()
        with pytest.raises(QueueRefusedError) as caught:
            await bench.queue.enter("alice", "high")

        assert caught.value.retry_after == 5.0


async def test_statistics_of_a_class() -> None:
    async with Bench(limit=1) as bench:
        (ticket,) = bench.take()
        for flow in ("alice", "bob", "carol"):
            await bench.caller(flow, "high")
            await bench.clock.advance(1)
        ticket.release()
        bench.callers[1].cancel()
        await turns(3)
        shown = bench.queue.statistics()
        high = shown.classes["high"]

        assert (shown.limit, shown.min_limit, shown.max_limit, shown.running) == (1, 1, 1, 1)
        assert (high.waiting, high.admitted, high.abandoned) == (1, 1, 1)
        assert (high.waits.count, high.waits.sum, high.longest_wait) == (1, 3.0, 3.0)
        assert high.oldest_wait == 1.0
        assert shown.waiting == 1
        assert shown.classes["normal"].admitted == 1
        assert "1/1 running, 1 waiting" in repr(bench.queue)
        assert "running" in repr(bench.callers[0].result())


async def test_an_adaptive_limit_follows_the_server() -> None:
    async with Bench(limit=8, adaptive=True, min_limit=4, max_limit=50) as bench:
        for _ in range(60):
            tickets = bench.take(8)
            await bench.clock.advance(0.1)
            for ticket in tickets:
                ticket.first_byte()
                ticket.first_byte()
                ticket.release()
        grown = bench.queue.limit
        assert grown > 8
        (ticket,) = bench.take()
        ticket.overloaded()
        shown = bench.queue.statistics()

        assert bench.queue.limit == shown.limit < grown
        assert (shown.min_limit, shown.max_limit, shown.overloads) == (4, 50, 1)
        assert shown.first_byte == pytest.approx(0.1)


async def test_a_limit_that_grows_lets_waiters_in() -> None:
    async with Bench(limit=4, adaptive=True, min_limit=4, max_limit=50) as bench:
        tickets = bench.take(4)
        for n in range(60):
            await bench.caller(f"user-{n}")
        for _ in range(50):
            await bench.clock.advance(0.1)
            tickets[0].first_byte()
            # At once, before any slot is given back.
            assert bench.queue.running == bench.queue.limit
            tickets.pop(0).release()
            await turns(3)
            tickets += [task.result() for task in bench.callers if task.done()]
            bench.callers = [task for task in bench.callers if not task.done()]

        assert bench.queue.limit > 4


async def test_a_fixed_limit_stays() -> None:
    async with Bench(limit=2) as bench:
        for _ in range(50):
            (ticket,) = bench.take()
            ticket.first_byte()
            ticket.overloaded()
            ticket.release()

        assert bench.queue.limit == 2
        assert bench.queue.statistics().first_byte == 0.0


async def test_memory_does_not_grow_with_the_flows() -> None:
    async with Bench(limit=1, max_waiting=8) as bench:
        for n in range(3000):
            tickets = bench.take()
            caller = await bench.caller(f"user-{n}")
            tickets[0].release()
            (await caller).release()
            bench.callers.clear()

        dispatch = bench.queue._dispatch
        assert len(dispatch._hands) == 1024
        assert len(dispatch._deadlines) <= 66
        assert sum(len(lane.queue._heap) for lane in dispatch._lanes) <= 4 * 64


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit": 0},
        {"max_waiting": -1},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"hand_size": 65},
        {"queues": 2000},
        {"weights": (1, 1, 1, 0)},
        {"ageing": 0},
        {"min_limit": 10, "max_limit": 5},
        {"adaptive": True, "limit": 2},
    ],
)
def test_options_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"queue\."):
        QueueOptions(**wrong)
