"""The response cache's thread for blocking work: what goes wrong there costs only the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from fairlead.core import worker
from fairlead.errors import CacheStoreError, CapacityError, ClosedError

T = TypeVar("T")


class WorkerThread(worker.WorkerThread):
    """As the one it is made of; full, stopped or late, it raises `CacheStoreError`."""

    async def run(self, job: Callable[[], T], deadline: float) -> T:
        """The result of `job()`, within `deadline` seconds."""
        try:
            return await super().run(job, deadline)
        except (CapacityError, ClosedError, worker.LateError) as error:
            raise CacheStoreError(f"the persistent cache is not at hand: {error}") from error

    async def stop(self, last: Callable[[], None], deadline: float) -> None:
        """Run what is accepted, then `last`, and refuse everything else; idempotent."""
        try:
            await super().stop(last, deadline)
        except worker.LateError as error:
            raise CacheStoreError(str(error)) from error
