"""Every decision of the queue before a server, each one synchronous: who runs, waits, is refused.

A slot is held by exactly one ticket or by nobody. While a task waits no slot is free, because each
step that frees one hands it on before it returns; so a newcomer never overtakes.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools

from fairlead.core.clock import Clock
from fairlead.core.lru import Memo
from fairlead.errors import ClosedError, QueueRefusedError
from fairlead.traffic.admission import PRIORITIES, Priority, QueueOptions, QueueStatistics
from fairlead.traffic.fairness import Line, Turns, deal
from fairlead.traffic.limiter import DrainRate, GradientLimiter
from fairlead.traffic.tickets import Lane, Ticket, Waiter

NEVER = float("inf")

MIN_RETRY, MAX_RETRY = 1.0, 60.0
"""Bounds of `retry_after`, in seconds."""

DEFAULT_RETRY = 5.0
"""`retry_after` while no drain rate is known."""

EARLY = 0.001
"""Seconds before its deadline that a wait may end: timers are not more exact than that."""

MEAN_WEIGHT = 0.05
"""Of the latest task in the mean running time."""

MAX_HANDS = 1024
"""Flows whose hands are remembered: dealing one costs more than everything else on the way."""


class Dispatch:
    """The slots of one server, the classes that wait for them, and who is next.

    Needs no event loop: the futures come from the caller. Not thread-safe.
    """

    def __init__(self, options: QueueOptions, name: str, clock: Clock) -> None:
        self.options = options
        self.limit = options.limit
        """Tasks at a time, now."""
        self.running = 0
        self.waiting = 0
        self._name = name
        self._monotonic = clock.monotonic
        self._lanes = [Lane(index, options.queues) for index in range(len(PRIORITIES))]
        self._by_priority = {lane.priority: lane for lane in self._lanes}
        self._turns = Turns(options.weights)
        self._hands: Memo[str, tuple[int, ...]] = Memo(MAX_HANDS)
        self._order = itertools.count()
        self._deadlines: list[tuple[float, int, Waiter]] = []
        self._drain = DrainRate(clock)
        self._mean_running = 0.0
        self._limiter: GradientLimiter | None = None
        if options.adaptive:
            self._limiter = GradientLimiter(
                options.limit, options.min_limit, options.max_limit, clock
            )

    @property
    def has_room(self) -> bool:
        """A newcomer of class normal would not be refused now."""
        if self.running < self.limit:
            return True
        return any(
            self._by_priority[one].queue.waiting < self.options.max_waiting
            for one in ("normal", "high")
        )

    def try_enter(self, priority: Priority) -> Ticket | None:
        """A ticket where a slot is free; then nobody waits."""
        if self.running >= self.limit:
            return None
        self.running += 1
        lane = self._by_priority[priority]
        lane.admitted += 1
        return Ticket(self, lane, self._monotonic(), self.running)

    def join(
        self, flow: str, priority: Priority, timeout: float, future: asyncio.Future[Ticket]
    ) -> Waiter:
        """Let `future` wait for a ticket; for when no slot is free. Raises `QueueRefusedError`."""
        lane = self._lane_for(priority)
        line = lane.queue.shortest(self._hand(flow))
        if lane.queue.waiting >= self.options.max_waiting:
            self._make_room(lane, line)
        if not lane.queue.waiting:
            self._turns.wake(lane.index)
        waiter = Waiter(lane, line, future, self._monotonic(), timeout)
        lane.queue.push(line, waiter)
        self.waiting += 1
        self._keep_deadline(waiter)
        return waiter

    def arrived(self, waiter: Waiter, ticket: Ticket) -> None:
        """The caller of `waiter` has woken up with its `ticket`."""
        waiter.lane.admit(ticket.waited)

    def leave(self, waiter: Waiter) -> None:
        """The caller of `waiter` ends without a ticket: it was cancelled, or sent away."""
        future = waiter.future
        if waiter.queued:
            self._take_out(waiter)
        if future.cancelled() or not future.done():
            waiter.lane.abandoned += 1
        elif future.exception() is None:
            # Cancelled in the moment between the hand-off and waking up: the slot goes on.
            waiter.lane.abandoned += 1
            self._free(future.result(), 0.0)

    def first_byte(self, ticket: Ticket) -> None:
        """The server of `ticket` has begun to answer."""
        if self._limiter is not None:
            self._limiter.sample(self._monotonic() - ticket.started, ticket.running)
            self._follow(self._limiter)

    def overloaded(self, ticket: Ticket) -> None:
        """The server of `ticket` has too much to do."""
        if self._limiter is not None:
            self._limiter.overloaded(ticket.running, self.running)
            self._follow(self._limiter)

    def give_back(self, ticket: Ticket) -> None:
        """The task of `ticket` has ended."""
        now = self._monotonic()
        took = now - ticket.started
        self._drain.add(now)
        mean = self._mean_running
        self._mean_running = mean + MEAN_WEIGHT * (took - mean) if mean else took
        self._free(ticket, took / mean if mean else 1.0)
        if self._limiter is not None:
            self._limiter.step()
            self._follow(self._limiter)

    def expire(self) -> float:
        """Send away those whose time is over; the next deadline, `NEVER` where there is none."""
        deadlines = self._deadlines
        now = self._monotonic()
        while deadlines and (deadlines[0][0] <= now + EARLY or not deadlines[0][2].queued):
            _, _, waiter = heapq.heappop(deadlines)
            if waiter.queued:
                self._take_out(waiter)
                self._refuse(waiter, "timeout", f"no slot became free in {waiter.timeout:g} s")
        return deadlines[0][0] if deadlines else NEVER

    def close(self) -> None:
        """Send everybody who waits away with `ClosedError`."""
        for lane in self._lanes:
            for waiter in lane.queue.clear():
                waiter.queued = False
                if not waiter.future.done():
                    waiter.future.set_exception(ClosedError(f"queue {self._name!r} was closed"))
        self.waiting = 0
        self._deadlines.clear()

    def statistics(self) -> QueueStatistics:
        """Everything now."""
        now = self._monotonic()
        options, limiter = self.options, self._limiter
        return QueueStatistics(
            name=self._name,
            limit=self.limit,
            min_limit=options.min_limit if limiter else self.limit,
            max_limit=options.max_limit if limiter else self.limit,
            running=self.running,
            drain_rate=self._drain.per_second(),
            first_byte=limiter.normal if limiter else 0.0,
            overloads=limiter.overloads if limiter else 0,
            classes={lane.priority: lane.statistics(now) for lane in self._lanes},
        )

    def _lane_for(self, priority: Priority) -> Lane:
        """The class that it waits in: normal overflows into high while there is room."""
        lane = self._by_priority[priority]
        if priority != "normal" or lane.queue.waiting < self.options.max_waiting:
            return lane
        above = self._by_priority["high"]
        if above.queue.waiting >= self.options.max_waiting:
            return lane
        lane.overflowed += 1
        return above

    def _hand(self, flow: str) -> tuple[int, ...]:
        hand = self._hands.get(flow)
        if hand is None:
            hand = deal(flow, self.options.queues, self.options.hand_size)
            self._hands.put(flow, hand)
        return hand

    def _make_room(self, lane: Lane, line: Line[Waiter]) -> None:
        """A place in a full class for a newcomer to `line`, or `QueueRefusedError`.

        Where its line is clearly shorter than the longest, the youngest of that one goes instead.
        """
        queue = lane.queue
        longest = queue.longest
        if len(line.items) + 1 < len(longest.items):
            waiter = queue.drop(longest)
            waiter.queued = False
            self.waiting -= 1
            self._refuse(waiter, "share", "its place went to a caller with fewer requests waiting")
            return
        if lane.priority == "low":
            raise self._refusal(lane, "shed", "the lowest class is shed first")
        if len(line.items) > queue.waiting / len(queue.lines) + 1:
            raise self._refusal(lane, "share", "the caller has its share of the places already")
        raise self._refusal(lane, "full", "every place is taken")

    def _refuse(self, waiter: Waiter, reason: str, why: str) -> None:
        # A caller that was cancelled and has not woken up yet is counted when it leaves.
        if not waiter.future.done():
            waiter.future.set_exception(self._refusal(waiter.lane, reason, why))

    def _refusal(self, lane: Lane, reason: str, why: str) -> QueueRefusedError:
        lane.refused[reason] += 1
        seconds = self._retry_after()
        return QueueRefusedError(
            reason,
            f"queue {self._name!r}, class {lane.priority}: {why} ({self.running} running of "
            f"{self.limit}, {lane.queue.waiting} waiting of {self.options.max_waiting}); "
            f"try again in {seconds:.0f} s",
            seconds,
        )

    def _retry_after(self) -> float:
        """Seconds until everything that waits now will have had its turn."""
        rate = self._drain.per_second()
        if not rate:
            # Nothing has ended for long, though something did once: it hangs.
            return MAX_RETRY if self._mean_running else DEFAULT_RETRY
        return min(max((self.waiting + 1) / rate, MIN_RETRY), MAX_RETRY)

    def _take_out(self, waiter: Waiter) -> None:
        waiter.lane.queue.remove(waiter.line, waiter)
        waiter.queued = False
        self.waiting -= 1

    def _free(self, ticket: Ticket, work: float) -> None:
        if ticket.line is not None:
            ticket.lane.queue.settle(ticket.line, work)
        self.running -= 1
        self._hand_on()

    def _follow(self, limiter: GradientLimiter) -> None:
        self.limit = limiter.limit
        self._hand_on()

    def _hand_on(self) -> None:
        """Give every free slot to the task that is next."""
        while self.waiting and self.running < self.limit:
            awake = [lane.index for lane in self._lanes if lane.queue.waiting]
            lane = self._lanes[self._turns.choose(awake)]
            line, waiter = lane.queue.pop()
            waiter.queued = False
            self.waiting -= 1
            if waiter.future.done():
                # Its caller was cancelled and has not woken up yet: it gets and pays nothing.
                lane.queue.settle(line, 0.0)
            else:
                self._hand_over(lane, line, waiter)

    def _hand_over(self, lane: Lane, line: Line[Waiter], waiter: Waiter) -> None:
        now = self._monotonic()
        waited = now - waiter.entered
        # At most half: one flow's own backlog must not turn the order of the classes around.
        self._turns.charge(lane.index, max(0.5, 1.0 / (1.0 + waited / self.options.ageing)))
        self.running += 1
        ticket = Ticket(self, lane, now, self.running, waited)
        ticket.line = line
        waiter.future.set_result(ticket)

    def _keep_deadline(self, waiter: Waiter) -> None:
        deadlines = self._deadlines
        heapq.heappush(deadlines, (waiter.deadline, next(self._order), waiter))
        # Those who have left stay in the heap until their time: no more than the others.
        if len(deadlines) > 2 * self.waiting + 64:
            self._deadlines = [entry for entry in deadlines if entry[2].queued]
            heapq.heapify(self._deadlines)
