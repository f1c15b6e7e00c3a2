"""A caller that goes away, at each moment of `enter`."""

from __future__ import annotations

import asyncio

import pytest

from fairlead.errors import QueueRefusedError
from fairlead.testing import ManualClock
from fairlead.traffic.admission import QueueOptions
from fairlead.traffic.queue import AdaptiveQueueManager
from fairlead.traffic.tickets import Ticket
from support.gateway import turns


@pytest.mark.parametrize("moment", range(6))
@pytest.mark.parametrize("released_at", range(6))
async def test_cancelled_at_any_moment_the_slot_goes_to_the_next(
    moment: int, released_at: int
) -> None:
    async with AdaptiveQueueManager(QueueOptions(limit=1), clock=ManualClock()) as queue:
        first = queue.try_enter()
        assert first is not None
        leaving = asyncio.create_task(queue.enter("alice"))
        staying = asyncio.create_task(queue.enter("bob"))
        for now in range(7):
            if now == released_at:
                first.release()
            if now == moment:
                leaving.cancel()
            await asyncio.sleep(0)
        await turns()

        if leaving.cancelled():
            assert staying.done()
        else:  # it had its ticket before: the cancellation came too late
            leaving.result().release()
        (await staying).release()
        assert (queue.running, queue.waiting) == (0, 0)


async def test_handed_over_and_cancelled_before_waking_up() -> None:
    async with AdaptiveQueueManager(QueueOptions(limit=1), clock=ManualClock()) as queue:
        first = queue.try_enter()
        assert first is not None
        leaving = asyncio.create_task(queue.enter("alice"))
        await turns(2)
        first.release()
        assert queue.running == 1
        leaving.cancel()
        await turns(2)

        assert leaving.cancelled()
        assert queue.running == 0
        normal = queue.statistics().classes["normal"]
        assert (normal.admitted, normal.abandoned) == (1, 1)
        # It did no work: it does not count as one that ended quickly.
        assert queue.statistics().drain_rate == pytest.approx(2, rel=0.1)


async def test_cancelled_first_and_then_passed_over() -> None:
    async with AdaptiveQueueManager(QueueOptions(limit=1), clock=ManualClock()) as queue:
        first = queue.try_enter()
        assert first is not None
        leaving = asyncio.create_task(queue.enter("alice"))
        staying = asyncio.create_task(queue.enter("bob"))
        await turns(2)
        leaving.cancel()
        first.release()  # before the one who leaves has woken up

        assert queue.waiting == 0
        await turns(2)
        assert leaving.cancelled()
        assert (await staying).waited == 0.0
        assert queue.statistics().classes["normal"].abandoned == 1


async def test_sent_away_and_cancelled_before_waking_up() -> None:
    clock = ManualClock()
    async with AdaptiveQueueManager(QueueOptions(limit=1), clock=clock) as queue:
        assert queue.try_enter() is not None
        leaving = asyncio.create_task(queue.enter("alice", timeout=5))
        await turns(2)
        await clock.advance(4.9)
        assert queue._dispatch.expire() > 0
        clock._now = 5.0
        queue._dispatch.expire()
        assert queue.waiting == 0
        leaving.cancel()
        await turns(2)

        assert leaving.cancelled()
        normal = queue.statistics().classes["normal"]
        assert (normal.refused, normal.abandoned) == ({"timeout": 1}, 0)


async def test_a_call_whose_loop_ends_leaves_too() -> None:
    async with AdaptiveQueueManager(QueueOptions(limit=1), clock=ManualClock()) as queue:
        assert queue.try_enter() is not None
        entering = queue.enter("alice")
        entering.send(None)
        assert queue.waiting == 1
        entering.close()

        assert queue.waiting == 0
        assert queue.statistics().classes["normal"].abandoned == 1


async def test_a_deadline_around_enter_leaves_no_slot_behind() -> None:
    async with AdaptiveQueueManager(QueueOptions(limit=1), clock=ManualClock()) as queue:
        held: list[Ticket] = [await queue.enter("alice")]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await queue.enter("bob")
        assert queue.waiting == 0
        held.pop().release()
        assert queue.running == 0


async def test_cancelling_the_holder_of_a_slot_frees_it() -> None:
    async with AdaptiveQueueManager(QueueOptions(limit=1), clock=ManualClock()) as queue:

        async def work() -> None:
            async with queue.slot("alice"):
                await asyncio.Event().wait()

        working = asyncio.create_task(work())
        waiting = asyncio.create_task(queue.enter("bob"))
        await turns(3)
        working.cancel()

        assert (await waiting).priority == "normal"
        assert queue.running == 1
        with pytest.raises(QueueRefusedError):
            await queue.enter("carol", timeout=0)
