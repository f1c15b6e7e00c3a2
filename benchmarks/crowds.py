"""Heavy and light users before one server, in virtual time or in real time alike."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from fairlead.core.clock import Clock

Kind = Literal["heavy", "light"]


@dataclass(frozen=True)
class Crowd:
    """`heavy` flows keep `tasks` tasks each going all the time; `light` ones have one at a time.

    `think` is how long a light flow waits on average between two tasks (exponentially
    distributed), in service times.
    """

    heavy: int
    light: int
    tasks: int = 8
    think: float = 10.0


@dataclass
class Waits:
    """What the tasks of each kind have met: waits, and times to the end, in service times."""

    waits: dict[Kind, list[float]] = field(default_factory=lambda: {"heavy": [], "light": []})
    totals: dict[Kind, list[float]] = field(default_factory=lambda: {"heavy": [], "light": []})
    failed: int = 0

    def add(self, kind: Kind, waited: float, total: float) -> None:
        """One task came to its end."""
        self.waits[kind].append(waited)
        self.totals[kind].append(total)

    def pool(self, other: Waits) -> None:
        """Take in what another run met."""
        for kind in self.waits:
            self.waits[kind] += other.waits[kind]
            self.totals[kind] += other.totals[kind]
        self.failed += other.failed


Task = Callable[[str, random.Random], Awaitable[tuple[float, float] | None]]
"""Does one task of a flow: seconds waited and seconds in all, or None where it was refused."""


@dataclass(frozen=True)
class Stage:
    """Where a crowd meets: the clock, how to do a task, how long a service takes on average."""

    clock: Clock
    task: Task
    service: float
    seed: int

    async def gather(self, crowd: Crowd, seconds: float, warming: float) -> Waits:
        """Let `crowd` have its tasks for so many seconds; those of the first `warming` are not
        counted."""
        found = Waits()
        begins = self.clock.monotonic() + warming
        ends = self.clock.monotonic() + warming + seconds
        kinds: list[tuple[Kind, int, int]] = [
            *(("heavy", flow, task) for flow in range(crowd.heavy) for task in range(crowd.tasks)),
            *(("light", flow, 0) for flow in range(crowd.light)),
        ]
        async with asyncio.TaskGroup() as group:
            for kind, flow, number in kinds:
                name = f"{self.seed}/{kind}-{flow}"
                chance = random.Random(f"{name}/{number}")
                think = crowd.think * self.service if kind == "light" else 0.0
                group.create_task(self._one(kind, name, chance, think, found, (begins, ends)))
        return found

    async def _one(
        self,
        kind: Kind,
        flow: str,
        chance: random.Random,
        think: float,
        found: Waits,
        counted: tuple[float, float],
    ) -> None:
        """One task after another, until the end has come."""
        begins, ends = counted
        while self.clock.monotonic() < ends:
            if think:
                await self.clock.sleep(chance.expovariate(1 / think))
            asked = self.clock.monotonic()
            met = await self.task(flow, chance)
            if not begins <= asked < ends:
                continue
            if met is None:
                found.failed += 1
            else:
                found.add(kind, met[0] / self.service, met[1] / self.service)
