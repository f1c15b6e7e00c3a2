"""`TurnCapture`: exchanges are kept while they pass, and read and stored when they are over."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Generic, TypeVar

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.lifecycle import Resource
from fairlead.core.tasks import TaskOwner, attempt, log_failure
from fairlead.core.worker import LateError, WorkerThread
from fairlead.errors import CapacityError, ClosedError, FairleadError
from fairlead.gateway.base import ModelRequest
from fairlead.gateway.capture.base import CaptureOptions, CaptureStatistics, TurnSink
from fairlead.gateway.capture.reading import read_turn
from fairlead.gateway.capture.tape import TurnTape
from fairlead.gateway.keys import GENERATING_PATHS
from fairlead.gateway.stream import FlightBudget

T = TypeVar("T")
Found = tuple[TurnTape, T | FairleadError]
"""What is to be stored of an exchange, or why that cannot be."""

BATCH = 16
"""Exchanges read at a time: the way to the thread and back costs the loop as much as one of them.
"""
DEFAULT_OPTIONS = CaptureOptions()
_LOG = logging.getLogger("fairlead")


class TurnCapture(Resource, Generic[T]):
    """Captures exchanges for a sink; what the gateway sees of it is `gateway.base.Capture`.

    While an exchange passes, its pieces are kept by reference. When it is over and the client has
    its last byte, it waits in a queue; a thread reads it and prepares what is to be stored, which
    is then handed on. Beyond the bounds exchanges are dropped and counted, requests never wait.
    """

    def __init__(
        self,
        sink: TurnSink[T],
        *,
        options: CaptureOptions = DEFAULT_OPTIONS,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.options = options
        self._sink = sink
        self._clock = clock
        self._budget = FlightBudget(options.max_bytes)
        self._queue: deque[TurnTape] = deque()
        self._running: dict[TurnTape, None] = {}
        self._captured = 0
        self._dropped: Counter[str] = Counter()
        self._tasks = TaskOwner(log_failure)
        # One that runs, and one that was given up but cannot be stopped.
        self._thread = WorkerThread("fairlead-capture", max_jobs=2)
        self._wake, self._idle = asyncio.Event(), asyncio.Event()

    def begin(self, request: ModelRequest, body: bytes) -> TurnTape | None:
        """The tape for an exchange; None for what is no conversation."""
        if request.path not in GENERATING_PATHS or request.method != b"POST":
            return None
        return TurnTape(request, body, self._budget, self._end, self.options.max_answer_bytes)

    async def flush(self) -> None:
        """Return when everything that has ended is handed on or dropped."""
        self.check_open()
        await self._idle.wait()

    def statistics(self) -> CaptureStatistics:
        """Counts now."""
        return CaptureStatistics(
            captured=self._captured,
            dropped=dict(self._dropped),
            waiting=len(self._queue) + len(self._running),
            bytes=self._budget.used,
        )

    async def _open(self) -> None:
        await self._tasks.open()
        self._thread.start()
        self._idle.set()
        self._tasks.spawn(self._work(), "capture")

    async def _close(self) -> None:
        deadline = self.options.close_timeout
        with suppress(TimeoutError):  # what is left then is counted
            # On the system's clock, because threads take real time.
            async with asyncio.timeout(deadline):
                await self._idle.wait()
        await self._tasks.close()
        for tape in (*self._running, *self._queue):
            self._drop(tape, "closing")
        self._queue.clear()
        self._running.clear()
        self._idle.set()
        try:
            await self._thread.stop(_nothing, deadline)
        except LateError as error:
            _LOG.warning("%s", error)

    def _end(self, tape: TurnTape) -> None:
        """The exchange of `tape` is over: put it in the queue, or drop it."""
        if tape.usage.outcome == "rejected":
            tape.release()  # nothing was said: this node refused to pass it on
        elif not self.is_open:
            self._drop(tape, "closing")
        elif len(self._queue) >= self.options.max_waiting:
            self._drop(tape, "queue")
        elif not tape.hold():
            self._drop(tape, "memory")
        else:
            tape.ended = self._clock.time()
            self._queue.append(tape)
            self._idle.clear()
            self._wake.set()

    def _drop(self, tape: TurnTape, reason: str) -> None:
        self._dropped[reason] += 1
        tape.release()

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                count = min(BATCH, len(self._queue))
                batch = [self._queue.popleft() for _ in range(count)]
                self._running.update(dict.fromkeys(batch))
                await self._store(batch)
            self._idle.set()

    async def _store(self, batch: Sequence[TurnTape]) -> None:
        for tape, prepared in await self._read(batch):
            if isinstance(prepared, FairleadError):
                self._fail(tape, "unreadable")
                continue
            _, error = await attempt(self._sink.deliver(prepared))
            if error is None:
                self._captured += 1
                self._finish(tape)
            else:
                self._fail(tape, _reason(error))

    async def _read(self, batch: Sequence[TurnTape]) -> Sequence[Found[T]]:
        """Each of `batch`, without those that have failed."""
        job = partial(self._read_all, batch)
        found, error = await attempt(self._thread.run(job, self.options.read_timeout))
        if error is None:
            return found or ()
        if len(batch) > 1 and not isinstance(error, FairleadError):
            # The fault is in one of them.
            return [pair for tape in batch for pair in await self._read([tape])]
        reason = _reason(error)
        for tape in batch:
            self._fail(tape, reason)
        return ()

    def _read_all(self, batch: Sequence[TurnTape]) -> list[Found[T]]:
        found = []
        for tape in batch:
            found.append((tape, self._read_one(tape)))
            # The loop may be waiting for the interpreter's lock.
            time.sleep(0)
        return found

    def _read_one(self, tape: TurnTape) -> T | FairleadError:
        try:
            return self._sink.prepare(read_turn(tape, self.options.max_answer_bytes))
        except FairleadError as error:
            return error

    def _fail(self, tape: TurnTape, reason: str) -> None:
        self._drop(tape, reason)
        self._finish(tape)

    def _finish(self, tape: TurnTape) -> None:
        tape.release()
        self._running.pop(tape, None)


def _reason(error: Exception) -> str:
    if isinstance(error, ClosedError):
        return "closing"
    if isinstance(error, LateError | CapacityError):
        return "late"  # the thread hangs, or still hangs
    # Without its text, which may quote what was said.
    places = "".join(traceback.format_tb(error.__traceback__))
    _LOG.error("an exchange was not captured: %s\n%s", type(error).__name__, places)
    return "failed"


def _nothing() -> None:
    """The last job of the thread."""
