"""`WorkerThread`: one job after the other, a bounded line, deadlines, an orderly end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from functools import partial

import pytest

from fairlead.errors import CacheStoreError
from fairlead.gateway.stores.worker import WorkerThread


@pytest.fixture
async def worker() -> AsyncIterator[WorkerThread]:
    worker = WorkerThread("test", max_jobs=3)
    worker.start()
    yield worker
    await worker.stop(lambda: None, 5)


async def test_results_and_errors_come_back(worker: WorkerThread) -> None:
    assert await worker.run(lambda: 7, 5) == 7
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 // 0, 5)


async def test_one_thread_runs_them_in_order(worker: WorkerThread) -> None:
    seen: list[tuple[int, str]] = []

    def note(number: int) -> None:
        seen.append((number, threading.current_thread().name))

    await asyncio.gather(*(worker.run(partial(note, number), 5) for number in range(3)))
    assert [number for number, _ in seen] == [0, 1, 2]
    assert {name.rpartition("_")[0] for _, name in seen} == {"test"}


async def test_a_full_line_refuses(worker: WorkerThread) -> None:
    gate = threading.Event()
    held = [asyncio.create_task(worker.run(lambda: gate.wait(5), 5)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(CacheStoreError, match="too many"):
        await worker.run(lambda: None, 5)
    gate.set()
    assert await asyncio.gather(*held) == [True] * 3
    assert await worker.run(lambda: 1, 5) == 1


async def test_who_gives_up_frees_no_place_before_the_job_has_ended(worker: WorkerThread) -> None:
    gate = threading.Event()
    for _ in range(3):
        with pytest.raises(CacheStoreError, match="in time"):
            await worker.run(lambda: gate.wait(5), 0.001)
    assert worker.late
    with pytest.raises(CacheStoreError, match="too many"):
        await worker.run(lambda: None, 5)
    gate.set()
    async with asyncio.timeout(5):
        while worker._jobs:  # noqa: ASYNC110 - who gave up has no event to wait for
            await asyncio.sleep(0.001)
    assert await worker.run(lambda: worker.late, 5) is False


async def test_a_cancelled_caller_disturbs_nobody(worker: WorkerThread) -> None:
    gate = threading.Event()
    ran: list[int] = []
    first = asyncio.create_task(worker.run(lambda: gate.wait(5), 5))
    second = asyncio.create_task(worker.run(lambda: ran.append(2), 5))
    await asyncio.sleep(0)
    first.cancel()
    gate.set()
    await second
    assert first.cancelled()
    assert ran == [2]


async def test_it_ends_after_what_it_has_accepted() -> None:
    worker = WorkerThread("test", max_jobs=3)
    worker.start()
    order: list[str] = []
    accepted = asyncio.create_task(worker.run(lambda: order.append("job"), 5))
    await asyncio.sleep(0)
    await worker.stop(lambda: order.append("last"), 5)
    await worker.stop(lambda: order.append("again"), 5)
    await accepted
    assert order == ["job", "last"]
    with pytest.raises(CacheStoreError, match="closed"):
        await worker.run(lambda: None, 5)


async def test_a_stuck_thread_does_not_hold_up_the_end() -> None:
    worker = WorkerThread("test", max_jobs=3)
    worker.start()
    gate = threading.Event()
    held = asyncio.create_task(worker.run(lambda: gate.wait(5), 5))
    await asyncio.sleep(0)
    with pytest.raises(CacheStoreError, match="end in time"):
        await worker.stop(lambda: None, 0.001)
    gate.set()
    assert await held is True
