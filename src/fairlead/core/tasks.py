"""Background tasks with an owner, a name and an end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from fairlead.core.lifecycle import Resource

T = TypeVar("T")
ErrorHandler = Callable[[str, BaseException], None]


def log_failure(name: str, error: BaseException) -> None:
    """The default handler: one line at level error, with the traceback."""
    logging.getLogger("fairlead").error("task %r failed: %s", name, error, exc_info=error)


async def attempt(work: Awaitable[T]) -> tuple[T | None, Exception | None]:
    """The result of `work`, or what it raised, to be handed to those who wait for it.

    Cancellation passes through.
    """
    try:
        return await work, None
    except Exception as error:  # noqa: BLE001 - whatever it is, the waiters get it
        return None, error


class TaskOwner(Resource):
    """Owns named background tasks; closing cancels them and waits for their end.

    A task that fails is reported once to `on_error(name, exception)`; nothing is lost silently and
    nothing is retrieved twice.
    """

    def __init__(self, on_error: ErrorHandler) -> None:
        self._on_error = on_error
        self._tasks: set[asyncio.Task[Any]] = set()
        self.loop: asyncio.AbstractEventLoop
        """The loop it was opened in."""

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start `coroutine` as a task named `name`; raises `ClosedError` after close."""
        try:
            self.check_open()
        except BaseException:
            coroutine.close()
            raise
        task = self.loop.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def __len__(self) -> int:
        return len(self._tasks)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_error(task.get_name(), error)

    async def _open(self) -> None:
        # Asked for once: on Python 3.11 every `get_running_loop` is a system call (getpid).
        self.loop = asyncio.get_running_loop()

    async def _close(self) -> None:
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
