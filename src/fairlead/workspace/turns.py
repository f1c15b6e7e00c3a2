"""Work that many ask for at a time: done once for all who ask before it begins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from fairlead.core.tasks import TaskOwner, attempt
from fairlead.errors import ClosedError
from fairlead.workspace.base import Progress

T = TypeVar("T")
Listener = Callable[[Progress], None]


class Turns(Generic[T]):
    """Turns of one kind of work, one after the other; belongs to one event loop.

    Who asks while a turn is under way gets the next one, because this one may have looked already
    at what has changed since. Who stops waiting stops nobody else; the last one stops the work.
    """

    def __init__(
        self, work: Callable[[Listener], Awaitable[T]], tasks: TaskOwner, name: str
    ) -> None:
        """`work(tell)` has a deadline of its own, by which every wait is bounded."""
        self.shared = 0
        """How often somebody joined a turn that another had asked for."""
        self._work = work
        self._tasks = tasks
        self._name = name
        self._one_at_a_time = asyncio.Lock()
        self._coming: _Turn[T] | None = None

    async def take(self, listener: Listener | None = None) -> T:
        """What a turn brings that begins from now on; `listener` hears how far it is.

        Raises what the work raises, `ClosedError` where it was ended by a close.
        """
        turn = self._coming
        if turn is None:
            turn = self._coming = _Turn()
            turn.task = self._tasks.spawn(self._attempted(turn), self._name)
        else:
            self.shared += 1
        turn.waiters += 1
        if listener is not None:
            turn.listeners.append(listener)
        try:
            await asyncio.wait([turn.task])
        finally:
            turn.waiters -= 1
            if listener is not None:
                turn.listeners.remove(listener)
            if not turn.waiters:
                self._abandon(turn)
        return turn.result()

    async def _attempted(self, turn: _Turn[T]) -> tuple[T | None, Exception | None]:
        # Whatever it raises is for those who wait; a task that raises is a fault of ours.
        return await attempt(self._go(turn))

    async def _go(self, turn: _Turn[T]) -> T:
        async with self._one_at_a_time:
            self._coming = None
            return await self._work(turn.tell)

    def _abandon(self, turn: _Turn[T]) -> None:
        turn.task.cancel()  # does nothing where it has ended
        if self._coming is turn:
            self._coming = None


class _Turn(Generic[T]):
    """One turn and who waits for it."""

    def __init__(self) -> None:
        self.task: asyncio.Task[tuple[T | None, Exception | None]]
        self.waiters = 0
        self.listeners: list[Listener] = []

    def tell(self, progress: Progress) -> None:
        """Tell all who listen now."""
        for listener in self.listeners:
            listener(progress)

    def result(self) -> T:
        """What it has brought."""
        if self.task.cancelled():
            raise ClosedError("the repository's cache was closed meanwhile")
        value, error = self.task.result()
        if error is not None:
            raise error
        return value  # type: ignore[return-value] # there is one wherever there is no error
