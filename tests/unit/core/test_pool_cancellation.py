"""`ResourcePool`: a caller that is cancelled, at each await that there is, loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from fairlead.core.pool import ResourcePool
from unit.core.poolfactory import Factory, Thing, Time, settle

TURNS = 12
"""More turns of the loop than any caller here takes."""


async def slowly() -> None:
    """A step of a few turns."""
    for _ in range(3):
        await asyncio.sleep(0)


Setting = Callable[[Factory, Time], AbstractAsyncContextManager[ResourcePool[Thing]]]


@asynccontextmanager
async def nothing_there(factory: Factory, clock: Time) -> AsyncIterator[ResourcePool[Thing]]:
    """It has to be created."""
    async with factory.pool(clock, max_size=1) as pool:
        yield pool


@asynccontextmanager
async def to_be_validated(factory: Factory, clock: Time) -> AsyncIterator[ResourcePool[Thing]]:
    """It is idle since long."""
    async with factory.pool(clock, max_size=1, validated=True) as pool:
        async with pool.using():
            pass
        await clock.advance(60)
        yield pool


@asynccontextmanager
async def not_valid(factory: Factory, clock: Time) -> AsyncIterator[ResourcePool[Thing]]:
    """It has to be replaced."""
    async with to_be_validated(factory, clock) as pool:
        factory.made[0].sound = False
        yield pool


@asynccontextmanager
async def in_use(factory: Factory, clock: Time) -> AsyncIterator[ResourcePool[Thing]]:
    """Another caller has it and gives it back a little later."""
    async with factory.pool(clock, max_size=1) as pool:
        thing = await pool.acquire()

        async def later() -> None:
            await slowly()
            pool.release(thing)

        task = asyncio.create_task(later())
        yield pool
        await task


@pytest.mark.parametrize("setting", [nothing_there, to_be_validated, not_valid, in_use])
@pytest.mark.parametrize("turns", range(TURNS))
async def test_nothing_is_lost(setting: Setting, turns: int) -> None:
    factory, clock = Factory(), Time()
    factory.creating = factory.validating = factory.disposing = slowly
    async with setting(factory, clock) as pool:
        reached: list[str] = []

        async def caller() -> None:
            async with pool.using():
                reached.append("inside")
                await asyncio.sleep(0)
            reached.append("done")

        task = asyncio.create_task(caller())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled() == ("done" not in reached)
        await settle()
        await settle()

        statistics = pool.statistics()
        assert (statistics.in_use, statistics.waiting) == (0, 0)
        assert statistics.idle == statistics.size == len(factory.alive)
        async with pool.using() as thing:
            assert factory.alive == {thing}
    assert factory.most == 1
    assert not factory.alive


async def test_handed_over_and_cancelled_at_once_it_goes_to_the_next() -> None:
    factory, clock = Factory(), Time()
    async with factory.pool(clock, max_size=1) as pool:
        thing = await pool.acquire()
        waiting = [asyncio.create_task(pool.acquire()) for _ in range(3)]
        await settle()
        pool.release(thing)
        waiting[0].cancel()
        assert await waiting[1] is thing
        waiting[2].cancel()
        pool.release(thing)
        await settle()
        assert waiting[0].cancelled()
        assert waiting[2].cancelled()
        assert pool.statistics().idle == 1


async def test_handed_over_and_too_late_it_is_kept() -> None:
    """The deadline and the hand-over come in the same turn: whichever was first counts."""
    factory, clock = Factory(), Time()
    async with factory.pool(clock, max_size=1) as pool:
        thing = await pool.acquire()
        waiting = asyncio.create_task(pool.acquire(timeout=5))
        await settle()
        pool.release(thing)
        await clock.advance(5)
        assert await waiting is thing
        pool.release(thing)
        assert pool.statistics().timeouts == 0


async def test_a_callers_own_timeout() -> None:
    factory, clock = Factory(), Time()
    async with factory.pool(clock, max_size=1) as pool:
        thing = await pool.acquire()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await pool.acquire()
        pool.release(thing)
        assert (pool.statistics().waiting, pool.statistics().idle) == (0, 1)
