"""What runs, what waits, and the classes that they belong to."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Protocol

from fairlead.core.histogram import Histogram
from fairlead.traffic.admission import PRIORITIES, ClassStatistics, Priority
from fairlead.traffic.fairness import FairQueue, Line

WAIT_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Buckets of the waiting times, in seconds."""


class Desk(Protocol):
    """Where a ticket comes from and goes back to."""

    def first_byte(self, ticket: Ticket) -> None:
        """Its server has begun to answer."""
        ...

    def overloaded(self, ticket: Ticket) -> None:
        """Its server has too much to do."""
        ...

    def give_back(self, ticket: Ticket) -> None:
        """Its task has ended."""
        ...


class Ticket:
    """One running task and its slot."""

    __slots__ = ("_desk", "_unanswered", "lane", "line", "running", "started", "waited")

    def __init__(
        self, desk: Desk, lane: Lane, started: float, running: int, waited: float = 0.0
    ) -> None:
        self.lane = lane
        self.line: Line[Waiter] | None = None
        """The queue that it came from; None where it went at once."""
        self.started = started
        """Monotonic seconds."""
        self.running = running
        """Tasks that ran when it began, itself included."""
        self.waited = waited
        """Seconds in the queue; 0.0 where it went at once."""
        self._desk: Desk | None = desk
        self._unanswered = True

    @property
    def priority(self) -> Priority:
        """The class that it was served in."""
        return self.lane.priority

    def first_byte(self) -> None:
        """The server has begun to answer; only the first call counts.

        Not for an answer that is a refusal (call `overloaded`): those are quick, and would make
        the server look fast.
        """
        if self._unanswered and self._desk is not None:
            self._unanswered = False
            self._desk.first_byte(self)

    def overloaded(self) -> None:
        """The server answered 429, 503 or 529."""
        if self._desk is not None:
            self._unanswered = False
            self._desk.overloaded(self)

    def release(self) -> None:
        """The slot is free; further calls do nothing."""
        desk, self._desk = self._desk, None
        if desk is not None:
            desk.give_back(self)

    def __repr__(self) -> str:
        state = "released" if self._desk is None else "running"
        return f"<Ticket {self.priority} {state}, waited {self.waited:.3f} s>"


class Waiter:
    """One task that waits, in `line` of `lane`, until `future` has a ticket or an error."""

    __slots__ = ("entered", "future", "lane", "line", "queued", "timeout")

    def __init__(
        self,
        lane: Lane,
        line: Line[Waiter],
        future: asyncio.Future[Ticket],
        entered: float,
        timeout: float,
    ) -> None:
        self.lane = lane
        self.line = line
        self.future = future
        self.entered = entered
        self.timeout = timeout
        self.queued = True
        """It stands in its line still."""

    @property
    def deadline(self) -> float:
        """Monotonic seconds."""
        return self.entered + self.timeout


class Lane:
    """One class: its tasks that wait, and its counts."""

    def __init__(self, index: int, queues: int) -> None:
        self.index = index
        self.priority = PRIORITIES[index]
        self.queue: FairQueue[Waiter] = FairQueue(queues)
        self.admitted = 0
        self.abandoned = 0
        self.overflowed = 0
        self.refused: Counter[str] = Counter()
        self.waits = Histogram.empty(WAIT_BOUNDS)
        self.longest_wait = 0.0

    def admit(self, waited: float) -> None:
        """Count a task that has its slot after waiting."""
        self.admitted += 1
        self.waits.observe(waited)
        self.longest_wait = max(self.longest_wait, waited)

    def statistics(self, now: float) -> ClassStatistics:
        """The class now."""
        # Each line is in order of arrival, so its head has waited longest.
        heads = [next(iter(line.items)).entered for line in self.queue.lines if line.items]
        return ClassStatistics(
            waiting=self.queue.waiting,
            admitted=self.admitted,
            refused=dict(self.refused),
            abandoned=self.abandoned,
            overflowed=self.overflowed,
            waits=self.waits.copy(),
            longest_wait=self.longest_wait,
            oldest_wait=now - min(heads, default=now),
        )
