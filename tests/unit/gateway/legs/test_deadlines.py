"""Deadlines by an injected clock."""

from __future__ import annotations

import asyncio

import pytest

from fairlead.gateway.legs.base import LegOptions
from fairlead.gateway.legs.deadlines import NEVER, Deadlines, sweep_interval
from fairlead.testing import ManualClock


class Item:
    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.expired = 0

    def expire(self) -> None:
        self.expired += 1
        self.deadline = NEVER


async def test_what_is_watched_expires_once_its_deadline_has_passed() -> None:
    clock = ManualClock()
    async with Deadlines(clock, 1) as deadlines:
        soon, later, forgotten = Item(3), Item(100), Item(3)
        for item in (soon, later, forgotten):
            deadlines.watch(item)
        deadlines.forget(forgotten)
        await clock.advance(2.5)
        assert soon.expired == 0
        await clock.advance(2)
        assert (soon.expired, later.expired, forgotten.expired) == (1, 0, 0)
        assert len(deadlines) == 2


async def test_a_block_is_ended_and_its_deadline_may_move() -> None:
    clock = ManualClock()
    async with Deadlines(clock, 1) as deadlines:
        limit = deadlines.limit(5)

        async def block() -> None:
            async with limit:
                await asyncio.Event().wait()

        task = asyncio.ensure_future(block())
        await clock.advance(4)
        limit.deadline = 20
        await clock.advance(15)
        assert not task.done()
        await clock.advance(2)
        with pytest.raises(TimeoutError):
            await task
        assert len(deadlines) == 0


async def test_closing_ends_every_block() -> None:
    async with Deadlines(ManualClock(), 1) as deadlines:

        async def block() -> None:
            async with deadlines.limit(5):
                await asyncio.Event().wait()

        task = asyncio.ensure_future(block())
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        await task


def test_the_sweep_is_fast_enough_for_the_shortest_timeout() -> None:
    options = LegOptions(name="up", base_url="http://up")
    assert sweep_interval(options) == 1
    short = LegOptions(name="up", base_url="http://up", connect_timeout=0.2)
    assert sweep_interval(short) == pytest.approx(0.05)
