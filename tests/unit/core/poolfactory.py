"""What pools of the tests are made of: resources that are counted, gated and made to fail."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable

from fairlead.core.pool import PoolOptions, ResourcePool
from fairlead.testing import ManualClock


class Time(ManualClock):
    """A manual clock that waits until those who are about to look at it have done so."""

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass once everything has settled."""
        await settle()
        await super().advance(seconds)
        await settle()


class Thing:
    """A resource with a number; `sound` is what its validation says."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.sound = True

    def __repr__(self) -> str:
        return f"<Thing {self.number}>"


Step = Callable[[], Awaitable[None]]


async def at_once() -> None:
    """The step that most things take: none."""


class Factory:
    """Creates, validates and disposes of things; a step may be replaced to wait or to fail."""

    def __init__(self) -> None:
        self.creating: Step = at_once
        self.validating: Step = at_once
        self.disposing: Step = at_once
        self.calls: Counter[str] = Counter()
        self.made: list[Thing] = []
        self.alive: set[Thing] = set()
        self.disposed: list[Thing] = []
        self.occupied = self.most = 0
        """Things and creations that exist at once: now, and at most so far."""

    async def create(self) -> Thing:
        self.calls["create"] += 1
        self.occupied += 1
        self.most = max(self.most, self.occupied)
        try:
            await self.creating()
        except BaseException:
            self.occupied -= 1
            raise
        thing = Thing(len(self.made))
        self.made.append(thing)
        self.alive.add(thing)
        return thing

    async def validate(self, thing: Thing) -> bool:
        self.calls["validate"] += 1
        await self.validating()
        return thing.sound

    async def dispose(self, thing: Thing) -> None:
        self.calls["dispose"] += 1
        try:
            await self.disposing()
        finally:
            self.alive.remove(thing)
            self.disposed.append(thing)
            self.occupied -= 1

    def pool(
        self, clock: ManualClock, *, validated: bool = False, **options: float
    ) -> ResourcePool[Thing]:
        """A pool of them, not yet open, without jitter; `min_size` is 0 unless given."""
        return ResourcePool(
            self.create,
            self.dispose,
            validate=self.validate if validated else None,
            options=PoolOptions(**({"min_size": 0, "max_size": 2} | options)),  # type: ignore[arg-type]
            name="things",
            clock=clock,
            uniform=lambda low, high: (low + high) / 2,
        )


class Gate:
    """A step that waits until it is opened, or fails when told to."""

    def __init__(self) -> None:
        self.waiting = 0
        self._open = asyncio.Event()
        self._error: Exception | None = None

    async def __call__(self) -> None:
        self.waiting += 1
        try:
            await self._open.wait()
        finally:
            self.waiting -= 1
        if self._error is not None:
            raise self._error

    def open(self, error: Exception | None = None) -> None:
        """Let those that wait, and all that come, go on (or fail)."""
        self._error = error
        self._open.set()


class DeafGate(Gate):
    """A step that takes no notice of being cancelled, like one in a thread."""

    async def __call__(self) -> None:
        self.waiting += 1
        loop = asyncio.get_running_loop()
        # Not for ever: a test that has failed must end, too.
        end = loop.call_later(5, self.open)
        while not self._open.is_set():
            with contextlib.suppress(asyncio.CancelledError):  # that is what it is for
                await self._open.wait()
        end.cancel()
        self.waiting -= 1


def failing(error: Exception) -> Step:
    """A step that always fails."""

    async def step() -> None:
        raise error

    return step


async def settle() -> None:
    """Let everything run that waits for nothing but its turn."""
    for _ in range(25):
        await asyncio.sleep(0)
