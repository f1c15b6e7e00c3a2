"""Threads for what blocks in a workspace: refusals are answers there, and no thread is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from fairlead.core.lifecycle import Resource
from fairlead.core.pool import PoolOptions
from fairlead.core.worker import LateError, WorkerPool
from fairlead.errors import FairleadError, StorageUnavailableError

T = TypeVar("T")


class Threads(Resource):
    """Runs blocking jobs side by side; belongs to one event loop."""

    def __init__(self, name: str, size: int, max_waiting: int, deadline: float) -> None:
        """At most `size` jobs run and `max_waiting` wait; `deadline` (seconds) is for both."""
        self._options = PoolOptions(
            min_size=0,
            max_size=size,
            max_waiting=max_waiting,
            acquire_timeout=deadline,
            max_idle=60.0,
        )
        self._name = name
        self._deadline = deadline
        self._pool: WorkerPool[None]

    async def run(self, job: Callable[[], T]) -> T:
        """The result of `job()`; what it raises of our own errors is raised here.

        `StorageUnavailableError` after the deadline (the job goes on, as threads cannot be
        cancelled), `CapacityError` where too many wait.
        """
        self.check_open()
        try:
            result, error = await self._pool.run(lambda _: _outcome(job), self._deadline)
        except LateError as late:
            raise StorageUnavailableError("the disk did not answer in time") from late
        if error is not None:
            raise error
        return result  # type: ignore[return-value] # there is one wherever there is no error

    @property
    def have_ended(self) -> bool:
        """Whether no thread is left, as after a close that nothing held up."""
        return self._pool.statistics().size == 0

    async def _open(self) -> None:
        # A pool opens only once.
        self._pool = WorkerPool(
            lambda: None, lambda _: None, options=self._options, name=self._name
        )
        await self._pool.open()

    async def _close(self) -> None:
        await self._pool.close()


def _outcome(job: Callable[[], T]) -> tuple[T | None, FairleadError | None]:
    # A pool takes a thread whose job raises for broken and replaces it; a file that is missing
    # breaks nothing.
    try:
        return job(), None
    except FairleadError as error:
        return None, error
