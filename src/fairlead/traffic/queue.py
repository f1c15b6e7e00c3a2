"""`AdaptiveQueueManager`: the queue before a server, for callers that await their turn.

What is decided is in `dispatch`; here is what needs an event loop: waiting, and the one timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.lifecycle import Resource
from fairlead.core.tasks import TaskOwner, log_failure
from fairlead.traffic.admission import Priority, QueueOptions, QueueStatistics
from fairlead.traffic.dispatch import NEVER, Dispatch
from fairlead.traffic.tickets import Ticket

DEFAULT_OPTIONS = QueueOptions()


class AdaptiveQueueManager(Resource):
    """So many tasks at a time, and a fair order among those that wait.

    Tasks belong to one of four classes and to a flow (a user). Between classes weights decide,
    with ageing; inside a class flows share fairly, so one flow's hundred tasks delay that flow.
    Every class is bounded: what does not fit is refused with `QueueRefusedError`, which says when
    to try again. With `adaptive` options the limit follows the server (`Ticket.first_byte`,
    `Ticket.overloaded`). `name` appears in messages and statistics.

    >>> import asyncio
    >>> async def main():
    ...     async def ask(queue, user):
    ...         async with queue.slot(user) as ticket:
    ...             await asyncio.sleep(0)  # the work
    ...             order.append(user)
    ...     order = []
    ...     async with AdaptiveQueueManager(QueueOptions(limit=1)) as queue:
    ...         users = ["alice"] * 40 + ["bob"]
    ...         await asyncio.gather(*[ask(queue, user) for user in users])
    ...     return order
    >>> asyncio.run(main()).index("bob") < 10
    True
    """

    def __init__(
        self,
        options: QueueOptions = DEFAULT_OPTIONS,
        *,
        name: str = "queue",
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._options = options
        self._name = name
        self._clock = clock
        self._dispatch = Dispatch(options, name, clock)
        self._tasks = TaskOwner(log_failure)
        self._timer: asyncio.Task[None] | None = None
        self._wakes_at = NEVER

    @property
    def running(self) -> int:
        """Tasks that hold a slot."""
        return self._dispatch.running

    @property
    def waiting(self) -> int:
        """Tasks that wait, of all classes."""
        return self._dispatch.waiting

    @property
    def limit(self) -> int:
        """Tasks at a time, now."""
        return self._dispatch.limit

    @property
    def has_room(self) -> bool:
        """A newcomer of class normal would not be refused now."""
        return self._is_open and self._dispatch.has_room

    def try_enter(self, priority: Priority = "normal") -> Ticket | None:
        """A ticket where a slot is free and nobody waits, else None; raises `ClosedError`."""
        self.check_open()
        return self._dispatch.try_enter(priority)

    async def enter(
        self, flow: str, priority: Priority = "normal", *, timeout: float | None = None
    ) -> Ticket:
        """A ticket, when it is this task's turn; to be released by the caller.

        `timeout` is in seconds, by default that of the options. Raises `QueueRefusedError`, and
        `ClosedError` where the queue is or becomes closed. Cancelled, it leaves no slot behind.
        """
        ticket = self.try_enter(priority)
        if ticket is not None:
            return ticket
        seconds = self._options.timeout if timeout is None else timeout
        waiter = self._dispatch.join(flow, priority, seconds, self._tasks.loop.create_future())
        self._wake_by(waiter.deadline)
        try:
            ticket = await waiter.future
        except BaseException:
            self._dispatch.leave(waiter)
            raise
        self._dispatch.arrived(waiter, ticket)
        return ticket

    @asynccontextmanager
    async def slot(self, flow: str, priority: Priority = "normal") -> AsyncIterator[Ticket]:
        """A block that runs with a slot; the limiter learns what the block tells the ticket."""
        ticket = await self.enter(flow, priority)
        try:
            yield ticket
        finally:
            ticket.release()

    def statistics(self) -> QueueStatistics:
        """What runs and waits now, and counts since it was made."""
        return self._dispatch.statistics()

    async def _open(self) -> None:
        await self._tasks.open()

    async def _close(self) -> None:
        self._dispatch.close()
        await self._tasks.close()
        self._timer = None
        self._wakes_at = NEVER

    def _wake_by(self, deadline: float) -> None:
        # Nearly always a deadline is the latest so far, and the timer that runs comes in time.
        if deadline < self._wakes_at:
            if self._timer is not None:
                self._timer.cancel()
            self._wakes_at = deadline
            self._timer = self._tasks.spawn(self._expire(), f"timeouts of queue {self._name!r}")

    async def _expire(self) -> None:
        while self._wakes_at < NEVER:
            await self._clock.sleep(self._wakes_at - self._clock.monotonic())
            self._wakes_at = self._dispatch.expire()

    def __repr__(self) -> str:
        return (
            f"<AdaptiveQueueManager {self._name!r}: {self.running}/{self.limit} running, "
            f"{self.waiting} waiting>"
        )
