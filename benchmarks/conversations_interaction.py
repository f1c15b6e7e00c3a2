"""What the five-step interaction asks of the database, with and without gathering its writes.

The interactions run in virtual time, so that what falls into one commit is what would in a real
one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import apsw

from benchmarks.conversations_data import START, BenchStore, written
from benchmarks.conversations_steps import DESCRIPTION, Step, interactions
from benchmarks.sheet import Table
from fairlead import BatchedThreadWriter
from fairlead.conversations.base import Outcome
from fairlead.conversations.records import (
    Append,
    Create,
    DeadLetter,
    Operation,
)
from fairlead.testing import ManualClock

GOAL = 0.70
"""Share of the operations to be saved, against one for each message."""
_STEP = 0.1
_HEADS = ("developers", "written", "messages", "transactions", "saved", "statements", "saved")


@dataclass(frozen=True)
class Counts:
    """What a database has done for some messages."""

    messages: int
    transactions: int
    statements: int


async def each_message(store: BenchStore, steps: Sequence[Step]) -> None:
    """Every message and every change at once, in a transaction of its own."""
    begun: set[str] = set()
    for step in steps:
        for operation in _singly(step, begun):
            (outcome,) = await store.apply([operation])
            written(outcome)


def _singly(step: Step, begun: set[str]) -> Iterator[Operation]:
    told = step.operation
    if not step.fresh:
        yield told
        return
    if told.thread not in begun:
        begun.add(told.thread)
        yield Create(id=told.id, thread=told.thread, viewer=told.viewer, time=told.time)
    for message in step.fresh:
        yield Append(
            id=message.id,
            thread=told.thread,
            viewer=told.viewer,
            time=told.time,
            messages=(message,),
        )


async def each_exchange(store: BenchStore, steps: Sequence[Step]) -> None:
    """Every model call with all its messages, and every change, in a transaction of its own."""
    for step in steps:
        (outcome,) = await store.apply([step.operation])
        written(outcome)


async def gathered(store: BenchStore, steps: Sequence[Step]) -> None:
    """As the node does it: through the writer with its default options, in virtual time."""
    clock, watched = ManualClock(START / 1000), _Watched(store)
    async with BatchedThreadWriter(watched, clock=clock) as writer:
        waiting = deque(steps)
        while waiting:
            while waiting and waiting[0].time <= clock.monotonic():
                await writer.room()
                writer.enqueue(waiting.popleft().operation)
            await clock.advance(_STEP)
            await watched.idle()


class _Watched:
    """A store that says when nothing is under way: virtual time must not pass meanwhile."""

    def __init__(self, store: BenchStore) -> None:
        self._store = store
        self._idle = asyncio.Condition()
        self._running = 0

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """As the store does."""
        await self._store.bury(letters)

    async def apply(
        self, operations: Sequence[Operation], *, retry: bool = False
    ) -> Sequence[Outcome]:
        """As the store does."""
        self._running += 1
        try:
            return await self._store.apply(operations, retry=retry)
        finally:
            self._running -= 1
            async with self._idle:
                self._idle.notify_all()

    async def idle(self) -> None:
        """Wait until no transaction is under way."""
        async with self._idle:
            await self._idle.wait_for(lambda: self._running == 0)


@contextmanager
def statements() -> Iterator[list[int]]:
    """How many statements the SQLite connections are given that are opened in the block.

    What SQLite runs by itself within them (triggers, the search index) is not counted.
    """
    count = [0]

    def trace(event: Mapping[str, Any]) -> None:
        count[0] += not event["sql"].startswith("--")

    def hook(connection: apsw.Connection) -> None:
        connection.trace_v2(apsw.SQLITE_TRACE_STMT, trace)

    apsw.connection_hooks.append(hook)
    try:
        yield count
    finally:
        apsw.connection_hooks.remove(hook)


Way = Callable[[BenchStore, Sequence[Step]], Awaitable[None]]
WAYS: Mapping[str, Way] = {
    "one for each message": each_message,
    "one for each exchange": each_exchange,
    "through BatchedThreadWriter": gathered,
}


async def counts(way: Way, store: BenchStore, steps: Sequence[Step]) -> Counts:
    """What an empty store, not opened yet, does for the steps written in this way."""
    with statements() as count:
        async with store:
            before, asked = store.statistics().operations, count[0]
            await way(store, steps)
            done = store.statistics().operations - before
            return Counts(sum(len(step.fresh) for step in steps), done, count[0] - asked)


async def interaction_table(
    make_store: Callable[[str], BenchStore], crowds: Sequence[int], seed: int
) -> tuple[Table, list[Mapping[str, Any]]]:
    """All ways for crowds of each size; `make_store` gives an empty store of this name."""
    rows: list[Sequence[str]] = []
    figures: list[Mapping[str, Any]] = []
    for developers in crowds:
        steps = interactions(developers, seed)
        base: Counts | None = None
        for way, write in WAYS.items():
            found = await counts(write, make_store(f"{developers}-{way.split()[-1]}"), steps)
            base = base or found
            saved = 1 - found.transactions / base.transactions
            fewer = 1 - found.statements / base.statements
            rows.append(
                [
                    str(developers),
                    way,
                    f"{found.messages:,}",
                    f"{found.transactions:,}",
                    f"{saved:.0%}",
                    f"{found.statements:,}",
                    f"{fewer:.0%}",
                ]
            )
            figures.append(
                {
                    "kind": "interaction",
                    "developers": developers,
                    "way": way,
                    "messages": found.messages,
                    "transactions": found.transactions,
                    "statements": found.statements,
                    "saved": saved,
                    "statements_saved": fewer,
                }
            )
    return Table("Database operations of the five-step interaction", _HEADS, rows, _NOTES), figures


_NOTES = (
    DESCRIPTION,
    f"Goal: at least {GOAL:.0%} fewer transactions than one for each message. Statements are those "
    "that SQLite is given, BEGIN, COMMIT and look-ups included.",
)
