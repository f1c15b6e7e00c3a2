"""The queue in any order of events: no slot is lost or doubled, and every call has one end."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fairlead.errors import ClosedError, QueueRefusedError
from fairlead.testing import ManualClock
from fairlead.traffic.admission import PRIORITIES, Priority, QueueOptions
from fairlead.traffic.queue import AdaptiveQueueManager
from fairlead.traffic.tickets import Ticket
from support.gateway import turns

T = TypeVar("T")
LIMIT = 2


class Queues(RuleBasedStateMachine):
    """Two slots, four places a class; a flow has one line, so that its order can be checked."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        options = QueueOptions(limit=LIMIT, max_waiting=4, queues=4, hand_size=1)
        self.queue = AdaptiveQueueManager(options, clock=self.clock)
        self.run(self.queue.open())
        self.calls: list[asyncio.Task[None]] = []
        self.held: list[Ticket] = []
        self.closed = False
        self.outcomes: Counter[str] = Counter()
        self.served: dict[tuple[str, str, str], list[int]] = defaultdict(list)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        async def bounded() -> T:
            async with asyncio.timeout(5):
                return await coroutine

        return self.loop.run_until_complete(bounded())

    async def call(self, flow: str, priority: Priority, timeout: float | None) -> None:
        number = self.outcomes["begun"]
        self.outcomes["begun"] += 1
        try:
            ticket = await self.queue.enter(flow, priority, timeout=timeout)
        except QueueRefusedError as error:
            self.outcomes[error.reason] += 1
        except ClosedError:
            self.outcomes["closed"] += 1
        except asyncio.CancelledError:
            self.outcomes["cancelled"] += 1
        else:
            self.outcomes["admitted"] += 1
            self.held.append(ticket)
            self.served[flow, priority, ticket.priority].append(number)

    @rule(
        flow=st.sampled_from("abcde"),
        priority=st.sampled_from(PRIORITIES),
        timeout=st.sampled_from([None, None, 0.0, 1.0, 40.0]),
        count=st.integers(0, 3),
    )
    def enter(self, flow: str, priority: Priority, timeout: float | None, count: int) -> None:
        self.calls.append(self.loop.create_task(self.call(flow, priority, timeout)))
        self.run(turns(count))

    @rule(pick=st.integers(0, 99), count=st.integers(0, 2))
    def cancel(self, pick: int, count: int) -> None:
        """Before it has begun, while it waits, or between the hand-off and waking up."""
        if self.calls:
            self.calls[pick % len(self.calls)].cancel()
        self.run(turns(count))

    @rule(pick=st.integers(0, 99), twice=st.booleans(), count=st.integers(0, 2))
    def release(self, pick: int, twice: bool, count: int) -> None:
        if self.held:
            ticket = self.held.pop(pick % len(self.held))
            ticket.release()
            if twice:
                ticket.release()
        self.run(turns(count))

    @rule(pick=st.integers(0, 99))
    def release_and_cancel_the_one_who_gets_it(self, pick: int) -> None:
        if self.held and self.calls:
            self.held.pop().release()
            self.calls[pick % len(self.calls)].cancel()

    @rule(seconds=st.floats(0, 20))
    def let_time_pass(self, seconds: float) -> None:
        self.run(self.clock.advance(seconds))

    @rule(rarely=st.integers(0, 4), again=st.booleans())
    def close_and_open(self, rarely: int, again: bool) -> None:
        if rarely:
            return
        self.closed = True
        self.run(self.queue.close())
        if again:
            self.run(turns())
        self.run(self.queue.open())

    @invariant()
    def slots_are_neither_lost_nor_doubled(self) -> None:
        queue = self.queue
        assert len(self.held) <= queue.running <= LIMIT
        assert queue.running == LIMIT or queue.waiting == 0
        statistics = queue.statistics()
        assert statistics.waiting == queue.waiting
        assert all(one.waiting <= 4 for one in statistics.classes.values())
        assert all(one.oldest_wait <= 40.01 for one in statistics.classes.values())

    @rule()
    def settle(self) -> None:
        """When all who could move have moved, everything adds up."""
        self.run(turns())
        self.calls = [call for call in self.calls if not call.done()]
        statistics, ends = self.queue.statistics(), self.outcomes
        classes = statistics.classes.values()
        assert self.queue.running == len(self.held)
        assert statistics.waiting == len(self.calls)
        assert sum(one.admitted for one in classes) == ends["admitted"]
        assert 2 * ends["begun"] == ends.total() + len(self.calls)
        # Cancelled after it was sent away and before it woke up, a call saw only the cancellation.
        unseen = ends["cancelled"] - sum(one.abandoned for one in classes)
        for reason in ("full", "share", "shed", "timeout"):
            unseen -= sum(one.refused.get(reason, 0) for one in classes) - ends[reason]
        assert unseen >= 0
        assert unseen == 0 or self.closed
        for order in self.served.values():
            assert order == sorted(order)

    def teardown(self) -> None:
        try:
            self.settle()
        finally:
            self.finish()
        assert all(call.done() for call in self.calls)
        assert (self.queue.running, self.queue.waiting) == (0, 0)

    def finish(self) -> None:
        self.run(self.queue.close())
        self.run(turns())
        for ticket in self.held:
            ticket.release()
        self.loop.close()


TestQueues = Queues.TestCase
TestQueues.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
