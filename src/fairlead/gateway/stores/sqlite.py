"""The persistent tier in a SQLite file, shared by the processes of one machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import apsw
import msgspec

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.lifecycle import Resource
from fairlead.core.tasks import TaskOwner, log_failure
from fairlead.errors import CacheStoreError
from fairlead.gateway.base import CacheKey, PurgeSelector, StoredResponse, StoreStatistics
from fairlead.gateway.stores.codec import pack, unpack
from fairlead.gateway.stores.readers import Readers
from fairlead.gateway.stores.sqlfile import CacheFile, Removed, Row, Totals, read_value
from fairlead.gateway.stores.sqlopen import UnusableFileError, check_library
from fairlead.gateway.stores.worker import WorkerThread

T = TypeVar("T")

LOOK_EVERY = 1.0
"""Seconds between looks for what other processes wrote and purged."""
READ_DEADLINE = 0.25
WRITE_DEADLINE = 30.0
CLOSE_DEADLINE = 10.0
MAX_JOBS = 512
"""Jobs that may wait for the writing thread; one more fails at once."""
MAX_PENDING = 256
MAX_PENDING_BYTES = 64 * 1024 * 1024
"""Entries, and their size, that may wait to be written; what is more is dropped and counted."""

_BATCH = 64
_PURGE_STEP = 256
_TEND_EVERY = 30
_MAX_USED = 10_000
_MAX_VALUE = 128 * 1024 * 1024


class _Pending(msgspec.Struct, eq=False):
    """An entry that waits to be written."""

    key: CacheKey
    response: StoredResponse
    done: asyncio.Future[None]


class _Written(msgspec.Struct, frozen=True):
    """What became of a batch."""

    digests: list[bytes]
    removed: Removed
    totals: Totals


class SqliteResponseStore(Resource):
    """A `ResponseStore` in one file: one thread writes, a few others read beside it.

    `may_contain` answers from an index of digests in memory, which a look at the file about once a
    second keeps current: what another process stored less than that ago costs an upstream call,
    never a wrong answer. A corrupt file, or one of another version, is set aside with a warning.
    Sizes in bytes; `ttl` in seconds from `StoredResponse.created`.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int = 1024 * 1024 * 1024,
        ttl: float = 3600.0,
        clock: Clock = SYSTEM_CLOCK,
        on_warning: Callable[[str], None],
    ) -> None:
        """`on_warning(text)` hears of a file that is set aside or cannot be opened."""
        self.path = path
        self.max_bytes = max_bytes
        self.ttl = ttl
        self._clock = clock
        self._on_warning = on_warning
        self._on_purge: Callable[[PurgeSelector], object] = _nobody
        self._file = CacheFile(path)
        self._worker = WorkerThread("response cache", MAX_JOBS)
        self._tasks = TaskOwner(log_failure)
        self._known: set[bytes] = set()
        self._used: dict[bytes, float] = {}
        self._pending: list[_Pending] = []
        self._pending_bytes = 0
        self._writing: asyncio.Task[None] | None = None
        # There are readers while the file can be used.
        self._readers: Readers | None = None
        self._totals = Totals()
        self._reads = self._hits = self._writes = self._evictions = self._failures = 0

    def listen(self, on_purge: Callable[[PurgeSelector], object]) -> None:
        """Call `on_purge` for purges by other processes, and when the file was replaced."""
        self._on_purge = on_purge

    # ---- opening and closing

    async def _open(self) -> None:
        check_library()
        async with AsyncExitStack() as stack:
            self._worker.start()
            stack.push_async_callback(self._worker.stop, self._file.close, CLOSE_DEADLINE)
            await stack.enter_async_context(self._tasks)
            try:
                await self._attach(replace=True)
            except CacheStoreError as error:
                # The node serves without it; each look tries again.
                self._failures += 1
                self._on_warning(f"the persistent response cache is off for now: {error}")
            self._tasks.spawn(self._keep_looking(), "response cache upkeep")
            stack.pop_all()

    async def _attach(self, *, replace: bool) -> None:
        job = partial(self._open_now, replace=replace)
        told, self._known, self._totals = await self._worker.run(job, WRITE_DEADLINE)
        if told is not None:
            self._on_warning(told)
        readers = Readers(self.path, self._file.inode)
        await readers.open()
        self._readers = readers

    def _open_now(self, *, replace: bool) -> tuple[str | None, set[bytes], Totals]:
        told = self._file.open(replace=replace)
        try:
            return told, *self._file.load()
        except UnusableFileError as error:
            told = self._file.abandon(str(error))
        self._file.open(replace=False)
        return told, *self._file.load()

    async def _close(self) -> None:
        if self._writing is not None:
            await asyncio.wait([self._writing], timeout=CLOSE_DEADLINE)
        await self._tasks.close()
        left = self._take(len(self._pending))
        self._failures += len(left)
        self._settle(left, CacheStoreError("closed before it was written"))
        if self._readers is not None:
            await self._readers.close()
        try:
            await self._worker.stop(self._last_job, CLOSE_DEADLINE)
        except CacheStoreError:
            self._failures += 1

    def _last_job(self) -> None:
        # Times of use only, the entries are in the file already: lost, they cost an order.
        with suppress(CacheStoreError):
            self._file.put([], self._used, self._clock.time())
        self._file.close()

    # ---- the contract

    def may_contain(self, key: CacheKey) -> bool:
        """Whether the index knows the digest, and the readers keep up."""
        readers = self._readers
        return key.digest in self._known and readers is not None and not readers.late

    async def get(self, key: CacheKey) -> StoredResponse | None:
        """The entry; raises `CacheStoreError` where the file cannot be read in time."""
        self._check()
        self._reads += 1
        writes = self._writes
        value, response = await self._read(key.digest)
        if value is not None and response is None:
            # One damaged value is no reason to give up the file.
            await self._ask(partial(self._file.remove, key.digest), READ_DEADLINE)
        if response is None:
            # Unless it was written while it was read.
            if writes == self._writes:
                self._known.discard(key.digest)
            return None
        self._hits += 1
        if len(self._used) < _MAX_USED:
            self._used[key.digest] = self._clock.time()
        return response

    async def _read(self, digest: bytes) -> tuple[bytes | None, StoredResponse | None]:
        """The value in the file and what it means, each None where there is none."""
        readers = self._readers
        try:
            if readers is None:
                raise CacheStoreError("the persistent response cache is away")
            job = partial(_read_now, self.path, digest, self._clock.time() - self.ttl)
            return await readers.run(job, READ_DEADLINE)
        except CacheStoreError as error:
            self._failures += 1
            if readers is not None and isinstance(error, UnusableFileError):
                await self._condemn(readers, str(error))
            raise

    async def _condemn(self, readers: Readers, reason: str) -> None:
        """Have the writer give up the file that `readers` found to be damaged."""
        job = partial(self._file.condemn, readers.inode, reason)
        # It raises what the reader has raised and counted.
        with suppress(UnusableFileError):
            await self._run(job, READ_DEADLINE)

    async def put(self, key: CacheKey, response: StoredResponse) -> None:
        """Keep it; entries that come together are written in one transaction.

        One that is larger than the whole store is left out and counted as a failure.
        """
        self._check()
        size = self._pending_bytes + response.size
        if len(self._pending) >= MAX_PENDING or size > MAX_PENDING_BYTES:
            self._failures += 1
            raise CacheStoreError("too many entries wait to be written")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append(_Pending(key, response, done))
        self._pending_bytes = size
        if self._writing is None or self._writing.done():
            self._writing = self._tasks.spawn(self._write_pending(), "response cache writes")
        # Each batch before it has its deadline, and their number is bounded.
        await done

    async def purge(self, selector: PurgeSelector) -> int:
        """Remove what is selected, here and in every process that shares the file."""
        self._check()
        self._drop_pending(selector)
        rows = await self._ask(partial(self._file.select, selector), WRITE_DEADLINE)
        self._known.difference_update(digest for _, digest in rows)
        removed = 0
        for start in range(0, len(rows), _PURGE_STEP):
            # In steps, so that reads and other processes' writes find their turn between.
            numbers = [number for number, _ in rows[start : start + _PURGE_STEP]]
            removed += await self._ask(partial(self._file.remove_rows, numbers), WRITE_DEADLINE)
        await self._ask(partial(self._file.announce, selector), WRITE_DEADLINE)
        self._totals = await self._ask(self._file.totals, WRITE_DEADLINE)
        return removed

    def statistics(self) -> StoreStatistics:
        """Counts of this process; entries and bytes of the whole file as last seen."""
        return StoreStatistics(
            backend="sqlite",
            available=self._is_available,
            entries=self._totals.entries,
            bytes=self._totals.bytes,
            max_bytes=self.max_bytes,
            reads=self._reads,
            hits=self._hits,
            writes=self._writes,
            evictions=self._evictions,
            failures=self._failures,
        )

    # ---- writing

    def _take(self, count: int) -> list[_Pending]:
        taken, self._pending = self._pending[:count], self._pending[count:]
        self._pending_bytes -= sum(one.response.size for one in taken)
        return taken

    def _drop_pending(self, selector: PurgeSelector) -> None:
        dropped = [one for one in self._pending if selector.matches(one.key)]
        self._pending = [one for one in self._pending if not selector.matches(one.key)]
        self._pending_bytes -= sum(one.response.size for one in dropped)
        self._settle(dropped, None)

    async def _write_pending(self) -> None:
        while self._pending:
            batch = self._take(_BATCH)
            try:
                await self._write(batch)
            except CacheStoreError as error:
                self._settle(batch, error)
            else:
                self._settle(batch, None)

    def _settle(self, batch: list[_Pending], error: CacheStoreError | None) -> None:
        for one in batch:
            # A waiter that was cancelled has cancelled its future.
            if not one.done.done():
                if error is None:
                    one.done.set_result(None)
                else:
                    one.done.set_exception(CacheStoreError(str(error)))

    async def _write(self, batch: list[_Pending]) -> None:
        """Write a batch and what was used; drop what is expired or too much."""
        used, self._used = self._used, {}
        entries = [(one.key, one.response) for one in batch]
        written = await self._ask(partial(self._write_now, entries, used), WRITE_DEADLINE)
        self._writes += len(written.digests)
        self._failures += len(batch) - len(written.digests)
        self._evictions += written.removed.evicted
        self._known.update(written.digests)
        self._known.difference_update(written.removed.digests)
        self._totals = written.totals

    def _write_now(
        self, entries: list[tuple[CacheKey, StoredResponse]], used: dict[bytes, float]
    ) -> _Written:
        rows = [Row(key, response.created, pack(response)) for key, response in entries]
        fitting = [row for row in rows if row.size <= self.max_bytes]
        now = self._clock.time()
        self._file.put(fitting, used, now)
        removed = self._file.shrink(self.max_bytes, now - self.ttl)
        return _Written([row.key.digest for row in fitting], removed, self._file.totals())

    # ---- upkeep

    async def _keep_looking(self) -> None:
        turn = 0
        while True:
            await self._clock.sleep(LOOK_EVERY)
            turn += 1
            # Counted where it came up; the next turn tries again.
            with suppress(CacheStoreError):
                await self._look()
                if turn % _TEND_EVERY == 0:
                    await self._write([])

    async def _look(self) -> None:
        if self._readers is None:
            await self._attach(replace=False)
            self._on_purge(PurgeSelector())
            return
        news = await self._ask(partial(self._file.news, len(self._known)), WRITE_DEADLINE)
        if news is None:
            return
        self._totals = news.totals
        if news.everything is not None:
            self._known = news.everything
        self._known.update(news.added)
        for selector in news.purges:
            self._drop_pending(selector)
            self._on_purge(selector)

    # ---- the thread

    @property
    def _is_available(self) -> bool:
        late = self._worker.late or self._readers is None or self._readers.late
        return not late

    def _check(self) -> None:
        if not self.is_open:
            raise CacheStoreError("the persistent response cache is not open")

    async def _ask(self, job: Callable[[], T], deadline: float) -> T:
        """Run `job` in the writing thread; count failures, and give a corrupt file up."""
        try:
            return await self._run(job, deadline)
        except CacheStoreError:
            self._failures += 1
            raise

    async def _run(self, job: Callable[[], T], deadline: float) -> T:
        try:
            return await self._worker.run(partial(self._with_care, job), deadline)
        except CacheStoreError as error:
            readers = self._readers
            # While the store is closing its readers are closed there.
            if not self._file.is_open and readers is not None and self._tasks.is_open:
                self._readers = None
                self._known = set()
                self._on_warning(str(error))
                self._tasks.spawn(readers.close(), "response cache readers: end")
            raise

    def _with_care(self, job: Callable[[], T]) -> T:
        try:
            return job()
        except UnusableFileError as error:
            # At once, in the thread: a later job must not find the same damage again.
            raise UnusableFileError(self._file.abandon(str(error))) from error

    def __repr__(self) -> str:
        state = "available" if self._is_available else "away"
        return f"<SqliteResponseStore {self.path.name} {state}, {len(self._known)} entries>"


def _read_now(
    path: Path, digest: bytes, oldest: float, connection: apsw.Connection
) -> tuple[bytes | None, StoredResponse | None]:
    value = read_value(path, digest, oldest, connection)
    return value, None if value is None else unpack(value, _MAX_VALUE)


def _nobody(_selector: PurgeSelector) -> None:
    """Nobody listens."""
