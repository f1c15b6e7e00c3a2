"""`ResourcePool`: what is validated, replaced, too old or too long idle; renewing."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from fairlead.core.pool import PoolOptions, ResourcePool
from fairlead.errors import PoolTimeoutError
from fairlead.testing import ManualClock
from unit.core.poolfactory import DeafGate, Factory, Gate, Thing, Time, at_once, failing, settle


@pytest.fixture
def clock() -> ManualClock:
    return Time()


@pytest.fixture
def factory() -> Factory:
    return Factory()


# ---- validation


async def test_it_is_validated_before_it_is_lent(clock: ManualClock, factory: Factory) -> None:
    async with factory.pool(clock, validated=True, max_size=1) as pool:
        async with pool.using() as thing:
            assert factory.calls["validate"] == 0, "it is new"
        await clock.advance(0.4)
        async with pool.using():
            assert factory.calls["validate"] == 0, "it was in use a moment ago"
        await clock.advance(0.5)
        async with pool.using() as again:
            assert factory.calls["validate"] == 1
            assert again is thing


async def test_it_may_be_validated_each_time(clock: ManualClock, factory: Factory) -> None:
    async with factory.pool(clock, validated=True, max_size=1, validate_after=0) as pool:
        for _ in range(3):
            async with pool.using():
                pass
        assert factory.calls["validate"] == 2
        thing = await pool.acquire()
        waiting = asyncio.create_task(pool.acquire())
        await settle()
        pool.release(thing)
        pool.release(await waiting)
        assert factory.calls["validate"] == 4, "before a hand-over as well"


async def test_one_that_is_not_valid_any_more_is_replaced(
    clock: ManualClock, factory: Factory
) -> None:
    async with factory.pool(clock, validated=True, max_size=1) as pool:
        async with pool.using() as thing:
            pass
        thing.sound = False
        await clock.advance(60)
        async with pool.using() as other:
            assert other is not thing
        assert factory.disposed == [thing]
        assert pool.statistics().broken == 1


@pytest.mark.parametrize("gate", [Gate, DeafGate])
async def test_a_validation_that_does_not_end(
    clock: ManualClock, factory: Factory, gate: type[Gate]
) -> None:
    async with factory.pool(clock, validated=True, max_size=1, validate_timeout=2) as pool:
        async with pool.using() as thing:
            pass
        await clock.advance(60)
        factory.validating = step = gate()
        waiting = asyncio.create_task(pool.acquire(timeout=10))
        await settle()
        assert pool.statistics().validating == 1
        await clock.advance(5)
        if gate is DeafGate:
            assert pool.statistics().stuck == pool.statistics().size == 1
            assert not waiting.done()
            step.open()
        other = await waiting
        assert other is not thing
        assert (factory.disposed, factory.most) == ([thing], 1)
        pool.release(other)


async def test_a_validation_that_fails(clock: ManualClock, factory: Factory) -> None:
    async with factory.pool(clock, validated=True, max_size=1) as pool:
        async with pool.using() as thing:
            pass
        await clock.advance(60)
        factory.validating = failing(ConnectionError())
        async with pool.using() as other:
            assert other is not thing
        assert factory.disposed == [thing]


async def test_a_caller_that_goes_away_does_not_harm_what_is_validated(
    clock: ManualClock, factory: Factory
) -> None:
    async with factory.pool(clock, validated=True, max_size=1) as pool:
        async with pool.using() as thing:
            pass
        await clock.advance(60)
        factory.validating = gate = Gate()
        first = asyncio.create_task(pool.acquire())
        second = asyncio.create_task(pool.acquire())
        await settle()
        first.cancel()
        gate.open()
        assert await second is thing
        pool.release(thing)
        assert factory.calls["validate"] == 1


async def test_what_was_validated_a_moment_ago_is_not_again(
    clock: ManualClock, factory: Factory
) -> None:
    """The caller it was validated for has gone away; it rests, and is young again."""
    async with factory.pool(clock, validated=True, max_size=1, max_idle=100) as pool:
        async with pool.using() as thing:
            pass
        await clock.advance(60)
        factory.validating = gate = Gate()
        gone = asyncio.create_task(pool.acquire())
        await settle()
        gone.cancel()
        gate.open()
        await clock.advance(0.4)
        async with pool.using() as again:
            assert again is thing
        assert factory.calls["validate"] == 1


@pytest.mark.parametrize("sound", [True, False])
async def test_after_an_exception_it_is_validated_first(
    clock: ManualClock, factory: Factory, sound: bool
) -> None:
    async with factory.pool(clock, validated=True, max_size=1) as pool:
        with suppress(KeyError):
            async with pool.using() as thing:
                thing.sound = sound
                raise KeyError
        assert pool.statistics().validating == 1, "although it was in use a moment ago"
        async with pool.using() as other:
            assert (other is thing) == sound
        assert factory.calls["validate"] == 1


async def test_after_an_exception_what_cannot_be_validated_is_replaced(
    clock: ManualClock, factory: Factory
) -> None:
    async with factory.pool(clock, max_size=1) as pool:
        with pytest.raises(KeyError):
            async with pool.using() as thing:
                raise KeyError
        async with pool.using() as other:
            assert other is not thing


async def test_what_is_broken_is_replaced(clock: ManualClock, factory: Factory) -> None:
    async with factory.pool(clock, min_size=2, max_size=2) as pool:
        thing = await pool.acquire()
        waiting = asyncio.create_task(pool.acquire())
        await settle()
        factory.disposing = gate = Gate()
        pool.release(thing, broken=True)
        third = asyncio.create_task(pool.acquire())
        await settle()
        assert not third.done(), "its place is free when it is gone"
        gate.open()
        assert await third not in {thing, await waiting}
        pool.release(await waiting)
        pool.release(await third)
        assert (pool.statistics().broken, factory.most) == (1, 2)


async def test_where_there_is_room_the_replacement_does_not_wait(
    clock: ManualClock, factory: Factory
) -> None:
    async with factory.pool(clock, min_size=1, max_size=2) as pool:
        await settle()
        thing = await pool.acquire()
        factory.disposing = gate = Gate()
        pool.release(thing, broken=True)
        await settle()
        assert (pool.statistics().disposing, pool.statistics().idle) == (1, 1)
        gate.open()


@pytest.mark.parametrize("gate", [Gate, DeafGate])
async def test_a_disposal_that_does_not_end(
    clock: ManualClock, factory: Factory, gate: type[Gate]
) -> None:
    async with factory.pool(clock, max_size=1, dispose_timeout=2) as pool:
        factory.disposing = step = gate()
        pool.release(await pool.acquire(), broken=True)
        waiting = asyncio.create_task(pool.acquire(timeout=10))
        await clock.advance(5)
        if gate is DeafGate:
            assert pool.statistics().stuck == pool.statistics().size == 1
            assert not waiting.done()
            step.open()
        else:
            assert pool.statistics().dispose_failures == 1
        factory.disposing = at_once
        pool.release(await waiting)
        assert factory.most == 1


async def test_a_disposal_that_fails_frees_its_place(
    clock: ManualClock, factory: Factory, caplog: pytest.LogCaptureFixture
) -> None:
    async with factory.pool(clock, max_size=1) as pool:
        factory.disposing = failing(OSError("half closed"))
        pool.release(await pool.acquire(), broken=True)
        async with pool.using():
            factory.disposing = at_once
        assert pool.statistics().dispose_failures == 1
    assert "half closed" in caplog.text


# ---- too long idle, too old


async def test_what_is_idle_for_long_goes_down_to_the_minimum(
    clock: ManualClock, factory: Factory
) -> None:
    async with factory.pool(clock, min_size=1, max_size=4, max_idle=300) as pool:
        things = [await pool.acquire() for _ in range(4)]
        for thing in things:
            pool.release(thing)
            await clock.advance(10)
        await clock.advance(255)
        assert pool.statistics().idle == 4
        for left in (3, 2, 1):
            await clock.advance(10)
            assert pool.statistics().size == left
        await clock.advance(1000)
        assert pool.statistics().size == 1
        assert factory.disposed == things[:3], "the least recently used go first"


async def test_what_is_used_is_not_idle(clock: ManualClock, factory: Factory) -> None:
    async with factory.pool(clock, max_idle=300) as pool:
        first, second = await pool.acquire(), await pool.acquire()
        pool.release(first)
        pool.release(second)
        for _ in range(10):
            await clock.advance(100)
            async with pool.using() as thing:
                assert thing is second
        assert factory.disposed == [first]
        async with pool.using():
            await clock.advance(1000)
            assert pool.statistics().size == 1
        await clock.advance(299)
        assert pool.statistics().size == 1
        await clock.advance(1)
        assert pool.statistics().size == 0


async def test_what_is_too_old_goes_when_nobody_uses_it(
    clock: ManualClock, factory: Factory
) -> None:
    async with factory.pool(clock, min_size=2, max_lifetime=1000) as pool:
        await settle()
        lent = await pool.acquire()
        (idle,) = factory.alive - {lent}
        await clock.advance(999)
        assert factory.disposed == []
        await clock.advance(1)
        assert factory.disposed == [idle]
        assert pool.statistics().size == 2, "the minimum is kept"
        waiting = [asyncio.create_task(pool.acquire()) for _ in range(2)]
        pool.release(lent)
        for task in waiting:
            pool.release(await task)
        await settle()
        assert factory.disposed == [idle, lent]


async def test_lifetimes_differ(clock: ManualClock) -> None:
    factory = Factory()
    factors = iter([0.9, 1.1, 1.0, 1.0])
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return next(factors)

    options = PoolOptions(min_size=2, max_size=2, max_lifetime=1000)
    pool = ResourcePool(
        factory.create, factory.dispose, options=options, clock=clock, uniform=uniform
    )
    async with pool:
        await clock.advance(900)
        assert factory.disposed == factory.made[:1]
        await clock.advance(199)
        assert len(factory.disposed) == 1
        await clock.advance(1)
        assert factory.disposed == factory.made[:2]
        assert asked[0] == pytest.approx((0.9, 1.1))


async def test_an_endless_lifetime(clock: ManualClock, factory: Factory) -> None:
    async with factory.pool(clock, min_size=1, max_lifetime=float("inf")) as pool:
        await clock.advance(1e9)
        assert (pool.statistics().idle, factory.disposed) == (1, [])


async def test_nothing_wakes_while_nothing_is_to_be_done(
    clock: ManualClock, factory: Factory
) -> None:
    async with factory.pool(clock, min_size=2, max_lifetime=float("inf")) as pool:
        await settle()
        async with pool.using():
            pass
        await clock.advance(5)
        assert len(pool._tasks) == 0
        assert clock._sleepers == []


# ---- renewing


async def test_renewing_replaces_all_that_is_there(clock: ManualClock, factory: Factory) -> None:
    async with factory.pool(clock, validated=True, min_size=1, max_size=4) as pool:
        lent, idle = await pool.acquire(), await pool.acquire()
        pool.release(idle)
        factory.validating = gate = Gate()
        with suppress(KeyError):
            async with pool.using() as checked:
                raise KeyError
        factory.creating = creation = Gate()
        waiting = [asyncio.create_task(pool.acquire()) for _ in range(2)]
        await settle()
        assert (gate.waiting, creation.waiting) == (1, 1)
        pool.renew()
        factory.creating = at_once
        gate.open()
        creation.open()
        fresh = {await task for task in waiting}
        pool.release(lent)
        await settle()
        assert checked is idle
        assert set(factory.disposed) == {lent, checked, factory.made[2]}
        for thing in fresh:
            pool.release(thing)
        assert await pool.acquire() in fresh
        pool.release(thing)


async def test_renewing_tries_at_once_what_has_failed(clock: ManualClock, factory: Factory) -> None:
    factory.creating = failing(ConnectionError())
    async with factory.pool(clock, min_size=1) as pool:
        await clock.advance(100)
        await settle()
        factory.creating = at_once
        pool.renew()
        await settle()
        assert pool.statistics().idle == 1


async def test_a_waiter_is_served_although_all_have_failed(
    clock: ManualClock, factory: Factory
) -> None:
    """Nothing is idle, none can be made, and what is out comes back broken."""
    async with factory.pool(clock, max_size=1) as pool:
        thing: Thing = await pool.acquire()
        waiting = asyncio.create_task(pool.acquire(timeout=60))
        await settle()
        factory.creating = failing(ConnectionError("down"))
        pool.release(thing, broken=True)
        await clock.advance(20)
        assert not waiting.done()
        factory.creating = at_once
        await clock.advance(5)
        pool.release(await waiting)
        late = asyncio.create_task(pool.acquire(timeout=1))
        with pytest.raises(PoolTimeoutError):
            async with pool.using():
                raise PoolTimeoutError
        pool.release(await late)
