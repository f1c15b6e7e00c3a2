"""PostgreSQL is killed and started again under load: what it acknowledged is there, once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from fairlead.conversations.postgres import PostgresThreadStore
from fairlead.conversations.records import Append, Create, Said
from fairlead.conversations.writer import BatchedThreadWriter
from fairlead.errors import StorageUnavailableError
from support.postgres import PostgresServer
from support.threadwork import START, VIEWER, flaws, logs, new_id, said

CALLERS, KILLS = 8, 3
BETWEEN = 60
"""Acknowledgments between two kills."""
BACK_WITHIN = 10.0
"""Seconds in which a write must go through once the server answers again."""


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as started:
        yield started


@pytest_asyncio.fixture
async def store(server: PostgresServer) -> AsyncIterator[PostgresThreadStore]:
    url = await asyncio.to_thread(server.new_database)
    async with PostgresThreadStore(url) as opened:
        yield opened


class Load:
    """Callers that append one message after another, each to a thread of its own."""

    def __init__(self, writer: BatchedThreadWriter) -> None:
        self._writer = writer
        self._stopped = False
        self._told = asyncio.Condition()
        self.acknowledged: list[str] = []
        self.doubtful: list[str] = []
        """Given up while the server was away: they may be there or not."""

    def stop(self) -> None:
        """Let every caller end after its present write."""
        self._stopped = True

    async def caller(self) -> None:
        """Write until stopped."""
        create = begin()
        await self._writer.write(create)
        while not self._stopped:
            message = said("a message that must not be lost")
            operation = Append(
                id=message.id, thread=create.thread, viewer=VIEWER, time=START, messages=(message,)
            )
            try:
                await self._writer.write(operation)
            except StorageUnavailableError:
                self.doubtful.append(message.id)
                continue
            async with self._told:
                self.acknowledged.append(message.id)
                self._told.notify_all()

    async def more(self, count: int) -> None:
        """Wait until that many more were acknowledged."""
        wanted = len(self.acknowledged) + count
        async with self._told:
            await self._told.wait_for(lambda: len(self.acknowledged) >= wanted)


@pytest.mark.timeout(60)
async def test_a_server_that_is_killed_under_load_loses_nothing_acknowledged(
    server: PostgresServer, store: PostgresThreadStore
) -> None:
    captured = [begin() for _ in range(KILLS)]
    async with BatchedThreadWriter(store) as writer:
        load = Load(writer)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(CALLERS):
                tasks.create_task(load.caller())
            for operation in captured:
                await load.more(BETWEEN)
                await asyncio.to_thread(server.kill)
                writer.enqueue(operation)
                await asyncio.to_thread(server.start)
                async with asyncio.timeout(BACK_WITHIN):
                    await load.more(CALLERS)
            load.stop()
        await writer.flush()

    log = await logs(store)
    found = Counter(
        event.id for events in log.values() for event in events if isinstance(event.change, Said)
    )
    assert await flaws(store) == []
    assert set(load.acknowledged) <= found.keys() <= {*load.acknowledged, *load.doubtful}
    assert set(found.values()) == {1}
    assert {operation.thread for operation in captured} <= log.keys()
    assert store.statistics().available


def begin() -> Create:
    """A thread that is to begin."""
    return Create(id=new_id(), thread=new_id(), viewer=VIEWER, time=START)
