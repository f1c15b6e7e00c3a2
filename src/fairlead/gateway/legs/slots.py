"""Bounded slots with a bounded line before them: who may use a connection, and who is next.

Every decision is a synchronous step, so nothing can happen in the middle of one. A slot is always
held by exactly one of: the idle store, a caller, or nobody (it is free). While somebody stands in
line nothing is idle and no slot is free; therefore a newcomer never overtakes.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Generic, TypeVar

from fairlead.errors import ClosedError, UpstreamBusyError
from fairlead.gateway.legs.base import LegOptions
from fairlead.gateway.legs.deadlines import NEVER, Deadlines

T = TypeVar("T")


class Slots(Generic[T]):
    """At most `max_connections` slots; a slot may carry an idle `T` that waits for its next use."""

    def __init__(self, options: LegOptions, deadlines: Deadlines) -> None:
        self.taken = 0
        """Slots that are not free: in use, idle, or on their way to somebody in line."""
        self._options = options
        self._deadlines = deadlines
        self._idle: dict[T, None] = {}
        self._line: OrderedDict[Turn[T], None] = OrderedDict()

    @property
    def idle(self) -> int:
        """Slots that carry an idle `T`."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """Callers in line."""
        return len(self._line)

    def take(self) -> T | None:
        """The most recently used idle `T` with its slot, now the caller's; None where none is."""
        return self._idle.popitem()[0] if self._idle else None

    def reserve(self) -> bool:
        """Make a free slot the caller's; False where all are taken."""
        if self.taken >= self._options.max_connections:
            return False
        self.taken += 1
        return True

    async def wait(self) -> T | None:
        """Stand in line for a slot, which comes with an idle `T` or empty.

        Raises `UpstreamBusyError` where the line is full, or after `connect_timeout` seconds, and
        `ClosedError` where the slots are closed meanwhile. Cancelled, it leaves no slot behind.
        """
        options = self._options
        if len(self._line) >= options.max_waiting:
            raise UpstreamBusyError(options.name)
        turn: Turn[T] = Turn(options, self._deadlines.monotonic() + options.connect_timeout)
        self._line[turn] = None
        self._deadlines.watch(turn)
        try:
            return await turn.future
        except BaseException:
            # Cancelled in the moment between the hand-off and waking up: the slot goes on.
            if turn.was_given:
                self._pass_on(turn.future.result())
            raise
        finally:
            self._line.pop(turn, None)
            self._deadlines.forget(turn)

    def give(self, item: T) -> None:
        """Give a slot back with `item` in it: to the first in line who takes it, else idle."""
        if not self._hand_off(item):
            self._idle[item] = None

    def free(self) -> None:
        """Give a slot back empty: to the first in line who takes it, else it is free."""
        if not self._hand_off(None):
            self.taken -= 1

    def drop(self, item: T) -> None:
        """`item` is of no use any more: where it was idle its slot is free."""
        if item in self._idle:
            del self._idle[item]
            self.free()

    def close(self) -> None:
        """Turn everybody in line away with `ClosedError`."""
        while self._line:
            turn, _ = self._line.popitem(last=False)
            turn.refuse(ClosedError(f"the leg of upstream {self._options.name!r} was closed"))

    def _pass_on(self, item: T | None) -> None:
        if item is None:
            self.free()
        else:
            self.give(item)

    def _hand_off(self, item: T | None) -> bool:
        while self._line:
            turn, _ = self._line.popitem(last=False)
            if turn.offer(item):
                return True
        return False

    def __repr__(self) -> str:
        return (
            f"<Slots {self.taken}/{self._options.max_connections} taken, {self.idle} idle, "
            f"{self.waiting} waiting>"
        )


class Turn(Generic[T]):
    """One caller's place in line."""

    __slots__ = ("_options", "deadline", "future")

    def __init__(self, options: LegOptions, deadline: float) -> None:
        self.deadline = deadline
        self.future: asyncio.Future[T | None] = asyncio.get_running_loop().create_future()
        self._options = options

    @property
    def was_given(self) -> bool:
        """A slot has been handed over."""
        future = self.future
        return future.done() and not future.cancelled() and future.exception() is None

    def offer(self, item: T | None) -> bool:
        """Hand a slot over; False where the caller has gone away and cannot take it."""
        if self.future.done():
            return False
        self.future.set_result(item)
        return True

    def refuse(self, error: Exception) -> None:
        """Send the caller away with `error`."""
        self.deadline = NEVER
        if not self.future.done():
            self.future.set_exception(error)

    def expire(self) -> None:
        """The caller has waited long enough."""
        seconds = self._options.connect_timeout
        self.refuse(
            UpstreamBusyError(self._options.name, f"no connection became free within {seconds:g} s")
        )
