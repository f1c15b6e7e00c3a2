"""Deadlines without a timer each: one task looks at all of them about once a second.

A timer per wait costs several microseconds, for deadlines that are almost never reached; an
attribute that a sweep compares costs nothing, and is at most one sweep late. Time comes from the
leg's clock alone.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Protocol, Self

from fairlead.core.clock import Clock
from fairlead.core.lifecycle import Resource
from fairlead.core.tasks import TaskOwner, log_failure
from fairlead.gateway.legs.base import LegOptions

NEVER = float("inf")


class Watched(Protocol):
    """Something that ends by itself once `deadline` (monotonic seconds, or `NEVER`) has passed."""

    deadline: float

    def expire(self) -> None:
        """End it; called by every sweep that finds the deadline passed. Must not raise."""
        ...


class Deadlines(Resource):
    """Expires what is watched; sweeps every `interval` seconds of the clock."""

    def __init__(self, clock: Clock, interval: float) -> None:
        self.monotonic = clock.monotonic
        self._clock = clock
        self._interval = interval
        self._watched: set[Watched] = set()
        self._tasks = TaskOwner(log_failure)

    def watch(self, item: Watched) -> None:
        """Look at `item` from now on, until it is forgotten."""
        self._watched.add(item)

    def forget(self, item: Watched) -> None:
        """Do not look at `item` any more."""
        self._watched.discard(item)

    def limit(self, seconds: float) -> Limit:
        """A block (`async with`) that raises `TimeoutError` after `seconds`."""
        return Limit(self, self.monotonic() + seconds)

    async def _open(self) -> None:
        await self._tasks.open()
        self._tasks.spawn(self._sweep(), "leg deadlines")

    async def _close(self) -> None:
        """Stop sweeping; every block that still runs is ended as if its time were over."""
        await self._tasks.close()
        for item in [item for item in self._watched if isinstance(item, Limit)]:
            item.expire()

    async def _sweep(self) -> None:
        while True:
            await self._clock.sleep(self._interval)
            now = self.monotonic()
            for item in [item for item in self._watched if item.deadline <= now]:
                item.expire()

    def __len__(self) -> int:
        return len(self._watched)


class Limit:
    """One running block with a deadline, which may be moved while it runs."""

    __slots__ = ("_deadlines", "_scope", "deadline")

    def __init__(self, deadlines: Deadlines, deadline: float) -> None:
        self.deadline = deadline
        self._deadlines = deadlines
        self._scope = asyncio.timeout(None)

    def expire(self) -> None:
        """Cancel what the block waits for and have it raise `TimeoutError`."""
        self.deadline = NEVER
        self._deadlines.forget(self)
        self._scope.reschedule(asyncio.get_running_loop().time())

    async def __aenter__(self) -> Self:
        await self._scope.__aenter__()
        self._deadlines.watch(self)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._deadlines.forget(self)
        await self._scope.__aexit__(exc_type, exc, traceback)


def sweep_interval(options: LegOptions) -> float:
    """A second, or a quarter of the shortest timeout where that is less."""
    shortest = min(
        options.connect_timeout,
        options.first_byte_timeout,
        options.idle_timeout,
        options.keep_alive,
    )
    return min(1.0, max(shortest / 4, 0.01))
