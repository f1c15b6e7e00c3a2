"""A disk of 8 MiB runs full and is given room again: nothing is lost, nothing has to be started."""

from __future__ import annotations

import asyncio
import base64
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from fairlead.conversations.records import Append, Create, Said, Written
from fairlead.conversations.sqlite import SqliteThreadStore
from fairlead.conversations.writer import BatchedThreadWriter
from fairlead.errors import StorageFullError
from support.disks import fill, small_disk
from support.threadwork import START, VIEWER, everything, flaws, logs, new_id, said

BACK_WITHIN = 5.0
"""Seconds from the moment there is room again."""
THREAD = new_id()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "8m") as place:
        yield place


@pytest_asyncio.fixture
async def store(disk: Path) -> AsyncIterator[SqliteThreadStore]:
    async with SqliteThreadStore(disk / "conversations.sqlite") as opened:
        yield opened


@pytest_asyncio.fixture
async def writer(store: SqliteThreadStore) -> AsyncIterator[BatchedThreadWriter]:
    async with BatchedThreadWriter(store) as opened:
        await opened.write(Create(id=new_id(), thread=THREAD, viewer=VIEWER, time=START))
        yield opened


def append(size: int = 50_000) -> Append:
    """A message that does not shrink when it is compressed."""
    message = said(base64.b85encode(os.urandom(size)).decode())
    return Append(id=message.id, thread=THREAD, viewer=VIEWER, time=START, messages=(message,))


async def until_full(writer: BatchedThreadWriter) -> list[str]:
    """Ids of what was acknowledged before there was no room."""
    told = []
    for _ in range(500):
        operation = append()
        try:
            await writer.write(operation)
        except StorageFullError:
            return told
        told.append(operation.id)
    pytest.fail("25 MB went on a disk of 8")


async def kept(store: SqliteThreadStore) -> Counter[str]:
    """How often each message is in the log; everything else must be sound."""
    assert list(await store.check()) == []
    assert await flaws(store) == []
    log = await logs(store)
    return Counter(
        event.id for events in log.values() for event in events if isinstance(event.change, Said)
    )


async def test_a_full_disk_loses_nothing_and_goes_on_by_itself(
    disk: Path, store: SqliteThreadStore, writer: BatchedThreadWriter
) -> None:
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(3_000_000))
    told = await until_full(writer)
    captured, refused = [append() for _ in range(8)], [append() for _ in range(3)]

    for operation in captured:
        writer.enqueue(operation)
    for operation in refused:
        with pytest.raises(StorageFullError):
            await writer.write(operation)
    # What was stored can be read all the while.
    assert [message.id for message in await everything(store, THREAD)] == told
    assert writer.statistics().full

    ballast.unlink()
    async with asyncio.timeout(BACK_WITHIN):
        await writer.flush()
    assert not writer.statistics().full
    after = append()
    await writer.write(after)

    wanted = [*told, *(operation.id for operation in (*captured, after))]
    assert await kept(store) == Counter(wanted)


async def test_what_waits_when_the_node_is_closed_is_written_if_there_is_room_by_then(
    disk: Path, store: SqliteThreadStore
) -> None:
    async with BatchedThreadWriter(store) as writer:
        await writer.write(Create(id=new_id(), thread=THREAD, viewer=VIEWER, time=START))
        filler = fill(disk)
        await until_full(writer)
        captured = [append() for _ in range(4)]
        for operation in captured:
            writer.enqueue(operation)
        filler.unlink()

    assert {operation.id for operation in captured} <= (await kept(store)).keys()


async def test_on_a_disk_that_is_full_at_the_start_it_is_said_and_mended_by_room(
    disk: Path,
) -> None:
    path = disk / "conversations.sqlite"
    async with SqliteThreadStore(path) as store:
        create = Create(id=new_id(), thread=THREAD, viewer=VIEWER, time=START)
        await store.apply([create])
    filler = fill(disk)

    store = SqliteThreadStore(path)
    with pytest.raises(StorageFullError, match="no room"):
        await store.open()
    filler.unlink()

    async with store:
        (outcome,) = await store.apply([append()])
        assert isinstance(outcome, Written)
        assert outcome.messages[0][0] in await kept(store)
