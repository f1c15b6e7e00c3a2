"""`ResourcePool`: lending, waiting in line, giving back; what it tells of itself."""

from __future__ import annotations

import asyncio

import pytest

from fairlead.core.pool import PoolOptions
from fairlead.errors import CapacityError, ClosedError, PoolFullError, PoolTimeoutError
from fairlead.testing import ManualClock
from unit.core.poolfactory import Factory, Gate, Time, settle


@pytest.fixture
def clock() -> ManualClock:
    return Time()


@pytest.fixture
def factory() -> Factory:
    return Factory()


async def test_what_is_given_back_is_lent_again(clock: ManualClock, factory: Factory) -> None:
    async with factory.pool(clock) as pool:
        first = await pool.acquire()
        pool.release(first)
        assert await pool.acquire() is first
        second = await pool.acquire()
        assert second is not first
        pool.release(first)
        pool.release(second)
        assert await pool.acquire() is second, "the most recently used goes out first"
        pool.release(second)
    assert sorted(thing.number for thing in factory.disposed) == [0, 1]
    assert not factory.alive


async def test_an_idle_resource_is_lent_without_a_turn_of_the_loop(
    clock: ManualClock, factory: Factory
) -> None:
    async with factory.pool(clock, min_size=1) as pool:
        await settle()
        with pytest.raises(StopIteration) as done:
            pool.acquire().send(None)
        pool.release(done.value.value)
        assert pool.statistics().waited == 0


async def test_in_line_the_first_comes_first(clock: ManualClock, factory: Factory) -> None:
    async with factory.pool(clock, max_size=1) as pool:
        thing = await pool.acquire()
        order: list[int] = []

        async def caller(number: int) -> None:
            async with pool.using():
                order.append(number)

        tasks = [asyncio.create_task(caller(number)) for number in range(5)]
        await settle()
        assert pool.statistics().waiting == 5
        pool.release(thing)
        late = asyncio.create_task(caller(5))
        await asyncio.gather(*tasks, late)
        assert order == [0, 1, 2, 3, 4, 5]


async def test_a_newcomer_does_not_overtake_the_line(clock: ManualClock, factory: Factory) -> None:
    """Something becomes free while the first in line has been served by nothing yet."""
    async with factory.pool(clock, max_size=1) as pool:
        thing = await pool.acquire()
        first = asyncio.create_task(pool.acquire())
        await settle()
        pool.release(thing)
        newcomer = asyncio.create_task(pool.acquire())
        await settle()
        assert first.done()
        assert not newcomer.done()
        pool.release(await first)
        pool.release(await newcomer)


async def test_who_waits_too_long_is_told(clock: ManualClock, factory: Factory) -> None:
    async with factory.pool(clock, max_size=1, acquire_timeout=30) as pool:
        thing = await pool.acquire()
        patient = asyncio.create_task(pool.acquire())
        hasty = asyncio.create_task(pool.acquire(timeout=2))
        await clock.advance(2)
        with pytest.raises(PoolTimeoutError, match="none of 1 became free in 2 s") as told:
            await hasty
        assert told.value.__cause__ is None
        assert isinstance(told.value, CapacityError)
        await clock.advance(27.5)
        assert not patient.done()
        await clock.advance(1)
        with pytest.raises(PoolTimeoutError):
            await patient
        pool.release(thing)
        statistics = pool.statistics()
        assert (statistics.timeouts, statistics.waiting, statistics.idle) == (2, 0, 1)


async def test_no_time_at_all_takes_what_is_idle(clock: ManualClock, factory: Factory) -> None:
    async with factory.pool(clock, min_size=1, max_size=1) as pool:
        await settle()
        thing = await pool.acquire(timeout=0)
        refused = asyncio.create_task(pool.acquire(timeout=0))
        await settle()
        with pytest.raises(PoolTimeoutError):
            await refused
        pool.release(thing)


async def test_a_full_line_refuses_at_once(clock: ManualClock, factory: Factory) -> None:
    async with factory.pool(clock, max_size=1, max_waiting=2) as pool:
        thing = await pool.acquire()
        waiting = [asyncio.create_task(pool.acquire()) for _ in range(2)]
        await settle()
        with pytest.raises(PoolFullError, match="2 callers wait"):
            await pool.acquire()
        assert pool.statistics().refused == 1
        pool.release(thing)
        for task in waiting:
            pool.release(await task)


async def test_using_gives_back(clock: ManualClock, factory: Factory) -> None:
    async with factory.pool(clock, max_size=1) as pool:
        async with pool.using() as thing:
            assert pool.statistics().in_use == 1
        assert pool.statistics().idle == 1
        async with pool.using() as again:
            assert again is thing


async def test_what_is_not_out_cannot_be_given_back(clock: ManualClock, factory: Factory) -> None:
    async with factory.pool(clock) as pool, factory.pool(clock) as other:
        thing = await pool.acquire()
        with pytest.raises(ValueError, match="none of pool 'things'"):
            other.release(thing)
        pool.release(thing)
        with pytest.raises(ValueError, match="twice"):
            pool.release(thing)
        async with pool.using() as thing:
            pass
        broken = await pool.acquire()
        pool.release(broken, broken=True)
        with pytest.raises(ValueError, match="not any more"):
            pool.release(broken)
        await settle()
        assert pool.statistics().disposed == 1


async def test_the_same_object_twice_is_refused_as_a_failed_creation(clock: ManualClock) -> None:
    factory = Factory()
    async with factory.pool(clock, max_size=2) as pool:
        thing = await pool.acquire()

        async def same() -> object:
            return thing

        pool._create = same  # type: ignore[assignment]
        waiting = asyncio.create_task(pool.acquire())
        await clock.advance(40)
        with pytest.raises(PoolTimeoutError, match="has already"):
            await waiting
        pool.release(thing)


async def test_a_pool_that_is_not_open_lends_nothing(clock: ManualClock, factory: Factory) -> None:
    pool = factory.pool(clock)
    with pytest.raises(ClosedError):
        await pool.acquire()
    async with pool:
        pass
    with pytest.raises(ClosedError):
        await pool.acquire()
    with pytest.raises(ClosedError, match="make a new one"):
        await pool.open()


async def test_it_tells_what_it_holds(clock: ManualClock, factory: Factory) -> None:
    factory.creating = gate = Gate()
    async with factory.pool(clock, min_size=1, max_size=3) as pool:
        waiting = [asyncio.create_task(pool.acquire()) for _ in range(4)]
        await settle()
        statistics = pool.statistics()
        assert (statistics.size, statistics.creating, statistics.waiting) == (3, 3, 4)
        assert repr(pool) == (
            "<ResourcePool things open, at most 3, <Slots 3 creating>, 4 waiting>"
        )
        gate.open()
        await settle()
        statistics = pool.statistics()
        assert (statistics.size, statistics.in_use, statistics.waiting) == (3, 3, 1)
        for task in waiting:
            pool.release(await task)
        statistics = pool.statistics()
        assert (statistics.name, statistics.min_size, statistics.max_size) == ("things", 1, 3)
        assert (statistics.idle, statistics.in_use, statistics.created) == (3, 0, 3)
        assert (statistics.handed_out, statistics.waited) == (4, 4)
    assert "closed, at most 3, <Slots empty>" in repr(pool)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"min_size": -1}, "min_size = -1: use 0 or more"),
        ({"min_size": 3, "max_size": 2}, "max_size = 2: use 3 or more"),
        ({"min_size": 0, "max_size": 0}, "max_size = 0: use 1 or more"),
        ({"max_waiting": -1}, "max_waiting = -1: use 0 or more"),
        ({"validate_after": -0.1}, "validate_after = -0.1: use 0 or more"),
        ({"max_idle": 0}, "max_idle = 0: use more than 0"),
        ({"max_lifetime": float("nan")}, "max_lifetime = nan"),
        ({"acquire_timeout": 0}, "acquire_timeout = 0"),
        ({"create_timeout": -5}, "create_timeout = -5"),
        ({"validate_timeout": 0}, "validate_timeout"),
        ({"dispose_timeout": 0}, "dispose_timeout"),
        ({"close_timeout": 0}, "close_timeout"),
    ],
)
def test_bounds_that_make_no_sense(options: dict[str, float], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        PoolOptions(**options)  # type: ignore[arg-type]


def test_the_bounds_of_the_contract() -> None:
    options = PoolOptions()
    assert (options.min_size, options.max_size, options.max_idle) == (5, 20, 300)
    assert (options.create_timeout, options.acquire_timeout) == (5, 30)
