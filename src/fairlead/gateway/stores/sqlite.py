"""The persistent tier in a SQLite file, shared by the processes of one machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.ids import request_id
from fairlead.core.lifecycle import Resource
from fairlead.core.tasks import TaskOwner, log_failure
from fairlead.errors import CacheStoreError
from fairlead.gateway.base import CacheKey, PurgeSelector, StoredResponse, StoreStatistics
from fairlead.gateway.stores.codec import pack, unpack
from fairlead.gateway.stores.sqlfile import CacheFile, Row, UnusableFileError

T = TypeVar("T")

LOOK_EVERY = 1.0
"""Seconds between looks for what other processes wrote and purged."""
READ_DEADLINE = 0.25
WRITE_DEADLINE = 30.0
MAX_JOBS = 512
"""Reads and writes that may wait for the thread; one more fails at once."""
_MAX_TOUCHED = 10_000
_MAX_VALUE = 128 * 1024 * 1024


class _Batch:
    """Entries that are written in one transaction, and the promise of it."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.written: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class SqliteResponseStore(Resource):
    """A `ResponseStore` in one file; all of SQLite runs in one thread of its own.

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
        self.path = path
        self.max_bytes = max_bytes
        self.ttl = ttl
        self._clock = clock
        self._on_warning = on_warning
        self._on_purge: Callable[[PurgeSelector], object] = _nobody
        self._file = CacheFile(path, request_id())
        self._thread: ThreadPoolExecutor | None = None
        self._tasks = TaskOwner(log_failure)
        self._jobs = 0
        self._known: set[bytes] = set()
        self._batch: _Batch | None = None
        self._writing: asyncio.Task[None] | None = None
        self._used: dict[bytes, float] = {}
        self._available = False
        self._totals = (0, 0)
        self._reads = self._hits = self._writes = self._evictions = self._failures = 0

    def listen(self, on_purge: Callable[[PurgeSelector], object]) -> None:
        """Call `on_purge` for purges by other processes."""
        self._on_purge = on_purge

    async def _open(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="response-cache")
        await self._tasks.open()
        try:
            await self._in_thread(lambda: self._file.open(self._on_warning), WRITE_DEADLINE)
            self._available = True
            await self._look()
        except CacheStoreError as error:
            # The node serves without it; each look tries again.
            self._on_warning(f"the persistent response cache is off for now: {error}")
        self._tasks.spawn(self._keep_looking(), "response cache upkeep")

    async def _close(self) -> None:
        if self._writing is not None:
            await asyncio.wait([self._writing], timeout=WRITE_DEADLINE)
        await self._tasks.close()
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(thread, self._last_job)
            thread.shutdown(wait=False)

    def _last_job(self) -> None:
        try:
            self._file.put([], self._used, self._clock.time())
        except CacheStoreError:
            self._failures += 1  # times of use only; the entries are in the file already
        self._file.close()

    def may_contain(self, key: CacheKey) -> bool:
        """Whether the index knows the digest."""
        return key.digest in self._known

    async def get(self, key: CacheKey) -> StoredResponse | None:
        """The entry; raises `CacheStoreError` where the file cannot be read in time."""
        self._reads += 1
        oldest = self._clock.time() - self.ttl
        value = await self._guarded(lambda: self._file.get(key.digest, oldest), READ_DEADLINE)
        response = None if value is None else unpack(value, _MAX_VALUE)
        if response is None:
            self._known.discard(key.digest)
            if value is not None:
                await self._guarded(lambda: self._file.remove(key.digest), WRITE_DEADLINE)
            return None
        self._hits += 1
        if len(self._used) < _MAX_TOUCHED:
            self._used[key.digest] = self._clock.time()
        return response

    async def put(self, key: CacheKey, response: StoredResponse) -> None:
        """Keep it; entries that come together are written in one transaction."""
        if self._batch is None:
            self._batch = _Batch()
        batch = self._batch
        batch.rows.append(Row(key, response.created, pack(response)))
        if self._writing is None or self._writing.done():
            self._writing = self._tasks.spawn(self._write_batches(), "response cache writes")
        # Shielded: one waiter that is cancelled does not take the others' entries along.
        await asyncio.shield(batch.written)

    async def _write_batches(self) -> None:
        """Write what has gathered while the last batch was being written, until nothing has."""
        while (batch := self._batch) is not None:
            self._batch = None
            try:
                await self._write(batch.rows)
            except CacheStoreError as error:
                batch.written.set_exception(error)
                batch.written.exception()  # a batch may have no waiter left
            else:
                batch.written.set_result(None)

    async def _write(self, rows: list[Row]) -> None:
        used, self._used = self._used, {}
        now = self._clock.time()

        def write() -> tuple[list[bytes], int, tuple[int, int]]:
            self._file.put(rows, used, now)
            gone, evicted = self._file.shrink(self.max_bytes, now - self.ttl)
            return gone, evicted, self._file.totals()

        gone, evicted, self._totals = await self._guarded(write, WRITE_DEADLINE)
        self._writes += len(rows)
        self._evictions += evicted
        self._known.update(row.key.digest for row in rows)
        self._known.difference_update(gone)

    async def purge(self, selector: PurgeSelector) -> int:
        """Remove what is selected, here and in every process that shares the file."""
        if self._batch is not None:
            # What waits to be written would come after the purge.
            self._batch.rows = [r for r in self._batch.rows if not selector.matches(r.key)]
        gone = await self._guarded(lambda: self._file.purge(selector), WRITE_DEADLINE)
        self._known.difference_update(gone)
        return len(gone)

    def statistics(self) -> StoreStatistics:
        """Counts of this process; entries and bytes of the whole file at the last look."""
        entries, size = self._totals
        return StoreStatistics(
            backend="sqlite",
            available=self._available,
            entries=entries,
            bytes=size,
            max_bytes=self.max_bytes,
            reads=self._reads,
            hits=self._hits,
            writes=self._writes,
            evictions=self._evictions,
            failures=self._failures,
        )

    async def _keep_looking(self) -> None:
        while True:
            await self._clock.sleep(LOOK_EVERY)
            try:
                if not self._available:
                    await self._reopen()
                await self._look()
            except CacheStoreError:
                continue  # counted where it came up; the next look tries again

    async def _reopen(self) -> None:
        await self._in_thread(lambda: self._file.open(self._on_warning), WRITE_DEADLINE)
        self._available = True
        self._on_purge(PurgeSelector())

    async def _look(self) -> None:
        change = await self._guarded(self._file.changes, WRITE_DEADLINE)
        if change is not None:
            self._known.update(change.digests)
            for selector in change.purges:
                self._on_purge(selector)
            self._totals = await self._guarded(self._file.totals, WRITE_DEADLINE)

    async def _guarded(self, job: Callable[[], T], deadline: float) -> T:
        """Run `job` in the thread; count failures, and set a corrupt file aside."""
        try:
            return await self._in_thread(job, deadline)
        except UnusableFileError as error:
            self._failures += 1
            self._known.clear()
            self._available = False
            reason = str(error)
            await self._in_thread(
                lambda: self._file.set_aside(reason, self._on_warning), WRITE_DEADLINE
            )
            raise
        except CacheStoreError:
            self._failures += 1
            raise

    async def _in_thread(self, job: Callable[[], T], deadline: float) -> T:
        if self._thread is None:
            raise CacheStoreError("the persistent response cache is not open")
        if self._jobs >= MAX_JOBS:
            raise CacheStoreError("too many reads and writes wait for the persistent cache")
        self._jobs += 1
        future = asyncio.get_running_loop().run_in_executor(self._thread, job)
        future.add_done_callback(self._job_done)
        try:
            async with asyncio.timeout(deadline):
                return await asyncio.shield(future)
        except TimeoutError as error:
            raise CacheStoreError(f"{self.path} did not answer in time") from error

    def _job_done(self, future: asyncio.Future[Any]) -> None:
        # The thread cannot be cancelled: its place is free when it has ended.
        self._jobs -= 1
        if not future.cancelled():
            future.exception()  # who still waits has it; who gave up has counted a failure

    def __repr__(self) -> str:
        state = "available" if self._available else "away"
        return f"<SqliteResponseStore {self.path.name} {state}, {len(self._known)} entries>"


def _nobody(_selector: PurgeSelector) -> None:
    """Nobody listens."""
