"""Threads for blocking work, with a bounded line before them and a deadline for who waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Generic, TypeVar

from fairlead.core.lifecycle import Resource
from fairlead.core.pool import PoolOptions, PoolStatistics, ResourcePool
from fairlead.errors import CapacityError, ClosedError, FairleadError

T = TypeVar("T")
R = TypeVar("R")


class LateError(FairleadError):
    """A thread did not do its job within the deadline."""


class WorkerThread:
    """Runs jobs one after the other in a thread of its own; belongs to one event loop."""

    def __init__(self, name: str, max_jobs: int) -> None:
        """At most `max_jobs` may wait or run; one more is refused."""
        self._name = name
        self._max_jobs = max_jobs
        self._jobs = 0
        self._executor: ThreadPoolExecutor | None = None
        self.late = False
        """The last job that somebody waited for was not done in time, and none has ended since."""

    def start(self) -> None:
        """Make the thread ready."""
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=self._name)

    async def run(self, job: Callable[[], T], deadline: float) -> T:
        """The result of `job()`; raises `CapacityError` when full, `ClosedError` when stopped.

        `LateError` after `deadline` seconds: the job goes on, because a thread cannot be cancelled.
        """
        executor = self._executor
        if executor is None:
            raise ClosedError(f"{self._name} is closed")
        if self._jobs >= self._max_jobs:
            raise CapacityError(f"too many jobs wait for {self._name}")
        self._jobs += 1
        future = asyncio.get_running_loop().run_in_executor(executor, job)
        future.add_done_callback(self._ended)
        try:
            async with asyncio.timeout(deadline):
                return await asyncio.shield(future)
        except TimeoutError as error:
            self.late = True
            raise LateError(f"{self._name} did not answer in time") from error

    async def stop(self, last: Callable[[], None], deadline: float) -> None:
        """Run what is accepted, then `last`, and refuse everything else; idempotent.

        After `deadline` seconds the thread is left to end by itself (`LateError`).
        """
        executor, self._executor = self._executor, None
        if executor is None:
            return
        future = asyncio.get_running_loop().run_in_executor(executor, last)
        executor.shutdown(wait=False)
        future.add_done_callback(_retrieve)
        try:
            async with asyncio.timeout(deadline):
                await asyncio.shield(future)
        except TimeoutError as error:
            raise LateError(f"{self._name} did not end in time") from error

    def _ended(self, future: asyncio.Future[T]) -> None:
        # A thread cannot be cancelled: the place is free when the job has ended, not before.
        self._jobs -= 1
        self.late = False
        _retrieve(future)


def _retrieve(future: asyncio.Future[T]) -> None:
    # Who still waits has the exception, too; who gave up has counted a failure already.
    if not future.cancelled():
        future.exception()


class _Bound(Generic[R]):
    """A thread and the resource that only it uses."""

    def __init__(self, thread: ThreadPoolExecutor, resource: R) -> None:
        self.thread = thread
        self.resource = resource


class WorkerPool(Resource, Generic[R]):
    """Threads that work side by side, each with a resource such as a database connection.

    `create()` and `dispose(resource)` run in the resource's own thread.
    """

    def __init__(
        self,
        create: Callable[[], R],
        dispose: Callable[[R], None],
        *,
        options: PoolOptions,
        name: str,
    ) -> None:
        self.late = False
        """The last job that somebody waited for was not done in time, and none has ended since."""
        self._create, self._dispose = create, dispose
        self._name = name
        # On the system's clock, because threads take real time.
        self._pool = ResourcePool(self._start, self._end, options=options, name=name)

    async def run(self, job: Callable[[R], T], deadline: float) -> T:
        """The result of `job(resource)`; `deadline` in seconds, waiting for a thread included.

        Raises `LateError`, `CapacityError`, `ClosedError`. A resource with which a job has failed
        is replaced.
        """
        try:
            async with asyncio.timeout(deadline):
                bound = await self._pool.acquire()
                loop = asyncio.get_running_loop()
                future = loop.run_in_executor(bound.thread, job, bound.resource)
                future.add_done_callback(partial(self._done, bound))
                return await asyncio.shield(future)
        except TimeoutError as error:
            self.late = True
            raise LateError(f"no {self._name} answered in time") from error

    def renew(self) -> None:
        """Replace every resource, those in use when they come back."""
        self._pool.renew()

    def statistics(self) -> PoolStatistics:
        """How many there are and what they do."""
        return self._pool.statistics()

    async def _open(self) -> None:
        await self._pool.open()

    async def _close(self) -> None:
        await self._pool.close()

    async def _start(self) -> _Bound[R]:
        thread = ThreadPoolExecutor(1, thread_name_prefix=self._name)
        made = asyncio.get_running_loop().run_in_executor(thread, self._create)
        try:
            return _Bound(thread, await _to_its_end(made))
        except BaseException:
            thread.shutdown(wait=False)
            raise

    async def _end(self, bound: _Bound[R]) -> None:
        loop = asyncio.get_running_loop()
        ended = loop.run_in_executor(bound.thread, self._dispose, bound.resource)
        bound.thread.shutdown(wait=False)
        await _to_its_end(ended)

    def _done(self, bound: _Bound[R], future: asyncio.Future[T]) -> None:
        # Here and not where it is waited for: the thread is free when its job is done, not before.
        # Who still waits has the exception, too; who gave up has counted a failure already.
        self.late = False
        failed = future.cancelled() or future.exception() is not None
        self._pool.release(bound, broken=failed)


async def _to_its_end(future: asyncio.Future[T]) -> T:
    """What a thread brings, waited for without regard to being cancelled.

    A thread cannot be cancelled, and its place in the pool is not free before it has ended.
    """
    while not future.done():
        with suppress(asyncio.CancelledError):  # the pool has noted that its time is over
            await asyncio.wait([future])
    return future.result()
