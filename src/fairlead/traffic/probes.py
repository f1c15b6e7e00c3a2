"""Asks servers for their health and their load, again and again; how they are asked is given."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Literal, TypeVar

import msgspec

from fairlead.core.clock import Clock
from fairlead.core.lifecycle import Resource
from fairlead.core.tasks import TaskOwner, attempt, log_failure
from fairlead.core.waiting import Deadlines
from fairlead.traffic.base import LoadReport

MAX_AT_ONCE = 16
"""Questions under way at a time; the others wait their turn."""

MAX_ERROR = 200
"""Characters that are kept of an error."""

_JITTER = 0.1
"""Part of the interval by which each wait differs, so that nodes do not ask in step."""

T = TypeVar("T")
_Question = tuple[str, Literal["health", "metrics"]]
"""Who is asked for what."""


class Target(msgspec.Struct, frozen=True):
    """A server, and what it is asked for."""

    name: str
    health: bool
    metrics: bool


class ProbeStatistics(msgspec.Struct, frozen=True):
    """A snapshot of a `Prober`, of the servers that it asks now."""

    asked: int
    """Questions that were answered or given up, of all servers ever."""
    failures: dict[str, int]
    """By server that had any: questions without a good answer."""
    errors: dict[str, str]
    """By server whose last answer to some question was not good: why."""


class Prober(Resource):
    """Asks every target about once per `interval`, each question on its own and with a deadline.

    A server that hangs delays no other, unless `MAX_AT_ONCE` of them hang, and then by no more
    than `timeout`. Metrics that fail say nothing about health.
    """

    def __init__(
        self,
        check: Callable[[str], Awaitable[bool]],
        report: Callable[[str], Awaitable[LoadReport]],
        *,
        on_probe: Callable[[str, bool], object],
        on_report: Callable[[str, LoadReport], object],
        interval: float,
        clock: Clock,
        timeout: float = 5.0,
    ) -> None:
        """`check(name)` says whether a server is well, `report(name)` how loaded it is.

        What they raise is a bad answer; `on_probe(name, ok)` and `on_report(name, report)` must
        not raise. `interval` and `timeout` are in seconds of `clock`.
        """
        self._check = check
        self._report = report
        self._on_probe = on_probe
        self._on_report = on_report
        self._interval = interval
        self._timeout = timeout
        self._clock = clock
        self._tasks = TaskOwner(log_failure)
        self._deadlines: Deadlines
        self._free: asyncio.Semaphore
        self._targets: tuple[Target, ...] = ()
        self._loops: list[asyncio.Task[None]] = []
        self._asked = 0
        self._failures: dict[_Question, int] = {}
        self._errors: dict[_Question, str] = {}

    def update(self, targets: Sequence[Target]) -> None:
        """Ask these from now on, and each at once; questions under way are dropped."""
        self._targets = tuple(targets)
        questions = set(self._questions())
        self._failures = {key: n for key, n in self._failures.items() if key in questions}
        self._errors = {key: error for key, error in self._errors.items() if key in questions}
        if self.is_open:
            self._start()

    def statistics(self) -> ProbeStatistics:
        """Counts and errors now."""
        failures: dict[str, int] = {}
        for (name, _), count in self._failures.items():
            failures[name] = failures.get(name, 0) + count
        errors: dict[str, list[str]] = {}
        for (name, kind), error in sorted(self._errors.items()):
            errors.setdefault(name, []).append(f"{kind}: {error}")
        shown = {name: "; ".join(found) for name, found in errors.items()}
        return ProbeStatistics(self._asked, failures, shown)

    async def _open(self) -> None:
        self._free = asyncio.Semaphore(MAX_AT_ONCE)
        self._deadlines = Deadlines(self._clock, self._tasks, "probe deadlines")
        await self._tasks.open()
        self._start()

    async def _close(self) -> None:
        await self._tasks.close()

    def _questions(self) -> Iterator[_Question]:
        for target in self._targets:
            if target.health:
                yield target.name, "health"
            if target.metrics:
                yield target.name, "metrics"

    def _start(self) -> None:
        for loop in self._loops:
            loop.cancel()
        self._loops = [
            self._tasks.spawn(self._repeat(question), f"probe {question[1]} of {question[0]}")
            for question in self._questions()
        ]

    async def _repeat(self, question: _Question) -> None:
        ask = self._ask_health if question[1] == "health" else self._ask_metrics
        while True:
            await ask(question)
            wait = random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - guards nothing
            await self._clock.sleep(self._interval * wait)

    async def _ask_health(self, question: _Question) -> None:
        ok, error = await attempt(self._in_time(self._check, question[0]))
        self._note(question, "it does not say that it is well" if ok is False else _reason(error))
        self._on_probe(question[0], bool(ok))

    async def _ask_metrics(self, question: _Question) -> None:
        report, error = await attempt(self._in_time(self._report, question[0]))
        self._note(question, _reason(error))
        if report is not None:
            self._on_report(question[0], report)

    async def _in_time(self, ask: Callable[[str], Awaitable[T]], name: str) -> T:
        async with self._free, asyncio.timeout(None) as limit:
            # The limit is in the event loop's time: past it is when the clock says so.
            when = self._clock.monotonic() + self._timeout
            deadline = self._deadlines.at(when, lambda: limit.reschedule(0))
            try:
                return await ask(name)
            finally:
                deadline.cancel()

    def _note(self, question: _Question, failure: str) -> None:
        self._asked += 1
        if failure:
            self._failures[question] = self._failures.get(question, 0) + 1
            self._errors[question] = failure[:MAX_ERROR]
        else:
            self._errors.pop(question, None)


def _reason(error: Exception | None) -> str:
    if error is None:
        return ""
    silent = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    return str(error) or silent
