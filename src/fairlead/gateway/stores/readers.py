"""Threads that read the response cache's SQLite file side by side, each with its own connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import apsw

from fairlead.core.lifecycle import Resource
from fairlead.core.pool import PoolOptions, PoolStatistics, ResourcePool
from fairlead.errors import CacheStoreError, CapacityError, ClosedError
from fairlead.gateway.stores.sqlopen import connect_reader, disconnect

T = TypeVar("T")

MAX_READERS = 4
MAX_WAITING = 512
"""Reads that may wait for a thread; one more fails at once."""

_OPTIONS = PoolOptions(
    min_size=1,
    max_size=MAX_READERS,
    max_waiting=MAX_WAITING,
    # A connection does not wear out.
    max_lifetime=float("inf"),
)


class _Reader:
    """A thread and the connection that only it uses."""

    def __init__(self, thread: ThreadPoolExecutor, connection: apsw.Connection) -> None:
        self.thread = thread
        self.connection = connection


class Readers(Resource):
    """Up to `MAX_READERS` threads for one life of the file: when that is replaced, so are they."""

    def __init__(self, path: Path, inode: int) -> None:
        """`inode` tells which file they were made for, should another take its place."""
        self.path = path
        self.inode = inode
        self.late = False
        """The last read that somebody waited for was not done in time, and none has ended since."""
        # On the system's clock, because threads take real time.
        self._pool = ResourcePool(self._start, _end, options=_OPTIONS, name="response cache reader")

    async def run(self, job: Callable[[apsw.Connection], T], deadline: float) -> T:
        """The result of `job(connection)`; raises `CacheStoreError` when full, closed or late.

        `deadline` in seconds, waiting for a thread included.
        """
        try:
            async with asyncio.timeout(deadline):
                reader = await self._pool.acquire()
                loop = asyncio.get_running_loop()
                future = loop.run_in_executor(reader.thread, job, reader.connection)
                future.add_done_callback(partial(self._done, reader))
                return await asyncio.shield(future)
        except TimeoutError as error:
            self.late = True
            raise CacheStoreError("no reader of the response cache answered in time") from error
        except (CapacityError, ClosedError) as error:
            raise CacheStoreError(f"the response cache cannot be read: {error}") from error

    def statistics(self) -> PoolStatistics:
        """How many there are and what they do."""
        return self._pool.statistics()

    async def _open(self) -> None:
        await self._pool.open()

    async def _close(self) -> None:
        await self._pool.close()

    async def _start(self) -> _Reader:
        thread = ThreadPoolExecutor(1, thread_name_prefix="response cache reader")
        loop = asyncio.get_running_loop()
        opened = loop.run_in_executor(thread, connect_reader, self.path)
        try:
            return _Reader(thread, await _to_its_end(opened))
        except CacheStoreError:
            thread.shutdown(wait=False)
            raise

    def _done(self, reader: _Reader, future: asyncio.Future[T]) -> None:
        # Here and not where it is waited for: the reader is free when its thread is, not before.
        # Who still waits has the exception, too; who gave up has counted a failure already.
        self.late = False
        failed = future.cancelled() or future.exception() is not None
        self._pool.release(reader, broken=failed)


async def _end(reader: _Reader) -> None:
    loop = asyncio.get_running_loop()
    closed = loop.run_in_executor(reader.thread, disconnect, reader.connection)
    reader.thread.shutdown(wait=False)
    await _to_its_end(closed)


async def _to_its_end(future: asyncio.Future[T]) -> T:
    """What a thread brings, waited for without regard to being cancelled.

    A thread cannot be cancelled, and its place in the pool is not free before it has ended.
    """
    while not future.done():
        with suppress(asyncio.CancelledError):  # the pool has noted that its time is over
            await asyncio.wait([future])
    return future.result()
