"""Waiting with an end: deadlines on an injected clock, and a bounded line of callers.

Every decision is a synchronous step, so nothing can happen in the middle of one.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from fairlead.core.clock import Clock
from fairlead.core.tasks import TaskOwner

T = TypeVar("T")

NEVER = float("inf")
_FEW = 64
"""Cancelled deadlines that are not worth tidying up for."""


class Deadline:
    """A moment of a `Deadlines`; `passed` once it has come without having been cancelled."""

    __slots__ = ("_owner", "passed", "ring")

    def __init__(self, ring: Callable[[], None], owner: Deadlines) -> None:
        self.ring: Callable[[], None] | None = ring
        """What is called then; None once it was called or is not wanted any more."""
        self.passed = False
        self._owner = owner

    def cancel(self) -> None:
        """Do not call it; harmless where that has happened."""
        if self.ring is not None:
            self.ring = None
            self._owner.note_cancelled()


class Deadlines:
    """Calls functions when their time has come: one task sleeps until the next of them.

    The task is one of `tasks`, and there is none while nothing is to come. What is called must be
    short and must not raise.
    """

    def __init__(self, clock: Clock, tasks: TaskOwner, name: str) -> None:
        """`name` is the sleeping task's."""
        self._clock = clock
        self._tasks = tasks
        self._name = name
        self._order = itertools.count()
        self._heap: list[tuple[float, int, Deadline]] = []
        self._cancelled = 0
        self._wakes = NEVER
        self._sleeper: asyncio.Task[None] | None = None

    def at(self, when: float, ring: Callable[[], None]) -> Deadline:
        """Have `ring()` called at `when` (monotonic seconds); in time order, then in this one."""
        deadline = Deadline(ring, self)
        if when < NEVER:
            heapq.heappush(self._heap, (when, next(self._order), deadline))
            self._arm()
        return deadline

    def note_cancelled(self) -> None:
        """One deadline more is without meaning; a heap that is mostly such is made anew."""
        self._cancelled += 1
        if self._cancelled > _FEW and self._cancelled > len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if entry[2].ring is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def _arm(self) -> None:
        when = self._next()
        # It may wake early enough as it is; once the owner is closed nothing rings any more.
        if when >= self._wakes or not self._tasks.is_open:
            return
        if self._sleeper is not None:
            self._sleeper.cancel()
        self._wakes = when
        self._sleeper = self._tasks.spawn(self._sleep(when), self._name)

    def _next(self) -> float:
        while self._heap and self._heap[0][2].ring is None:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else NEVER

    async def _sleep(self, when: float) -> None:
        await self._clock.sleep(when - self._clock.monotonic())
        # From here to the end without an await: nobody can cancel it half done.
        self._sleeper, self._wakes = None, NEVER
        now = self._clock.monotonic()
        while self._next() <= now:
            _, _, deadline = heapq.heappop(self._heap)
            ring, deadline.ring, deadline.passed = deadline.ring, None, True
            if ring is not None:
                ring()
        self._arm()

    def __len__(self) -> int:
        return len(self._heap)


class Turn(Generic[T]):
    """One caller's place in a `Line`."""

    __slots__ = ("future",)

    def __init__(self) -> None:
        self.future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    @property
    def was_given(self) -> bool:
        """Something has been handed over."""
        future = self.future
        return future.done() and not future.cancelled() and future.exception() is None

    def offer(self, item: T) -> bool:
        """Hand `item` over; False where the caller has gone away and cannot take it."""
        if self.future.done():
            return False
        self.future.set_result(item)
        return True

    def refuse(self, error: Exception) -> bool:
        """Send the caller away with `error`; False where it has been served or has gone."""
        if self.future.done():
            return False
        self.future.set_exception(error)
        return True


class Line(Generic[T]):
    """Callers that wait for a `T`, first come first served; how many is for the owner to bound."""

    def __init__(self, give_back: Callable[[T], None]) -> None:
        """`give_back(item)` gets what was handed to a caller that was cancelled meanwhile."""
        self._give_back = give_back
        self._turns: OrderedDict[Turn[T], None] = OrderedDict()

    def join(self) -> Turn[T]:
        """A place at the end; whoever joins must `wait`."""
        turn: Turn[T] = Turn()
        self._turns[turn] = None
        return turn

    async def wait(self, turn: Turn[T]) -> T:
        """What is handed over; raises what the turn is refused with.

        A caller that is cancelled loses nothing: what it was handed goes to `give_back`.
        """
        try:
            return await turn.future
        except BaseException:
            # Cancelled in the moment between the hand-off and waking up: it goes on to the next.
            if turn.was_given:
                self._give_back(turn.future.result())
            raise
        finally:
            self._turns.pop(turn, None)

    def hand_off(self, item: T) -> bool:
        """Give `item` to the first that can take it; False where there is none."""
        while self._turns:
            turn, _ = self._turns.popitem(last=False)
            if turn.offer(item):
                return True
        return False

    def refuse_all(self, error: Callable[[], Exception]) -> None:
        """Send everybody away, each with an `error()` of its own."""
        while self._turns:
            turn, _ = self._turns.popitem(last=False)
            turn.refuse(error())

    def __len__(self) -> int:
        return len(self._turns)
