"""The clocks: the machine's, and the one that tests move."""

from __future__ import annotations

import asyncio
import time

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.testing import ManualClock


def test_the_system_clock_never_goes_back_and_knows_the_date() -> None:
    clock: Clock = SYSTEM_CLOCK
    first = clock.monotonic()

    assert clock.monotonic() >= first
    assert abs(clock.time() - time.time()) < 60


async def test_a_manual_clock_stands_until_it_is_advanced() -> None:
    clock: Clock = ManualClock(start=100.0)

    assert (clock.monotonic(), clock.time()) == (0.0, 100.0)
    assert isinstance(clock, ManualClock)
    await clock.advance(2.5)
    assert (clock.monotonic(), clock.time()) == (2.5, 102.5)


async def test_sleepers_wake_in_order_each_at_its_own_time() -> None:
    clock = ManualClock()
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic()))

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for name, seconds in (("late", 3.0), ("early", 1.0), ("now", 0.0)):
            group.create_task(sleeper(name, seconds))
        for _ in range(2):
            await asyncio.sleep(0)
        await clock.advance(0.5)
        assert [name for name, _ in woken] == ["now"]
        await clock.advance(10)

    assert woken == [("now", 0.0), ("early", 1.0), ("late", 3.0)]


async def test_a_cancelled_sleeper_does_not_disturb_the_others() -> None:
    clock = ManualClock()
    first, second = (asyncio.ensure_future(clock.sleep(1)) for _ in range(2))
    await asyncio.sleep(0)

    first.cancel()
    await clock.advance(1)

    assert first.cancelled()
    assert second.done()
    assert not second.cancelled()
