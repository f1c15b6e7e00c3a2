"""Threads that read the response cache's SQLite file side by side, each with its own connection."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import apsw

from fairlead.core.lifecycle import Resource
from fairlead.core.pool import PoolOptions, PoolStatistics
from fairlead.core.worker import LateError, WorkerPool
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


class Readers(Resource):
    """Up to `MAX_READERS` threads for one life of the file: when that is replaced, so are they."""

    def __init__(self, path: Path, inode: int) -> None:
        """`inode` tells which file they were made for, should another take its place."""
        self.path = path
        self.inode = inode
        self._threads = WorkerPool(
            partial(connect_reader, path),
            disconnect,
            options=_OPTIONS,
            name="response cache reader",
        )

    @property
    def late(self) -> bool:
        """The last read that somebody waited for was not done in time, and none has ended since."""
        return self._threads.late

    async def run(self, job: Callable[[apsw.Connection], T], deadline: float) -> T:
        """The result of `job(connection)`; raises `CacheStoreError` when full, closed or late.

        `deadline` in seconds, waiting for a thread included.
        """
        try:
            return await self._threads.run(job, deadline)
        except (CapacityError, ClosedError, LateError) as error:
            raise CacheStoreError(f"the response cache cannot be read: {error}") from error

    def statistics(self) -> PoolStatistics:
        """How many there are and what they do."""
        return self._threads.statistics()

    async def _open(self) -> None:
        await self._threads.open()

    async def _close(self) -> None:
        await self._threads.close()
