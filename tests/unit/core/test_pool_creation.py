"""`ResourcePool`: creation that is slow, fails, never ends or takes no notice; the minimum."""

from __future__ import annotations

import asyncio
import logging

import pytest

from fairlead.core.pool import ResourcePool
from fairlead.errors import PoolTimeoutError
from fairlead.testing import ManualClock
from unit.core.poolfactory import DeafGate, Factory, Gate, Thing, Time, at_once, failing, settle


@pytest.fixture
def clock() -> ManualClock:
    return Time()


@pytest.fixture
def factory() -> Factory:
    return Factory()


async def give_back(pool: ResourcePool[Thing], *tasks: asyncio.Task[Thing]) -> None:
    for task in tasks:
        pool.release(await task)


async def test_the_minimum_is_made_in_the_background(clock: ManualClock, factory: Factory) -> None:
    factory.creating = gate = Gate()
    async with factory.pool(clock, min_size=2, max_size=5) as pool:
        await settle()
        assert (gate.waiting, pool.statistics().creating) == (2, 2)
        gate.open()
        await settle()
        assert pool.statistics().idle == 2


async def test_what_is_being_created_counts(clock: ManualClock, factory: Factory) -> None:
    factory.creating = gate = Gate()
    async with factory.pool(clock, max_size=3) as pool:
        waiting = [asyncio.create_task(pool.acquire()) for _ in range(10)]
        await settle()
        assert gate.waiting == 3
        gate.open()
        await give_back(pool, *waiting)
        assert factory.most == 3


async def test_no_more_is_created_than_is_waited_for(clock: ManualClock, factory: Factory) -> None:
    factory.creating = gate = Gate()
    async with factory.pool(clock, max_size=9) as pool:
        waiting = [asyncio.create_task(pool.acquire()) for _ in range(2)]
        await settle()
        assert gate.waiting == 2
        gate.open()
        await give_back(pool, *waiting)
        assert factory.calls["create"] == 2


async def test_a_callers_end_does_not_break_a_creation_off(
    clock: ManualClock, factory: Factory
) -> None:
    factory.creating = gate = Gate()
    async with factory.pool(clock) as pool:
        caller = asyncio.create_task(pool.acquire())
        await settle()
        caller.cancel()
        await settle()
        assert gate.waiting == 1
        gate.open()
        await settle()
        assert (pool.statistics().idle, pool.statistics().waiting) == (1, 0)
        assert await pool.acquire() is factory.made[0]
        pool.release(factory.made[0])


async def test_what_becomes_free_first_serves_first(clock: ManualClock, factory: Factory) -> None:
    """A caller for whom something is being created takes what is given back meanwhile."""
    async with factory.pool(clock, max_size=2) as pool:
        thing = await pool.acquire()
        factory.creating = gate = Gate()
        waiting = asyncio.create_task(pool.acquire())
        await settle()
        assert gate.waiting == 1
        pool.release(thing)
        assert await waiting is thing
        gate.open()
        await settle()
        assert pool.statistics().idle == 1
        pool.release(thing)


async def test_failed_creation_is_tried_again_until_it_works(
    clock: ManualClock, factory: Factory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    factory.creating = failing(ConnectionError("refused"))
    async with factory.pool(clock) as pool:
        waiting = asyncio.create_task(pool.acquire())
        await settle()
        assert factory.calls["create"] == 1
        await clock.advance(10)
        tries = factory.calls["create"]
        assert 4 < tries < 15, "the pauses grow"
        factory.creating = at_once
        await clock.advance(3)
        await give_back(pool, waiting)
        statistics = pool.statistics()
        assert (statistics.create_failures, statistics.created) == (tries, 1)
    assert len(caplog.records) == 1, "a row of failures is told once"
    assert "refused" in caplog.text


async def test_the_last_failure_is_told_when_time_is_over(
    clock: ManualClock, factory: Factory
) -> None:
    error = ConnectionError("no route")
    factory.creating = failing(error)
    async with factory.pool(clock) as pool:
        waiting = asyncio.create_task(pool.acquire(timeout=3))
        await clock.advance(3)
        with pytest.raises(PoolTimeoutError, match="ConnectionError: no route") as told:
            await waiting
        assert told.value.__cause__ is error

        factory.creating = at_once
        await clock.advance(5)
        things = [await pool.acquire() for _ in range(2)]
        waiting = asyncio.create_task(pool.acquire(timeout=3))
        await clock.advance(3)
        with pytest.raises(PoolTimeoutError) as told:
            await waiting
        assert told.value.__cause__ is None, "creation works again"
        for thing in things:
            pool.release(thing)


async def test_nothing_is_tried_that_nobody_needs(clock: ManualClock, factory: Factory) -> None:
    factory.creating = failing(ConnectionError())
    async with factory.pool(clock) as pool:
        waiting = asyncio.create_task(pool.acquire(timeout=1))
        await clock.advance(1)
        assert isinstance(await asyncio.gather(waiting, return_exceptions=True), list)
        tries = factory.calls["create"]
        await clock.advance(100)
        assert factory.calls["create"] == tries


async def test_the_minimum_is_tried_for_ever(clock: ManualClock, factory: Factory) -> None:
    factory.creating = failing(ConnectionError())
    async with factory.pool(clock, min_size=1) as pool:
        await clock.advance(1000)
        assert factory.calls["create"] > 300
        factory.creating = at_once
        await clock.advance(5)
        assert pool.statistics().idle == 1


async def test_while_it_fails_only_one_at_a_time_is_tried(
    clock: ManualClock, factory: Factory
) -> None:
    factory.creating = gate = Gate()
    async with factory.pool(clock, max_size=8) as pool:
        waiting = [asyncio.create_task(pool.acquire()) for _ in range(8)]
        await settle()
        gate.open(ConnectionError())
        await settle()
        assert factory.calls["create"] == 8
        factory.creating = gate = Gate()
        await clock.advance(1)
        assert gate.waiting == 1
        gate.open()
        await give_back(pool, *waiting)
        assert factory.calls["create"] == 16, "it works again: all at once"


async def test_a_creation_that_takes_too_long_is_stopped(
    clock: ManualClock, factory: Factory
) -> None:
    factory.creating = gate = Gate()
    async with factory.pool(clock, max_size=1, create_timeout=5) as pool:
        waiting = asyncio.create_task(pool.acquire(timeout=6))
        await clock.advance(4.9)
        assert gate.waiting == 1
        await clock.advance(0.1)
        assert (gate.waiting, pool.statistics().size) == (0, 0)
        await clock.advance(1)
        with pytest.raises(PoolTimeoutError, match="took longer than 5 s"):
            await waiting
        assert pool.statistics().create_failures == 1


async def test_one_that_takes_no_notice_keeps_its_place(
    clock: ManualClock, factory: Factory
) -> None:
    factory.creating = gate = DeafGate()
    async with factory.pool(clock, max_size=2, create_timeout=1) as pool:
        waiting = [asyncio.create_task(pool.acquire(timeout=60)) for _ in range(3)]
        await clock.advance(30)
        statistics = pool.statistics()
        assert (statistics.stuck, statistics.creating, statistics.size) == (2, 0, 2)
        assert (gate.waiting, factory.most) == (2, 2), "not one above the maximum"
        assert statistics.create_failures == 2
        factory.creating = at_once
        gate.open()
        await clock.advance(10)
        assert {task.done() for task in waiting[:2]} == {True}
        assert factory.disposed == factory.made[:2], "what came too late is not used"
        assert factory.most == 2
        await give_back(pool, *waiting)


class OddError(BaseException):
    """One that `except Exception` does not catch."""


@pytest.mark.parametrize("error", [ValueError("wrong"), asyncio.CancelledError(), OddError()])
async def test_a_function_that_is_wrong_from_the_start(
    clock: ManualClock, error: BaseException
) -> None:
    def create() -> asyncio.Future[Thing]:
        raise error

    async def dispose(_: Thing) -> None: ...

    pool: ResourcePool[Thing] = ResourcePool(create, dispose, clock=clock)
    async with pool:
        waiting = asyncio.create_task(pool.acquire(timeout=1))
        await clock.advance(1)
        with pytest.raises(PoolTimeoutError, match=type(error).__name__):
            await waiting
