"""What takes time in a pool's slots: run in tasks of its own, each with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Generic, TypeVar

import msgspec

from fairlead.core.clock import Clock
from fairlead.core.pool.slots import Slot
from fairlead.core.tasks import TaskOwner, attempt
from fairlead.core.waiting import Deadline, Deadlines

T = TypeVar("T")


class Outcome(msgspec.Struct, frozen=True):
    """How a piece of work has ended."""

    value: Any
    error: BaseException | None
    overdue: bool
    """It was told to stop, whether it has obeyed or not."""


class Piece(msgspec.Struct, frozen=True, eq=False):
    """Work to do in a slot: what, for how many seconds at most, and who hears of its end."""

    function: Callable[[], Awaitable[Any]]
    timeout: float
    then: Callable[[Outcome], None]
    overdue: Callable[[], None]
    """Called when its time is over, just before it is told to stop."""


class Work(Generic[T]):
    """The creations, validations and disposals under way, at most one in a slot."""

    def __init__(self, name: str, clock: Clock, tasks: TaskOwner, deadlines: Deadlines) -> None:
        self._name = name
        self._clock = clock
        self._tasks = tasks
        self._deadlines = deadlines
        self._running: dict[Slot[T], asyncio.Task[tuple[Any, Exception | None]]] = {}

    def start(self, slot: Slot[T], piece: Piece) -> None:
        """Begin a piece of work; its end is always told, but never before this returns."""
        name = f"{self._name}: {slot.state.name.lower()}"
        task = self._tasks.spawn(_attempt(piece.function), name)
        self._running[slot] = task
        until = self._clock.monotonic() + piece.timeout
        limit = self._deadlines.at(until, partial(self._expire, slot, piece))
        task.add_done_callback(partial(self._ended, slot, piece, limit))

    def stop(self, slot: Slot[T]) -> None:
        """Cancel the work that goes on in a slot; how it ends is told as always."""
        self._running[slot].cancel()

    def _expire(self, slot: Slot[T], piece: Piece) -> None:
        piece.overdue()
        self.stop(slot)

    def _ended(
        self,
        slot: Slot[T],
        piece: Piece,
        limit: Deadline,
        task: asyncio.Task[tuple[Any, Exception | None]],
    ) -> None:
        limit.cancel()
        del self._running[slot]
        piece.then(_outcome(task, overdue=limit.passed))


def _outcome(task: asyncio.Task[tuple[Any, Exception | None]], *, overdue: bool) -> Outcome:
    if task.cancelled():
        return Outcome(None, asyncio.CancelledError("it was cancelled"), overdue)
    if (raised := task.exception()) is not None:
        return Outcome(None, raised, overdue)
    value, error = task.result()
    return Outcome(value, error, overdue)


async def _attempt(function: Callable[[], Awaitable[T]]) -> tuple[T | None, Exception | None]:
    # Made in the task: one that is cancelled before it begins leaves no coroutine behind.
    return await attempt(_call(function))


async def _call(function: Callable[[], Awaitable[T]]) -> T:
    # Even a function that raises before it returns an awaitable does so here.
    return await function()
