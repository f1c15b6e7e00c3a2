"""`ResourcePool` under 200 tasks with random cancels, slow, hanging and failing creation."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.pool import PoolOptions, ResourcePool
from fairlead.errors import PoolFullError, PoolTimeoutError
from unit.core.poolfactory import Factory, Thing, Time, at_once

TASKS, LEAST, MOST = 200, 3, 10
OPTIONS = PoolOptions(
    min_size=LEAST,
    max_size=MOST,
    max_idle=2.0,
    max_lifetime=5.0,
    max_waiting=180,
    acquire_timeout=0.1,
    create_timeout=0.05,
    validate_timeout=0.05,
    dispose_timeout=0.05,
    validate_after=0.005,
)


class Storm:
    """The tasks, and what they have seen."""

    def __init__(self, clock: Clock, seed: int) -> None:
        self.clock = clock
        self.random = random.Random(seed)  # noqa: S311 - guards nothing
        self.factory = Factory()
        self.factory.creating = self.factory.validating = self.factory.disposing = self._step
        self.pool = ResourcePool(
            self.factory.create,
            self.factory.dispose,
            validate=self.factory.validate,
            options=OPTIONS,
            clock=clock,
            uniform=self.random.uniform,
        )
        self.lent: set[Thing] = set()
        self.seen: Counter[str] = Counter()

    async def _step(self) -> None:
        chance = self.random.random()
        if chance < 0.1:
            raise ConnectionError("refused")
        # One in fifty would take longer than its deadline.
        await self.clock.sleep(10.0 if chance > 0.98 else 0.03 * chance)

    async def blow(self, seconds: float) -> None:
        """All tasks work for so long, and give back what they have."""
        end = self.clock.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(TASKS):
                group.create_task(self._keep_coming(end))

    async def _keep_coming(self, end: float) -> None:
        while self.clock.monotonic() < end:
            task = asyncio.create_task(self._visit())
            if self.random.random() < 0.3:
                await self.clock.sleep(0.1 * self.random.random())
                task.cancel()
            await asyncio.wait([task])
            self.seen["cancelled" if task.cancelled() else task.result()] += 1
            self._check()
            await self.clock.sleep(0.05 * self.random.random())

    async def _visit(self) -> str:
        try:
            async with self.pool.using() as thing:
                assert thing not in self.lent
                self.lent.add(thing)
                try:
                    thing.sound = self.random.random() > 0.2
                    await self.clock.sleep(0.02 * self.random.random())
                    if self.random.random() < 0.2:
                        raise KeyError
                finally:
                    self.lent.remove(thing)
        except (PoolTimeoutError, PoolFullError, KeyError) as error:
            return type(error).__name__
        return "served"

    def _check(self) -> None:
        statistics = self.pool.statistics()
        assert statistics.in_use >= len(self.lent)
        assert statistics.size <= MOST
        assert self.factory.most <= MOST
        assert statistics.waiting <= OPTIONS.max_waiting

    @property
    def is_small(self) -> bool:
        """Only the minimum is there, and idle."""
        statistics = self.pool.statistics()
        return statistics.size == statistics.idle == LEAST

    def check_calm(self) -> None:
        """Nobody is there any more; only the minimum is left, and none was lost."""
        statistics = self.pool.statistics()
        assert (statistics.waiting, statistics.in_use) == (0, 0)
        assert self.is_small
        assert len(self.factory.alive) == LEAST
        assert min(self.seen[kind] for kind in ("served", "cancelled", "KeyError")) > 0
        assert min(statistics.create_failures, statistics.broken, statistics.timeouts) > 0
        assert statistics.created == len(self.factory.made)


@pytest.mark.parametrize("seed", range(3))
async def test_a_storm_in_a_second(seed: int) -> None:
    """The same in virtual time."""
    clock = Time()
    storm = Storm(clock, seed)
    async with storm.pool:
        blowing = asyncio.create_task(storm.blow(1.0))
        while not blowing.done():
            await clock.advance(0.02)
        await blowing
        storm.factory.creating = storm.factory.validating = storm.factory.disposing = at_once
        await clock.advance(30)
        storm.check_calm()
    assert storm.factory.occupied == 0


@pytest.mark.soak
@pytest.mark.timeout(120)
async def test_a_minute_of_it() -> None:
    """On the real clock."""
    storm = Storm(SYSTEM_CLOCK, seed=1)
    async with storm.pool:
        await storm.blow(60.0)
        storm.factory.creating = storm.factory.validating = storm.factory.disposing = at_once
        async with asyncio.timeout(30):
            while not storm.is_small:  # noqa: ASYNC110 - the pool alone knows, and tells nobody
                await asyncio.sleep(0.05)
        storm.check_calm()
    assert storm.factory.occupied == 0
