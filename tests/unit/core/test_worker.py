"""Threads for blocking work: one with a line before it, and a few side by side."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from itertools import count

import pytest

from fairlead.core.pool import PoolOptions
from fairlead.core.worker import LateError, WorkerPool, WorkerThread
from fairlead.errors import CapacityError, ClosedError

OPTIONS = PoolOptions(min_size=1, max_size=2, max_waiting=2)


class Tool:
    """What belongs to one thread."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.thread = threading.get_ident()
        self.is_ended = False


class Shop:
    """Makes tools and takes them back."""

    def __init__(self) -> None:
        self.tools: list[Tool] = []
        self._numbers: Iterator[int] = count()

    def make(self) -> Tool:
        self.tools.append(Tool(next(self._numbers)))
        return self.tools[-1]

    def end(self, tool: Tool) -> None:
        assert threading.get_ident() == tool.thread
        tool.is_ended = True


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
async def pool(shop: Shop) -> AsyncIterator[WorkerPool[Tool]]:
    async with WorkerPool(shop.make, shop.end, options=OPTIONS, name="test") as pool:
        yield pool


def own(tool: Tool) -> bool:
    return threading.get_ident() == tool.thread


async def test_a_thread_says_what_keeps_it_from_a_job() -> None:
    worker = WorkerThread("test", max_jobs=1)
    with pytest.raises(ClosedError):
        await worker.run(lambda: None, 5)
    worker.start()
    gate = threading.Event()
    with pytest.raises(LateError):
        await worker.run(lambda: gate.wait(5), 0.001)
    assert worker.late
    with pytest.raises(CapacityError):
        await worker.run(lambda: None, 5)
    with pytest.raises(LateError):
        await worker.stop(lambda: None, 0.001)
    gate.set()


async def test_each_thread_has_a_tool_of_its_own(pool: WorkerPool[Tool], shop: Shop) -> None:
    barrier = threading.Barrier(2)

    def meet(tool: Tool) -> tuple[int, bool]:
        barrier.wait(5)
        return tool.number, own(tool)

    met = await asyncio.gather(pool.run(meet, 5), pool.run(meet, 5))
    assert sorted(met) == [(0, True), (1, True)]
    await pool.close()
    assert all(tool.is_ended for tool in shop.tools)
    with pytest.raises(ClosedError):
        await pool.run(own, 5)


async def test_a_tool_with_which_a_job_failed_is_replaced(
    pool: WorkerPool[Tool], shop: Shop
) -> None:
    def fail(tool: Tool) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await pool.run(fail, 5)
    assert await pool.run(lambda tool: tool.number, 5) == 1
    assert pool.statistics().broken == 1


async def test_renewed_it_works_with_new_tools(pool: WorkerPool[Tool]) -> None:
    assert await pool.run(lambda tool: tool.number, 5) == 0
    pool.renew()
    assert await pool.run(lambda tool: tool.number, 5) == 1


async def test_who_gives_up_frees_no_thread(pool: WorkerPool[Tool]) -> None:
    gate = threading.Event()
    for _ in range(2):
        with pytest.raises(LateError):
            await pool.run(lambda _: gate.wait(5), 0.01)
    assert pool.late
    assert pool.statistics().in_use == 2
    waiting = [asyncio.create_task(pool.run(own, 5)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(CapacityError):
        await pool.run(own, 5)
    gate.set()
    assert await asyncio.gather(*waiting) == [True, True]
    assert not pool.late


async def test_a_tool_that_cannot_be_made_leaves_no_thread_behind() -> None:
    before = threading.active_count()

    def refuse() -> Tool:
        raise ZeroDivisionError

    async with WorkerPool(refuse, Shop().end, options=OPTIONS, name="test") as pool:
        with pytest.raises(LateError):
            await pool.run(own, 0.02)
    async with asyncio.timeout(5):
        while threading.active_count() > before:  # noqa: ASYNC110 - a thread that ends tells nobody
            await asyncio.sleep(0.001)
