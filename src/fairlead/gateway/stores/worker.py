"""One thread for blocking work, with a bounded line before it and a deadline for who waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from fairlead.errors import CacheStoreError

T = TypeVar("T")


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
        """The result of `job()`; raises `CacheStoreError` when full, stopped or late (seconds)."""
        executor = self._executor
        if executor is None:
            raise CacheStoreError("the persistent response cache is closed")
        if self._jobs >= self._max_jobs:
            raise CacheStoreError("too many reads and writes wait for the persistent cache")
        self._jobs += 1
        future = asyncio.get_running_loop().run_in_executor(executor, job)
        future.add_done_callback(self._ended)
        try:
            async with asyncio.timeout(deadline):
                return await asyncio.shield(future)
        except TimeoutError as error:
            self.late = True
            raise CacheStoreError(f"{self._name} did not answer in time") from error

    async def stop(self, last: Callable[[], None], deadline: float) -> None:
        """Run what is accepted, then `last`, and refuse everything else; idempotent.

        After `deadline` seconds the thread is left to end by itself.
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
            raise CacheStoreError(f"{self._name} did not end in time") from error

    def _ended(self, future: asyncio.Future[T]) -> None:
        # A thread cannot be cancelled: the place is free when the job has ended, not before.
        self._jobs -= 1
        self.late = False
        _retrieve(future)


def _retrieve(future: asyncio.Future[T]) -> None:
    # Who still waits has the exception, too; who gave up has counted a failure already.
    if not future.cancelled():
        future.exception()
