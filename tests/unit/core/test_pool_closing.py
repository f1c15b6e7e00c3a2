"""`ResourcePool.close`: nobody is kept waiting, nothing is left behind."""

from __future__ import annotations

import asyncio
import logging

import pytest

from fairlead.errors import ClosedError
from fairlead.testing import ManualClock
from unit.core.poolfactory import DeafGate, Factory, Gate, Time, settle


@pytest.fixture
def clock() -> ManualClock:
    return Time()


@pytest.fixture
def factory() -> Factory:
    return Factory()


async def test_who_waits_is_turned_away(clock: ManualClock, factory: Factory) -> None:
    async with factory.pool(clock, max_size=1) as pool:
        thing = await pool.acquire()
        waiting = [asyncio.create_task(pool.acquire()) for _ in range(3)]
        await settle()
        closing = asyncio.create_task(pool.close())
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ClosedError] * 3
        assert not closing.done(), "it waits for what is in use"
        pool.release(thing)
        await closing
        assert factory.disposed == [thing]


async def test_who_was_handed_something_keeps_it(clock: ManualClock, factory: Factory) -> None:
    async with factory.pool(clock, max_size=1) as pool:
        thing = await pool.acquire()
        waiting = asyncio.create_task(pool.acquire())
        await settle()
        pool.release(thing)
        closing = asyncio.create_task(pool.close())
        assert await waiting is thing
        pool.release(thing)
        await closing
        assert not factory.alive


async def test_creations_and_validations_are_stopped(clock: ManualClock, factory: Factory) -> None:
    pool = factory.pool(clock, validated=True, max_size=2)
    await pool.open()
    pool.release(await pool.acquire())
    await clock.advance(60)
    factory.creating, factory.validating = creation, validation = Gate(), Gate()
    waiting = [asyncio.create_task(pool.acquire()) for _ in range(2)]
    await settle()
    assert (creation.waiting, validation.waiting) == (1, 1)
    await pool.close()
    assert (creation.waiting, validation.waiting) == (0, 0)
    assert (factory.occupied, factory.alive) == (0, set())
    statistics = pool.statistics()
    assert (statistics.broken, statistics.create_failures, statistics.size) == (0, 0, 0)
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_it_waits_no_longer_than_its_deadline(
    clock: ManualClock, factory: Factory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    pool = factory.pool(clock, close_timeout=10)
    await pool.open()
    thing = await pool.acquire()
    closing = asyncio.create_task(pool.close())
    await clock.advance(9.9)
    assert not closing.done()
    await clock.advance(0.1)
    await closing
    assert "1 in_use" in caplog.text
    pool.release(thing)
    await settle()
    assert factory.disposed == [thing], "what comes back later is disposed of then"
    assert not pool._tasks.is_open
    assert len(pool._tasks) == 0


async def test_a_creation_that_takes_no_notice(clock: ManualClock, factory: Factory) -> None:
    factory.creating = gate = DeafGate()
    pool = factory.pool(clock, min_size=1, create_timeout=1, close_timeout=10)
    await pool.open()
    await settle()
    closing = asyncio.create_task(pool.close())
    await clock.advance(20)
    await closing
    assert pool.statistics().stuck == 1
    gate.open()
    await settle()
    assert factory.disposed == factory.made
    assert len(factory.made) == 1
    assert not pool._tasks.is_open


async def test_a_close_that_is_cancelled_goes_on_by_itself(
    clock: ManualClock, factory: Factory
) -> None:
    pool = factory.pool(clock)
    await pool.open()
    thing = await pool.acquire()
    closing = asyncio.create_task(pool.close())
    await settle()
    closing.cancel()
    await settle()
    pool.release(thing)
    await settle()
    assert factory.disposed == [thing]
    assert not pool._tasks.is_open


def test_what_comes_back_when_the_loop_ends_is_not_lost_silently(
    clock: ManualClock, factory: Factory, caplog: pytest.LogCaptureFixture
) -> None:
    pool = factory.pool(clock)

    async def scenario() -> None:
        await pool.open()
        thing = await pool.acquire()

        async def holder() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                while pool._tasks.is_open:  # noqa: ASYNC110 - the loop ends: nothing else happens
                    await asyncio.sleep(0)
                pool.release(thing)

        keeping = asyncio.create_task(holder())
        closing = asyncio.create_task(pool.close())
        await settle()
        assert not keeping.done()
        assert not closing.done()

    asyncio.run(scenario())
    assert pool.statistics().size == 0
    assert pool.statistics().dispose_failures == 1
    assert "too late" in caplog.text


async def test_closing_twice_and_nothing(clock: ManualClock, factory: Factory) -> None:
    pool = factory.pool(clock, min_size=2)
    await pool.open()
    await pool.close()
    await pool.close()
    assert not factory.alive
    assert pool.statistics().size == 0
    assert not pool._tasks.is_open
