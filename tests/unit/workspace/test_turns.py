"""`Turns`: work that is shared by who asks before it begins, and stopped by the last who goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from fairlead.core.tasks import TaskOwner, log_failure
from fairlead.errors import ClosedError, StorageError
from fairlead.workspace.base import Progress
from fairlead.workspace.turns import Listener, Turns


class Work:
    """Each call waits until it is let go, and brings its number."""

    def __init__(self) -> None:
        self.tells: list[Listener] = []
        self.ends: list[asyncio.Future[int]] = []
        self.stopped: list[int] = []

    async def __call__(self, tell: Listener) -> int:
        number = len(self.ends)
        self.tells.append(tell)
        self.ends.append(asyncio.get_running_loop().create_future())
        try:
            return await self.ends[number]
        except asyncio.CancelledError:
            self.stopped.append(number)
            raise


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
async def turns(work: Work) -> AsyncIterator[Turns[int]]:
    async with TaskOwner(log_failure) as tasks:
        yield Turns(work, tasks, "work")


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_asks_at_once_shares_a_turn(turns: Turns[int], work: Work) -> None:
    waiting = [asyncio.create_task(turns.take()) for _ in range(3)]
    await settle()
    work.ends[0].set_result(7)

    assert await asyncio.gather(*waiting) == [7, 7, 7]
    assert len(work.ends) == 1
    assert turns.shared == 2


async def test_who_asks_later_has_a_turn_that_begins_later(turns: Turns[int], work: Work) -> None:
    first = asyncio.create_task(turns.take())
    await settle()
    others = [asyncio.create_task(turns.take()) for _ in range(2)]
    await settle()
    assert len(work.ends) == 1

    work.ends[0].set_result(1)
    await settle()
    work.ends[1].set_result(2)

    assert [await first, *await asyncio.gather(*others)] == [1, 2, 2]


async def test_one_that_goes_stops_nobody(turns: Turns[int], work: Work) -> None:
    one, other = (asyncio.create_task(turns.take()) for _ in range(2))
    await settle()
    one.cancel()
    await settle()
    work.ends[0].set_result(1)

    assert await other == 1
    assert one.cancelled()
    assert work.stopped == []


async def test_the_last_that_goes_stops_the_work(turns: Turns[int], work: Work) -> None:
    waiting = [asyncio.create_task(turns.take()) for _ in range(2)]
    await settle()
    for one in waiting:
        one.cancel()
    await settle()
    assert work.stopped == [0]

    again = asyncio.create_task(turns.take())
    await settle()
    work.ends[1].set_result(3)
    assert await again == 3


async def test_a_turn_that_nobody_wants_any_more_does_not_begin(
    turns: Turns[int], work: Work
) -> None:
    first = asyncio.create_task(turns.take())
    await settle()
    second = asyncio.create_task(turns.take())
    await settle()
    second.cancel()
    await settle()
    third = asyncio.create_task(turns.take())
    await settle()
    work.ends[0].set_result(1)
    await settle()
    work.ends[1].set_result(2)

    assert (await first, await third) == (1, 2)
    assert len(work.ends) == 2
    assert work.stopped == []


async def test_a_failure_is_everybodys_and_the_next_turn_is_sound(
    turns: Turns[int], work: Work
) -> None:
    waiting = [asyncio.create_task(turns.take()) for _ in range(2)]
    await settle()
    work.ends[0].set_exception(StorageError("no"))
    for one in waiting:
        with pytest.raises(StorageError, match="no"):
            await one

    again = asyncio.create_task(turns.take())
    await settle()
    work.ends[1].set_result(2)
    assert await again == 2


async def test_progress_is_for_who_still_waits(turns: Turns[int], work: Work) -> None:
    heard: tuple[list[Progress], list[Progress]] = ([], [])
    one, other = (asyncio.create_task(turns.take(told.append)) for told in heard)
    await settle()
    work.tells[0](Progress(1, 3))
    one.cancel()
    await settle()
    work.tells[0](Progress(2, 3))
    work.ends[0].set_result(0)
    await other

    assert heard == ([Progress(1, 3)], [Progress(1, 3), Progress(2, 3)])


async def test_an_end_of_the_owner_is_told(work: Work) -> None:
    async with TaskOwner(log_failure) as tasks:
        turns = Turns(work, tasks, "work")
        waiting = asyncio.create_task(turns.take())
        await settle()
    with pytest.raises(ClosedError):
        await waiting
    with pytest.raises(ClosedError):
        await turns.take()
