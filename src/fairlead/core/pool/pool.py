"""`ResourcePool`: a bounded number of costly things, lent to one caller at a time.

Every decision is a synchronous step; what takes time (creating, validating, disposing) runs in
tasks of the pool, so a caller that goes away breaks nothing off. A slot is free only when the task
or the caller that occupies it is gone: a creation that ignores its deadline goes on to count. While
somebody waits in line, nothing that could serve them is idle without cause, and newcomers go to the
end of the line: nobody is overtaken.

The file is longer than most: its steps share one state, and each is only right beside the others.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Generic, TypeVar

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.lifecycle import Resource
from fairlead.core.pool.options import PoolOptions, PoolStatistics
from fairlead.core.pool.slots import Slot, Slots, State
from fairlead.core.pool.work import Outcome, Piece, Work
from fairlead.core.retry import full_jitter
from fairlead.core.tasks import TaskOwner, log_failure
from fairlead.core.waiting import Deadline, Deadlines, Line, Turn
from fairlead.errors import ClosedError, PoolFullError, PoolTimeoutError

T = TypeVar("T")

RETRY_BASE, RETRY_CAP = 0.1, 5.0
"""Seconds before a failed creation is tried again: full jitter between 0 and these."""
LIFETIME_JITTER = 0.1
"""Resources made together do not all end together: their lifetimes differ by this part of it."""

_DEFAULTS = PoolOptions()
_COUNTED = (
    *("waited", "handed_out", "created", "disposed", "broken"),
    *("timeouts", "refused", "create_failures", "dispose_failures"),
)


class ResourcePool(Resource, Generic[T]):
    """Keeps between `min_size` and `max_size` resources; belongs to one event loop.

    >>> import asyncio
    >>> async def main():
    ...     async def create():
    ...         return {"a connection"}
    ...     async def dispose(connection):
    ...         connection.clear()
    ...     async with ResourcePool(create, dispose, options=PoolOptions(min_size=1)) as pool:
    ...         async with pool.using() as connection:
    ...             return len(connection)
    >>> asyncio.run(main())
    1

    The most recently used resource is handed out first. A failed creation is tried again, after
    growing pauses, while somebody waits or fewer than `min_size` are there. `open` does not wait
    for the first resources. `close` turns those in line away, disposes of what is idle, and waits
    for what is in use up to `close_timeout`; what comes back later is disposed of then. A pool that
    was closed cannot be opened again.
    """

    def __init__(
        self,
        create: Callable[[], Awaitable[T]],
        dispose: Callable[[T], Awaitable[None]],
        *,
        validate: Callable[[T], Awaitable[bool]] | None = None,
        options: PoolOptions = _DEFAULTS,
        name: str = "pool",
        clock: Clock = SYSTEM_CLOCK,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """`create()` returns a new object each time. Where `validate(resource)` is False or raises,
        the pool replaces the resource. `uniform(low, high)` draws all jitter.
        """
        self.name = name
        self.options = options
        self._create, self._dispose, self._validate = create, dispose, validate
        self._clock = clock
        self._uniform = uniform
        self._tasks = TaskOwner(log_failure)
        self._deadlines = Deadlines(clock, self._tasks, f"{name}: deadlines")
        self._work: Work[T] = Work(name, clock, self._tasks, self._deadlines)
        self._slots: Slots[T] = Slots()
        self._line: Line[Slot[T]] = Line(self._give)
        self._counts: Counter[str] = Counter()
        self._generation = 0
        self._failed_in_row = 0
        self._last_error: BaseException | None = None
        self._retry: Deadline | None = None
        self._shrink: Deadline | None = None
        # From the first step of opening to the first of closing; `is_open` begins only after it.
        self._serving = self._was_closed = False
        self._empty = asyncio.Event()

    # ---- for callers

    async def acquire(self, timeout: float | None = None) -> T:
        """A resource of the caller's own until `release`; waits up to `timeout` seconds.

        Without one the options' `acquire_timeout` counts. Raises `PoolTimeoutError` (its cause is
        what kept the pool from creating one, if anything did), `PoolFullError` where the line is
        full, `ClosedError`. Cancelled, it leaves nothing behind.
        """
        self.check_open()
        slot = self._slots.most_recent
        if slot is None or self._line or not self._is_fit(slot) or self._wants_validation(slot):
            slot = await self._wait_in_line(timeout)
        else:
            self._lend(slot)
        return slot.resource

    def release(self, resource: T, *, broken: bool = False) -> None:
        """Give a resource back, also after `close`; one that is `broken` is replaced.

        Synchronous, so that it is safe in `finally`. Raises `ValueError` where it is not in use.
        """
        self._take_back(resource, broken=broken, suspect=False)

    @asynccontextmanager
    async def using(self, timeout: float | None = None) -> AsyncIterator[T]:
        """A block (`async with`) with a resource: `acquire` and `release`.

        Where the block raises or is cancelled, the resource is validated before anyone else gets
        it; a pool without `validate` replaces it, because nothing can tell what state it is in.
        """
        resource = await self.acquire(timeout)
        sound = False
        try:
            yield resource
            sound = True
        finally:
            self._take_back(resource, broken=False, suspect=not sound)

    def renew(self) -> None:
        """Replace every resource that is there now: idle ones at once, others when they come back.

        For when what they are connected to is no longer what it was.
        """
        self._generation += 1
        while (slot := self._slots.most_recent) is not None:
            self._retire(slot)
        self._stop_retrying()
        self._failed_in_row = 0
        self._supply()

    def statistics(self) -> PoolStatistics:
        """What it holds now."""
        return PoolStatistics(
            name=self.name,
            min_size=self.options.min_size,
            max_size=self.options.max_size,
            size=len(self._slots),
            waiting=len(self._line),
            **self._slots.by_state(),
            **{name: self._counts[name] for name in _COUNTED},
        )

    # ---- opening and closing

    async def _open(self) -> None:
        if self._was_closed:
            raise ClosedError(f"pool {self.name!r} was closed: make a new one")
        await self._tasks.open()
        self._serving = True
        self._supply()

    async def _close(self) -> None:
        self._serving, self._was_closed = False, True
        self._line.refuse_all(lambda: ClosedError(f"pool {self.name!r} was closed"))
        self._stop_retrying()
        if self._shrink is not None:
            self._shrink.cancel()
        for slot in self._slots:
            if slot.state is State.IDLE:
                self._retire(slot)
            elif slot.state in {State.CREATING, State.VALIDATING}:
                self._work.stop(slot)
        if not self._slots:
            self._empty.set()
        await self._wait_for_the_end()

    async def _wait_for_the_end(self) -> None:
        # A task of its own: it also ends the pool's tasks where the last resource comes back late,
        # or where `close` is cancelled.
        end = self._tasks.spawn(self._end(), f"{self.name}: end")
        over = asyncio.Event()
        end.add_done_callback(lambda _: over.set())
        limit = self._after(self.options.close_timeout, over.set)
        await over.wait()
        limit.cancel()
        if self._slots:
            logging.getLogger("fairlead").warning("closed with something left over: %r", self)

    async def _end(self) -> None:
        try:
            await self._empty.wait()
        finally:
            await self._tasks.close()

    # ---- handing out and taking back

    async def _wait_in_line(self, timeout: float | None) -> Slot[T]:
        if len(self._line) >= self.options.max_waiting:
            self._counts["refused"] += 1
            raise PoolFullError(f"pool {self.name!r}: {len(self._line)} callers wait already")
        self._counts["waited"] += 1
        seconds = self.options.acquire_timeout if timeout is None else timeout
        turn = self._line.join()
        limit = self._after(seconds, partial(self._give_up, turn, seconds))
        self._supply()
        try:
            return await self._line.wait(turn)
        finally:
            limit.cancel()

    def _give_up(self, turn: Turn[Slot[T]], seconds: float) -> None:
        text = f"pool {self.name!r}: none of {self.options.max_size} became free in {seconds:g} s"
        cause = self._last_error
        if cause is not None:
            text += f"; the last creation failed: {type(cause).__name__}: {cause}"
        error = PoolTimeoutError(text)
        error.__cause__ = cause
        if turn.refuse(error):
            self._counts["timeouts"] += 1

    def _take_back(self, resource: T, *, broken: bool, suspect: bool) -> None:
        slot = self._slots.find(resource)
        if slot is None:
            raise ValueError(f"{resource!r} is none of pool {self.name!r}, or not any more")
        if slot.state is not State.IN_USE:
            raise ValueError(f"{resource!r} was given back to pool {self.name!r} twice")
        slot.used = self._clock.monotonic()
        if broken or (suspect and self._validate is None):
            self._counts["broken"] += 1
            self._retire(slot)
        elif suspect and self._is_fit(slot):
            self._start_validation(slot)
        else:
            self._give(slot)
        self._supply()

    def _give(self, slot: Slot[T]) -> None:
        """A resource that nobody uses goes to the first in line, validated first if need be."""
        if self._line and self._is_fit(slot) and self._wants_validation(slot):
            self._start_validation(slot)
        else:
            self._give_valid(slot)

    def _give_valid(self, slot: Slot[T]) -> None:
        if not self._is_fit(slot):
            self._retire(slot)
        elif self._line.hand_off(slot):
            self._lend(slot)
        else:
            self._slots.move(slot, State.IDLE)
            self._shrink_later()

    def _lend(self, slot: Slot[T]) -> None:
        self._slots.move(slot, State.IN_USE)
        self._counts["handed_out"] += 1

    def _is_fit(self, slot: Slot[T]) -> bool:
        return (
            self._serving
            and slot.generation == self._generation
            and self._clock.monotonic() < slot.expires
        )

    def _wants_validation(self, slot: Slot[T]) -> bool:
        if self._validate is None:
            return False
        return self._clock.monotonic() - slot.used >= self.options.validate_after

    # ---- supply and creation

    def _supply(self) -> None:
        """Start what the line and `min_size` ask for, as far as there is room."""
        slots = self._slots
        while len(self._line) > slots.coming and (slot := slots.most_recent) is not None:
            self._give(slot)
        while self._may_create() and (
            len(self._line) > slots.coming or slots.alive < self.options.min_size
        ):
            slot = Slot(self._generation)
            slots.add(slot)
            done = partial(self._created, slot)
            self._start(slot, self._create, self.options.create_timeout, done)

    def _may_create(self) -> bool:
        if not self._serving or self._retry is not None:
            return False
        # While creation fails, one at a time shows whether it works again.
        probing = self._failed_in_row > 0 and self._slots.count(State.CREATING) > 0
        return not probing and len(self._slots) < self.options.max_size

    def _created(self, slot: Slot[T], outcome: Outcome) -> None:
        error = outcome.error
        if error is None and self._slots.find(outcome.value) is not None:
            error = ValueError("it returned a resource that the pool has already")
        if error is not None:
            # A late one was counted when its time was over, and one that is stopped is no failure.
            if self._serving and not outcome.overdue:
                self._note_failure(error)
            self._free(slot)
            return
        self._counts["created"] += 1
        self._adopt(slot, outcome.value)
        if outcome.overdue:
            # Its cancellation came to nothing; what state that has left it in, nobody knows.
            self._retire(slot)
            return
        self._failed_in_row, self._last_error = 0, None
        self._give_valid(slot)
        self._supply()

    def _adopt(self, slot: Slot[T], resource: T) -> None:
        self._slots.fill(slot, resource)
        jitter = self._uniform(1 - LIFETIME_JITTER, 1 + LIFETIME_JITTER)
        slot.used = self._clock.monotonic()
        slot.expires = slot.used + self.options.max_lifetime * jitter
        slot.lifetime = self._deadlines.at(slot.expires, partial(self._expire, slot))

    def _note_failure(self, error: BaseException) -> None:
        self._counts["create_failures"] += 1
        self._last_error = error
        if not self._failed_in_row:
            log_failure(f"{self.name}: creating", error)
        if self._retry is None:
            pause = full_jitter(self._failed_in_row, RETRY_BASE, RETRY_CAP, self._uniform)
            self._failed_in_row += 1
            self._retry = self._after(pause, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self._supply()

    def _stop_retrying(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    # ---- validating, disposing

    def _start_validation(self, slot: Slot[T]) -> None:
        assert self._validate is not None  # noqa: S101 - narrows: without it nothing is validated
        self._slots.move(slot, State.VALIDATING)
        check = partial(self._validate, slot.resource)
        self._start(slot, check, self.options.validate_timeout, partial(self._validated, slot))

    def _validated(self, slot: Slot[T], outcome: Outcome) -> None:
        if outcome.value and outcome.error is None and not outcome.overdue:
            slot.used = self._clock.monotonic()
            self._give_valid(slot)
        else:
            # One that was stopped by `close` has not been found to be bad.
            self._counts["broken"] += self._serving
            self._retire(slot)
        self._supply()

    def _retire(self, slot: Slot[T]) -> None:
        """Dispose of a resource; its slot is free when that has ended."""
        self._slots.retire(slot)
        slot.lifetime.cancel()
        done = partial(self._disposed, slot)
        if not self._tasks.is_open:
            # The event loop is ending: there is nobody left to do it.
            done(Outcome(None, ClosedError("it came back too late"), overdue=False))
            return
        dispose = partial(self._dispose, slot.resource)
        self._start(slot, dispose, self.options.dispose_timeout, done)

    def _disposed(self, slot: Slot[T], outcome: Outcome) -> None:
        if outcome.error is None:
            self._counts["disposed"] += 1
        else:
            self._counts["dispose_failures"] += 1
            log_failure(f"{self.name}: disposing", outcome.error)
        self._free(slot)

    def _free(self, slot: Slot[T]) -> None:
        self._slots.remove(slot)
        self._supply()
        if not self._serving and not self._slots:
            self._empty.set()

    def _start(
        self,
        slot: Slot[T],
        function: Callable[[], Awaitable[object]],
        timeout: float,
        then: Callable[[Outcome], None],
    ) -> None:
        overdue = partial(self._overdue, slot, timeout)
        self._work.start(slot, Piece(function, timeout, then, overdue))

    def _overdue(self, slot: Slot[T], timeout: float) -> None:
        if slot.state is State.CREATING and self._serving:
            self._note_failure(TimeoutError(f"it took longer than {timeout:g} s"))
        self._slots.move(slot, State.STUCK)
        self._supply()

    # ---- time

    def _after(self, seconds: float, ring: Callable[[], None]) -> Deadline:
        return self._deadlines.at(self._clock.monotonic() + seconds, ring)

    def _expire(self, slot: Slot[T]) -> None:
        if slot.state is State.IDLE:
            self._retire(slot)
            self._supply()

    def _shrink_later(self) -> None:
        oldest = self._slots.least_recent
        if self._shrink is None and oldest and self._slots.alive > self.options.min_size:
            when = oldest.used + self.options.max_idle
            self._shrink = self._deadlines.at(when, self._shrink_now)

    def _shrink_now(self) -> None:
        self._shrink = None
        now = self._clock.monotonic()
        while (slot := self._slots.least_recent) and self._slots.alive > self.options.min_size:
            if slot.used + self.options.max_idle > now:
                break
            self._retire(slot)
        self._shrink_later()

    def __repr__(self) -> str:
        state = "open" if self.is_open else "closed"
        return (
            f"<ResourcePool {self.name} {state}, at most {self.options.max_size}, "
            f"{self._slots!r}, {len(self._line)} waiting>"
        )
