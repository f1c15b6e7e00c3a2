"""Reads under way: who wants the same file waits for the same read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from fairlead.core.tasks import TaskOwner
from fairlead.errors import ClosedError, FairleadError

T = TypeVar("T")


class Flight(Generic[T]):
    """One read, shared by all that wait for it; who stops waiting stops nobody else."""

    def __init__(self) -> None:
        self.has_begun = False
        """The file may have been opened: who asks from now on may want a later content. Set by
        the thread that reads, before it opens."""
        self._task: asyncio.Task[tuple[T | None, FairleadError | None]]

    def start(self, work: Callable[[Flight[T]], Awaitable[T]], tasks: TaskOwner, name: str) -> None:
        """Begin; `work` has a deadline of its own, by which every waiter's wait is bounded."""
        self._task = tasks.spawn(_outcome(work(self)), name)

    async def ended(self) -> None:
        """Wait for the end, whatever it is."""
        await asyncio.wait([self._task])

    async def result(self) -> T:
        """What it brings; raises what it raised, or `ClosedError` where it was ended by a close."""
        await self.ended()
        if self._task.cancelled():
            raise ClosedError("the files were closed while one was read")
        result, error = self._task.result()
        if error is not None:
            raise error
        return result  # type: ignore[return-value] # there is one wherever there is no error


async def _outcome(work: Awaitable[T]) -> tuple[T | None, FairleadError | None]:
    # Refusals are for who waits; a task that raises is reported as a fault of ours.
    try:
        return await work, None
    except FairleadError as error:
        return None, error
