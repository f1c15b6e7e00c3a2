"""Threads for blocking jobs: what a job refuses costs no thread."""

from __future__ import annotations

import asyncio
import threading

import pytest

from fairlead.errors import CapacityError, ClosedError, NotFoundError, StorageUnavailableError
from fairlead.workspace.threads import Threads


def refuse() -> None:
    raise NotFoundError("file", "x")


async def test_a_refusal_is_raised_and_its_thread_goes_on() -> None:
    async with Threads("test", size=1, max_waiting=1, deadline=5.0) as threads:
        before = await threads.run(threading.get_ident)
        for _ in range(3):
            with pytest.raises(NotFoundError):
                await threads.run(refuse)

        assert await threads.run(threading.get_ident) == before


async def test_a_job_that_hangs_is_left_alone() -> None:
    go_on = threading.Event()
    async with Threads("test", size=1, max_waiting=1, deadline=0.05) as threads:
        with pytest.raises(StorageUnavailableError):
            await threads.run(lambda: go_on.wait(10))
        assert not threads.have_ended
        go_on.set()
    assert threads.have_ended


async def test_too_many_are_refused() -> None:
    go_on = threading.Event()
    async with Threads("test", size=1, max_waiting=1, deadline=5.0) as threads:
        jobs = [asyncio.create_task(threads.run(lambda: go_on.wait(10))) for _ in range(3)]
        await asyncio.sleep(0)
        go_on.set()
        outcomes = await asyncio.gather(*jobs, return_exceptions=True)

    assert any(isinstance(outcome, CapacityError) for outcome in outcomes)


async def test_closed_it_runs_nothing_and_may_be_opened_again() -> None:
    threads = Threads("test", size=1, max_waiting=1, deadline=5.0)
    for _ in range(2):
        with pytest.raises(ClosedError):
            await threads.run(int)
        async with threads:
            assert await threads.run(int) == 0
