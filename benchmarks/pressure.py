"""A steady load and what becomes of it: served, refused or unanswered, by class."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from benchmarks.calls import BROKEN, Call, Door, post
from benchmarks.fleet import MODEL, Shape

CLASSES = {"critical": 0.05, "high": 0.15, "normal": 0.5, "low": 0.3}
"""The classes' shares of the load."""

SESSIONS = 200
_PATHS: dict[Shape, str] = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}


@dataclass
class Fate:
    """What became of the requests of one class."""

    offered: int = 0
    served: list[float] = field(default_factory=list)
    """Seconds to the end of each that was answered with 200."""
    refused: Counter[int] = field(default_factory=Counter)
    """By status; `BROKEN` where none came."""

    @property
    def unanswered(self) -> int:
        """Those that waited still when the load ended."""
        return self.offered - len(self.served) - self.refused.total()

    def add(self, call: Call) -> None:
        """One came to its end."""
        if call.ok:
            self.served.append(call.seconds)
        else:
            self.refused[call.status] += 1


class Target:
    """Where the load goes: a node, or the upstreams themselves in turn."""

    def __init__(self, doors: Sequence[Door], shape: Shape) -> None:
        self._doors = itertools.cycle(doors)
        self._path = _PATHS[shape]
        self._body = msgspec.json.encode(
            {
                "model": MODEL,
                "max_tokens": 20,
                "messages": [{"role": "user", "content": "Move the check into a dependency."}],
            }
        )

    async def ask(self, session: str, priority: str) -> Call:
        """One request, not streamed."""
        door = next(self._doors)
        request = post(
            door.host, self._body, self._path, x_session_id=session, x_fairlead_priority=priority
        )
        return await door.call(request)


async def peak_rate(targets: Sequence[Target], callers: int, seconds: float) -> float:
    """Answers a second that `callers` at each target get, one request after another."""
    done = 0
    ends = time.perf_counter() + seconds

    async def caller(target: Target, number: int) -> None:
        nonlocal done
        while time.perf_counter() < ends:
            call = await target.ask(f"caller-{number}", "normal")
            done += call.ok and time.perf_counter() < ends

    async with asyncio.TaskGroup() as group:
        for target in targets:
            for number in range(callers):
                group.create_task(caller(target, number))
    return done / seconds


class Pressure:
    """Requests at random moments at a mean rate, whatever becomes of those before them."""

    def __init__(self, target: Target, rate: float, seed: int) -> None:
        """`rate` is in requests a second."""
        self.fates = {name: Fate() for name in CLASSES}
        self._target = target
        self._rate = rate
        self._chance = random.Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()
        self._over = False

    async def hold(self, seconds: float) -> None:
        """Keep it up; what is unanswered at the end goes on, but does not count any more."""
        began = time.perf_counter()
        due = 0.0
        while (due := due + self._chance.expovariate(self._rate)) < seconds:
            await asyncio.sleep(max(0.0, due - (time.perf_counter() - began)))
            name = self._chance.choices(list(CLASSES), list(CLASSES.values()))[0]
            session = f"session-{self._chance.randrange(SESSIONS)}"
            task = asyncio.create_task(self._request(name, session))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await asyncio.sleep(max(0.0, seconds - (time.perf_counter() - began)))
        self._over = True

    async def release(self) -> None:
        """Hang up on what is unanswered."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _request(self, name: str, session: str) -> None:
        fate = self.fates[name]
        fate.offered += 1
        call = await self._target.ask(session, name)
        if not self._over:
            fate.add(call)


def shown_refusals(refused: Counter[int]) -> str:
    """`529: 120, none: 3`."""
    words = {BROKEN: "none"}
    return ", ".join(f"{words.get(s, s)}: {n:,}" for s, n in sorted(refused.items())) or "–"
