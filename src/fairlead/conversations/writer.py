"""`BatchedThreadWriter`: many writes, few transactions, and nothing that was accepted gets lost.

Every decision is a synchronous step; one task at a time commits. What is accepted leaves the
backlog only when it is written, refused by the rules, put aside as a dead letter, or withdrawn for
its waiter, who is told.

The file is longer than most: its steps share one state, and each is only right beside the others.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from fairlead.conversations.backlog import Backlog, Entry, Place
from fairlead.conversations.base import Outcome
from fairlead.conversations.letters import brief, dead_letter
from fairlead.conversations.options import WriterOptions, WriterStatistics
from fairlead.conversations.priority import URGENT, RecentThreads
from fairlead.conversations.records import DeadLetter, Operation, Written
from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.lifecycle import Resource
from fairlead.core.retry import full_jitter
from fairlead.core.tasks import TaskOwner, attempt, log_failure
from fairlead.core.waiting import Deadline, Deadlines, Turn
from fairlead.errors import (
    CapacityError,
    ClosedError,
    RequestError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)

TRIES_ALONE = 2
"""An operation that failed this often alone, on a store that is there, is a dead letter."""

DEFAULT_OPTIONS = WriterOptions()
_COUNTED = (
    *("operations", "batches", "joined", "messages", "retries", "refused", "turned_away"),
    *("withdrawn", "dead_letters", "left"),
)
_LOG = logging.getLogger("fairlead")


class WritableStore(Protocol):
    """What the writer asks of a store: the same as in `base.ThreadStore` and `base.ThreadLog`."""

    async def apply(
        self, operations: Sequence[Operation], *, retry: bool = False
    ) -> Sequence[Outcome]:
        """Write all of them in one transaction, in order; an outcome for each, after COMMIT."""
        ...

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Keep operations that could not be written."""
        ...


class BatchedThreadWriter(Resource):
    """Writes operations to a store in batches, in the order in which they came (group commit).

    >>> import asyncio
    >>> from fairlead import MemoryThreadStore, Viewer
    >>> from fairlead.conversations.records import Create
    >>> from fairlead.core.ids import uuid7
    >>> async def main():
    ...     ann = Viewer("acme", "ann")
    ...     new = lambda: Create(id=str(uuid7()), thread=str(uuid7()), viewer=ann, time=0)
    ...     async with MemoryThreadStore() as store, BatchedThreadWriter(store) as writer:
    ...         await asyncio.gather(*(writer.write(new()) for _ in range(40)))
    ...         return writer.statistics()
    >>> statistics = asyncio.run(main())
    >>> statistics.operations, statistics.batches
    (40, 1)

    `write` begins a transaction as soon as none is running; whatever has come meanwhile goes along.
    What is `enqueue`d waits for that, for a full batch, for the timer, or is pressing by itself
    (an active thread that is shared or long). A transaction that fails goes back to the front and
    is tried again after a random pause. The store is the caller's: open before, closed after.
    """

    def __init__(
        self,
        store: WritableStore,
        *,
        options: WriterOptions = DEFAULT_OPTIONS,
        clock: Clock = SYSTEM_CLOCK,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """`uniform(low, high)` draws the pauses between tries."""
        self.options = options
        self._store = store
        self._clock = clock
        self._uniform = uniform
        self._backlog = Backlog(options)
        self._recent = RecentThreads()
        self._tasks = TaskOwner(log_failure)
        self._deadlines = Deadlines(clock, self._tasks, "thread writer: deadlines")
        self._counts: Counter[str] = Counter()
        self._work: asyncio.Task[None] | None = None
        self._pause: Deadline | None = None
        self._timer: Deadline | None = None
        self._failed_in_row = 0
        self._full, self._available, self._last_error = False, True, ""
        self._flushes: dict[asyncio.Future[None], int] = {}
        self._room, self._empty = asyncio.Event(), asyncio.Event()
        self._was_closed = False

    # ---- for callers

    async def write(self, operation: Operation) -> Written:
        """Write `operation`; returns after COMMIT.

        Raises what the rules refuse it with (`RequestError`); `StorageFullError`: this call has
        stored nothing; `StorageUnavailableError` after `write_timeout`, whose text says whether it
        may be stored (the same operation may then be written again); `StorageError`: it cannot be
        written and is a dead letter; `CapacityError`: there was no room for it. Cancelled, it is
        withdrawn unless its transaction has begun.
        """
        self.check_open()
        now = self._clock.monotonic()
        entry = Entry(operation, now, urgent=True, turn=Turn())
        if not self._backlog.enter(entry):
            self._join(entry)
        if self._full:
            # One try for whoever comes shows whether there is room again.
            self._stop_pausing()
        expire = partial(self._expire, entry)
        limit = self._deadlines.at(now + self.options.write_timeout, expire)
        self._kick()
        assert entry.turn is not None  # noqa: S101 - narrows: it was given above
        try:
            return await entry.turn.future
        finally:
            limit.cancel()
            self._withdraw(entry)

    def enqueue(self, operation: Operation) -> None:
        """Accept `operation`, to be written soon; for what nobody waits for.

        Raises `CapacityError` where there is no room (`room` waits for some). An operation that the
        rules refuse is logged and counted.
        """
        self.check_open()
        urgent = self._recent.priority(operation) >= URGENT
        entry = Entry(operation, self._clock.monotonic(), urgent=urgent)
        if not self._backlog.enter(entry):
            self._counts["turned_away"] += 1
            raise CapacityError(f"{self._backlog.count} operations wait to be written already")
        self._kick()

    async def room(self) -> None:
        """Return when `enqueue` has room; raises `ClosedError` where it is closed meanwhile."""
        self.check_open()
        while not self._backlog.has_room:
            self._room.clear()
            await self._room.wait()
            self.check_open()

    async def flush(self) -> None:
        """Write everything accepted until now at once; returns when nothing of it is waiting.

        What comes later does not delay it. It lasts as long as the store fails: bound it with
        `asyncio.timeout`.
        """
        self.check_open()
        last = self._backlog.generations.end()
        if self._backlog.generations.oldest > last:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flushes[done] = last
        self._kick()
        try:
            await done
        finally:
            self._flushes.pop(done, None)

    def statistics(self) -> WriterStatistics:
        """What it holds now, and what it has done."""
        oldest = self._backlog.oldest
        return WriterStatistics(
            waiting=self._backlog.count,
            waiting_bytes=self._backlog.bytes,
            in_line=self._backlog.in_line,
            oldest_age=self._clock.monotonic() - oldest.since if oldest else 0.0,
            full=self._full,
            available=self._available,
            last_error=self._last_error,
            **{name: self._counts[name] for name in _COUNTED},
        )

    # ---- opening and closing

    async def _open(self) -> None:
        if self._was_closed:
            raise ClosedError("this writer was closed: make a new one")
        await self._tasks.open()

    async def _close(self) -> None:
        self._was_closed = True
        self._room.set()
        self._stop_pausing()
        limit = self._after(self.options.close_timeout, self._empty.set)
        self._kick()
        self._tell()
        try:
            await self._empty.wait()
        finally:
            limit.cancel()
            await self._tasks.close()
            self._abandon()

    def _abandon(self) -> None:
        """Nothing is written any more: say so, of all that is left."""
        left = self._backlog.everything()
        for entry in left:
            text = "the node is closing"
            self._answer(entry, StorageUnavailableError(self._explain(entry, text)))
            self._backlog.finish(entry)
        for done in self._flushes:
            if not done.done():
                done.set_exception(StorageUnavailableError("closed before everything was written"))
        if left:
            self._counts["left"] += len(left)
            _LOG.error("closed with %d operations not written: %s", len(left), self._last_error)

    # ---- when to write

    def _kick(self) -> None:
        """Begin a transaction if one is due, else see to it that it begins in time."""
        if self._work is not None or not self._tasks.is_open:
            return
        if self._is_due():
            self._work = self._tasks.spawn(self._drain(), "thread writer: commit")
        elif self._pause is None and self._timer is None and (first := self._backlog.first):
            when = first.since + self.options.flush_interval
            self._timer = self._deadlines.at(when, self._ring)

    def _is_due(self) -> bool:
        first = self._backlog.first
        if first is None or self._pause is not None:
            return False
        return (
            self._backlog.urgent > 0
            or self._backlog.queued >= self.options.batch_size
            or first.since + self.options.flush_interval <= self._clock.monotonic()
            or self._backlog.in_line > 0
            or bool(self._flushes)
            or not self.is_open
        )

    def _ring(self) -> None:
        self._timer = None
        self._kick()

    async def _drain(self) -> None:
        try:
            while self._is_due():
                await self._commit(self._backlog.take(self.options.batch_size))
                # Callers that were answered just now come back with their next write: it shares
                # the next transaction with what came during this one.
                await asyncio.sleep(0)
        finally:
            for entry in self._backlog.running():
                entry.is_unsure = True
            self._backlog.restore()
            self._work = None
        self._kick()

    # ---- a transaction

    async def _commit(self, batch: list[Entry]) -> None:
        """Write `batch`; where it fails by itself, halve it until what is wrong stands alone."""
        parts = deque([batch])
        while parts:
            part = parts.popleft()
            outcomes, error = await attempt(self._apply(part))
            if error is None:
                self._settle(part, outcomes or ())
            elif isinstance(error, StorageFullError | StorageUnavailableError | ClosedError):
                self._hold(part, error)
                return
            elif len(part) > 1:
                middle = len(part) // 2
                parts.extendleft([part[middle:], part[:middle]])
            elif not self._is_hopeless(part[0], error):
                # Before everything behind it, which may be about the same thread.
                parts.appendleft(part)
            elif not await self._bury(part[0], error):
                return

    async def _apply(self, part: list[Entry]) -> Sequence[Outcome]:
        retry = any(entry.was_tried for entry in part)
        self._counts["retries"] += retry
        for entry in part:
            entry.was_tried = True
        return await self._store.apply([entry.operation for entry in part], retry=retry)

    def _settle(self, part: list[Entry], outcomes: Sequence[Outcome]) -> None:
        threads = set()
        for entry, outcome in zip(part, outcomes, strict=True):
            if isinstance(outcome, Written):
                threads.add(outcome.head.id)
                self._acknowledge(entry, outcome)
            else:
                self._refuse(entry, outcome)
            self._backlog.finish(entry)
        written = sum(isinstance(outcome, Written) for outcome in outcomes)
        self._counts["batches"] += 1
        self._counts["joined"] += written - len(threads)
        self._recovered()
        self._tell()

    def _acknowledge(self, entry: Entry, written: Written) -> None:
        self._counts["operations"] += 1
        self._counts["messages"] += len(written.messages)
        self._recent.note(written.head)
        if entry.turn is not None:
            entry.turn.offer(written)

    def _refuse(self, entry: Entry, error: RequestError) -> None:
        self._counts["refused"] += 1
        if entry.turn is None:
            _LOG.warning("a write to thread %s was refused: %s", entry.operation.thread, error)
        self._answer(entry, error)

    def _is_hopeless(self, entry: Entry, error: Exception) -> bool:
        entry.failures += 1
        self._last_error = brief(error)
        return entry.failures >= TRIES_ALONE

    async def _bury(self, entry: Entry, error: Exception) -> bool:
        """Make a dead letter of `entry`; False where the store does not take it."""
        operation = entry.operation
        letter = dead_letter(operation, error, int(self._clock.time() * 1000))
        _, failure = await attempt(self._store.bury([letter]))
        if failure is not None:
            # A store that takes no dead letter takes nothing: the operation is not what is wrong.
            self._hold([], failure)
            return False
        self._counts["dead_letters"] += 1
        text = f"it cannot be written and was put aside as dead letter {letter.id}: {brief(error)}"
        _LOG.error("a write to thread %s: %s", operation.thread, text)
        self._answer(entry, StorageError(text))
        self._backlog.finish(entry)
        self._tell()
        return True

    # ---- failure and recovery

    def _hold(self, part: list[Entry], error: Exception) -> None:
        """Keep everything and pause: the store is full or away."""
        self._full = isinstance(error, StorageFullError)
        self._available = self._full
        self._last_error = brief(error)
        for entry in part:
            entry.is_unsure = entry.is_unsure or not self._full
        self._backlog.restore()
        if self._full:
            # A full disk is said at once, and 507 always means that nothing is stored. Where an
            # earlier try may have been committed that cannot be said: it is tried again.
            for entry in self._backlog.awaited():
                if not entry.is_unsure:
                    self._answer(entry, StorageFullError())
                    self._withdraw(entry)
        for entry in self._backlog.awaited():
            if entry.is_abandoned:
                self._withdraw(entry)
        if not self._failed_in_row:
            _LOG.warning("conversations are not written for now: %s", self._last_error)
        options = self.options
        seconds = full_jitter(
            self._failed_in_row, options.retry_base, options.retry_cap, self._uniform
        )
        self._failed_in_row += 1
        self._pause = self._after(seconds, self._try_again)
        self._tell()

    def _try_again(self) -> None:
        self._pause = None
        self._kick()

    def _stop_pausing(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    def _recovered(self) -> None:
        if self._failed_in_row:
            _LOG.info("conversations are written again")
        self._failed_in_row, self._full, self._available = 0, False, True

    # ---- waiters

    def _join(self, entry: Entry) -> None:
        try:
            self._backlog.join(entry)
        except CapacityError:
            self._counts["turned_away"] += 1
            raise

    def _expire(self, entry: Entry) -> None:
        seconds = self.options.write_timeout
        if entry.place is Place.IN_LINE:
            self._counts["turned_away"] += 1
            self._answer(entry, CapacityError(f"there was no room for it within {seconds:g} s"))
        else:
            text = f"not written within {seconds:g} s"
            self._answer(entry, StorageUnavailableError(self._explain(entry, text)))
        self._withdraw(entry)

    def _explain(self, entry: Entry, text: str) -> str:
        if self._last_error and not self._available:
            text += f" ({self._last_error})"
        if entry.is_unsure or entry.place is Place.RUNNING:
            return f"{text}; it may have been stored: the same operation may be written again"
        return f"{text}; it is not stored"

    def _withdraw(self, entry: Entry) -> None:
        """Take back what nobody waits for any more, unless its transaction has begun."""
        if entry.place in {Place.IN_LINE, Place.QUEUED}:
            self._counts["withdrawn"] += 1
            self._backlog.finish(entry)
            self._tell()

    def _answer(self, entry: Entry, error: Exception) -> None:
        if entry.turn is not None:
            entry.turn.refuse(error)

    def _tell(self) -> None:
        """The backlog has become smaller: tell those who wait for that."""
        backlog = self._backlog
        backlog.admit(self._clock.monotonic())
        oldest = backlog.generations.oldest
        for done, last in list(self._flushes.items()):
            if last < oldest:
                del self._flushes[done]
                if not done.done():
                    done.set_result(None)
        if backlog.has_room:
            self._room.set()
        if backlog.is_empty and not self.is_open:
            self._empty.set()
        self._kick()

    def _after(self, seconds: float, ring: Callable[[], None]) -> Deadline:
        return self._deadlines.at(self._clock.monotonic() + seconds, ring)

    def __repr__(self) -> str:
        state = "open" if self.is_open else "closed"
        return f"<BatchedThreadWriter {state}, {self._backlog!r}>"
