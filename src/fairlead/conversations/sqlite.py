"""Threads in a SQLite file: the embedded default."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import apsw

from fairlead.conversations import sqlite_backup, sqlite_log, sqlite_read, sqlite_search
from fairlead.conversations.base import Outcome
from fairlead.conversations.records import (
    DeadLetter,
    Head,
    Hit,
    ListQuery,
    LogPosition,
    Message,
    Operation,
    PageQuery,
    Pruned,
    RetentionRules,
    SearchQuery,
    StorageStatistics,
    ThreadEvent,
)
from fairlead.conversations.sqlite_apply import Applier
from fairlead.conversations.sqlite_file import WritingSide
from fairlead.conversations.sqlite_open import DamagedError, SqliteFile
from fairlead.conversations.sqlite_prune import pages_to_give_back, prune
from fairlead.conversations.sqlite_read import Reader
from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.lifecycle import Resource
from fairlead.core.pool import PoolOptions
from fairlead.core.worker import LateError, WorkerPool, WorkerThread
from fairlead.errors import (
    CapacityError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)

T = TypeVar("T")

READ_DEADLINE = 10.0
WRITE_DEADLINE = 30.0
OPEN_DEADLINE = 600.0
"""A step of a migration may take its time on a large file."""
CHECK_DEADLINE = 3600.0
BACKUP_DEADLINE = 3600.0
CLOSE_DEADLINE = 30.0
MAX_JOBS = 512
"""Jobs that may wait for the writing thread; one more fails at once."""
MAX_READERS = 4
MAX_READS = 1_024
"""Reads that may wait for a thread; one more fails at once."""

_READERS = PoolOptions(
    min_size=1,
    max_size=MAX_READERS,
    max_waiting=MAX_READS,
    acquire_timeout=READ_DEADLINE,
    # A connection does not wear out.
    max_lifetime=float("inf"),
)


class SqliteThreadStore(Resource):
    """A `ThreadStore`, `ThreadLog` and `Archive` in one file, which several processes may share.

    One thread makes every commit and checkpoint, a few others read beside it. A file that is
    damaged, or of another program, is refused and never touched.
    """

    def __init__(
        self,
        path: Path,
        *,
        origin: str = "local",
        clock: Clock = SYSTEM_CLOCK,
        synchronous: Literal["FULL", "NORMAL"] = "FULL",
        vfs: str | None = None,
    ) -> None:
        """`origin` is the region of this node; the rest as in `SqliteFile`."""
        self.path = path
        self.origin = origin
        self._clock = clock
        self._file = SqliteFile(path, synchronous, vfs)
        self._side = WritingSide(self._file)
        self._applier = Applier(origin)
        self._writer = WorkerThread("conversations", MAX_JOBS)
        self._copier = WorkerThread("conversations backup", 1)
        self._readers = self._new_readers()
        self._inode = 0
        self._writing, self._reading = _State(), _State()
        self._operations = self._failures = 0

    # ---- threads

    async def apply(
        self, operations: Sequence[Operation], *, retry: bool = False
    ) -> Sequence[Outcome]:
        """Write all of them in one transaction (`ThreadStore.apply`)."""
        if not operations:
            return []
        return await self._write(partial(self._apply_now, operations, retry=retry))

    async def head(self, tenant: str, thread: str) -> Head | None:
        """The thread, deleted or not; None where there is none."""
        return await self._read(partial(sqlite_read.head, tenant, thread))

    async def messages(self, tenant: str, thread: str, query: PageQuery) -> Sequence[Message]:
        """A page of messages in ascending order."""
        return await self._read(partial(sqlite_read.messages, tenant, thread, query))

    async def listing(self, query: ListQuery) -> Sequence[Head]:
        """A page of the threads that the viewer sees."""
        return await self._read(partial(sqlite_read.listing, query))

    async def search(self, query: SearchQuery) -> Sequence[Hit]:
        """Threads that hold all words of the text, best first."""
        return await self._read(partial(sqlite_search.search, query))

    # ---- the log

    async def events(
        self, after: LogPosition | None, limit: int, tenant: str | None = None
    ) -> Sequence[ThreadEvent]:
        """Events of the whole log (or one tenant's) in the order of their keys."""
        return await self._read(partial(sqlite_read.events, after, limit, tenant))

    async def thread_events(self, tenant: str, thread: str) -> Sequence[ThreadEvent]:
        """One thread's events, in `ThreadEvent.order`."""
        return await self._read(partial(sqlite_read.thread_events, tenant, thread))

    async def add(self, events: Sequence[ThreadEvent]) -> int:
        """Keep events from elsewhere and project their threads anew; how many were new."""
        if not events:
            return 0
        return await self._write(
            partial(self._alone, partial(sqlite_log.add, events, self._applier.tenants))
        )

    async def project(self, tenant: str, thread: str) -> None:
        """Make the thread's projections anew from its log."""
        job = partial(sqlite_log.project, (tenant, thread), self._applier.tenants)
        await self._write(partial(self._alone, job))

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Keep operations that could not be written."""
        if letters:
            job = partial(sqlite_log.bury, letters)
            await self._write(partial(self._side.transact, job))

    async def prune(self, rules: RetentionRules, now: int) -> Pruned:
        """One small step of removing what may not be kept, and giving the room back."""
        return await self._write(partial(self._prune_now, rules, now))

    def statistics(self) -> StorageStatistics:
        """Counts of this process; bytes of the file and its log as last seen."""
        return StorageStatistics(
            backend="sqlite",
            available=self.is_open and not self._detail,
            detail=self._detail,
            bytes=self._side.bytes,
            operations=self._operations,
            failures=self._failures,
        )

    # ---- the whole

    async def backup(self, path: Path, progress: sqlite_backup.Progress | None = None) -> None:
        """Write a consistent copy of the live database to `path`, which must not be there.

        `progress(done, total)` hears of pages, on the event loop.
        """
        self.check_open()
        loop = asyncio.get_running_loop()

        def tell(done: int, total: int) -> None:
            # In the copying thread; what it raises ends the copy.
            self.check_open()
            if progress is not None:
                loop.call_soon_threadsafe(progress, done, total)

        job = partial(sqlite_backup.backup, self._file, path, tell)
        with self._translated():
            await self._copier.run(job, BACKUP_DEADLINE)

    async def check(self) -> Sequence[str]:
        """What SQLite's integrity check finds, and rows that point to nothing."""
        return await self._read(sqlite_backup.check, CHECK_DEADLINE)

    # ---- opening and closing

    async def _open(self) -> None:
        async with AsyncExitStack() as stack:
            self._writer.start()
            stack.push_async_callback(self._writer.stop, self._side.close, CLOSE_DEADLINE)
            self._copier.start()
            stack.push_async_callback(self._copier.stop, _nothing, CLOSE_DEADLINE)
            now = int(self._clock.time() * 1000)
            with self._told(self._writing):
                await self._writer.run(partial(self._side.open, now), OPEN_DEADLINE)
            self._inode = self._side.inode
            self._readers = self._new_readers()
            await self._readers.open()
            stack.pop_all()

    async def _close(self) -> None:
        with self._translated():
            # Last in, first out: the last connection to close makes a checkpoint.
            async with AsyncExitStack() as stack:
                stack.push_async_callback(self._writer.stop, self._side.close, CLOSE_DEADLINE)
                stack.push_async_callback(self._readers.close)
                stack.push_async_callback(self._copier.stop, _nothing, CLOSE_DEADLINE)

    def _new_readers(self) -> WorkerPool[Reader]:
        return WorkerPool(
            partial(Reader, self._file),
            Reader.close,
            options=_READERS,
            name="conversations reader",
        )

    # ---- the threads

    def _apply_now(self, operations: Sequence[Operation], *, retry: bool) -> list[Outcome]:
        job = partial(self._applier.apply, operations=operations, retry=retry)
        try:
            return self._side.transact(job)
        except BaseException:
            self._applier.forget()
            raise

    def _alone(self, job: Callable[[apsw.Connection], T]) -> T:
        """Do what changes threads behind the back of `_applier`."""
        # What it remembers of tenants is used here, and may be of another file.
        self._applier.forget()
        try:
            return self._side.transact(job)
        finally:
            self._applier.forget()

    def _prune_now(self, rules: RetentionRules, now: int) -> Pruned:
        pruned = self._alone(partial(prune, rules, now, self._applier.tenants))
        self._side.give_back(pages_to_give_back)
        return pruned

    async def _write(self, job: Callable[[], T]) -> T:
        self.check_open()
        with self._told(self._writing):
            result = await self._writer.run(job, WRITE_DEADLINE)
        self._operations += 1
        if self._side.inode != self._inode:
            self._inode = self._side.inode
            self._readers.renew()
        return result

    async def _read(
        self, job: Callable[[apsw.Connection], T], deadline: float = READ_DEADLINE
    ) -> T:
        self.check_open()
        with self._told(self._reading):
            return await self._readers.run(lambda reader: reader.read(job, deadline), deadline)

    @contextmanager
    def _told(self, state: _State) -> Iterator[None]:
        """Note in `state` what a thread or the file says to a call."""
        try:
            with self._translated():
                yield
        except (StorageFullError, StorageUnavailableError, DamagedError) as error:
            state.detail = str(error)
            raise
        state.detail = ""

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (CapacityError, LateError) as error:
            self._failures += 1
            raise StorageUnavailableError(f"{self.path}: {error}") from error
        except StorageError:
            self._failures += 1
            raise

    @property
    def _detail(self) -> str:
        return self._writing.detail or self._reading.detail

    def __repr__(self) -> str:
        return f"<SqliteThreadStore {self.path.name}: {self._detail or 'available'}>"


class _State:
    """How the last write, or the last read, went."""

    detail = ""
    """What was wrong with the file, if anything."""


def _nothing() -> None:
    """There is nothing to release."""
