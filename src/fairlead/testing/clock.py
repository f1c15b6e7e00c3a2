"""A clock that goes only when told to."""

from __future__ import annotations

import asyncio
import heapq
import itertools


class ManualClock:
    """`Clock` whose time passes by `advance(seconds)`; sleepers wake in the order of their time."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = 0.0
        self._start = start
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        """Seconds advanced so far."""
        return self._now

    def time(self) -> float:
        """`start` plus the seconds advanced so far."""
        return self._start + self._now

    async def sleep(self, seconds: float) -> None:
        """Return when the clock was advanced by `seconds`; zero only yields."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass, waking each sleeper at its time and letting it run."""
        until = self._now + seconds
        while self._sleepers and self._sleepers[0][0] <= until:
            when, _, future = heapq.heappop(self._sleepers)
            self._now = max(self._now, when)
            if not future.done():
                future.set_result(None)
            await _settle()
        self._now = until
        await _settle()


async def _settle() -> None:
    # A woken task may wake others; a few turns of the loop let such chains run.
    for _ in range(10):
        await asyncio.sleep(0)
