"""How long a thread takes to load, a list to come, a search to find."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from benchmarks.conversations_data import (
    COMMON_WORD,
    LONG,
    OTHER_COMMON_WORD,
    RARE_WORD,
    USERS,
    BenchStore,
    Built,
    viewer_of,
)
from benchmarks.machine import BenchmarkError
from benchmarks.measure import quantile
from benchmarks.sheet import Table
from fairlead import ConversationDatabase
from fairlead.conversations.records import Order, PageQuery, Viewer

_T = TypeVar("_T")

_PAGE, _LISTED = 100, 50
_LISTERS, _SEARCHERS = 50, 10
_SEARCHED = {
    "a rare word": RARE_WORD,
    "a common word": COMMON_WORD,
    "two common words": f"{COMMON_WORD} {OTHER_COMMON_WORD}",
}
_ORDERS: tuple[Order, ...] = ("last_activity", "created", "title")
_HEADS = ("what", "p50, ms", "p99, ms", "measured", "goal")
_GOALS = {"latest page": 5.0, "latest page, from memory": 1.0}
"""Milliseconds at the 99th percentile."""


@dataclass
class Timings:
    """Milliseconds of each call, by what was called."""

    rows: dict[str, list[float]] = field(default_factory=dict)

    async def take(self, row: str, call: Awaitable[_T]) -> _T:
        """Await it and note how long it took."""
        began = time.perf_counter()
        answer = await call
        self.rows.setdefault(row, []).append((time.perf_counter() - began) * 1e3)
        return answer

    def figures(self, backend: str) -> list[Mapping[str, Any]]:
        """Every row's percentiles."""
        return [
            {
                "kind": "read",
                "backend": backend,
                "row": row,
                "p50_ms": statistics.median(times),
                "p99_ms": quantile(times, 0.99),
                "count": len(times),
            }
            for row, times in self.rows.items()
        ]


async def measure_reads(store: BenchStore, built: Built, rounds: int, seed: int) -> Timings:
    """Every row, in `rounds` rounds with nothing in the database's own memory at first."""
    timings, chance = Timings(), random.Random(seed)
    for _ in range(rounds):
        numbers = chance.sample(range(len(built.long)), len(built.long))
        async with ConversationDatabase(store) as database:
            for number in numbers:
                await _load(database, viewer_of(number), built.long[number], timings)
        async with ConversationDatabase(store) as database:
            for number in numbers:
                whole = _whole(database, viewer_of(number), built.long[number])
                if (count := await timings.take("whole, by pages", whole)) != LONG:
                    raise BenchmarkError(f"{count} messages instead of {LONG}")
        async with ConversationDatabase(store) as database:
            for number in chance.sample(range(USERS), _LISTERS):
                await _lists(database, viewer_of(number), timings)
            for number in chance.sample(range(USERS), _SEARCHERS):
                await _searches(database, viewer_of(number), timings)
    return timings


async def _load(
    database: ConversationDatabase, viewer: Viewer, thread: str, timings: Timings
) -> None:
    latest = PageQuery(limit=_PAGE)
    page = await timings.take("latest page", database.messages(viewer, thread, latest))
    again = await timings.take(
        "latest page, from memory", database.messages(viewer, thread, latest)
    )
    if len(page.messages) != _PAGE or list(page.messages) != list(again.messages):
        raise BenchmarkError(f"{len(page.messages)} messages instead of {_PAGE}")


async def _whole(database: ConversationDatabase, viewer: Viewer, thread: str) -> int:
    """Page by page from the latest to the first; how many messages."""
    count, before = 0, None
    while True:
        query = PageQuery(limit=_PAGE, before=before)
        page = await database.messages(viewer, thread, query)
        count += len(page.messages)
        if page.previous is None:
            return count
        before = page.previous


async def _lists(database: ConversationDatabase, viewer: Viewer, timings: Timings) -> None:
    for order in _ORDERS:
        cursor = None
        for title in (f"first {_LISTED}", f"next {_LISTED}"):
            asked = database.list(viewer, order=order, scope="team", limit=_LISTED, cursor=cursor)
            page = await timings.take(f"list by {order}, {title}", asked)
            cursor = page.next


async def _searches(database: ConversationDatabase, viewer: Viewer, timings: Timings) -> None:
    for name, text in _SEARCHED.items():
        found = database.search(viewer, text, limit=20, cursor=None)
        await timings.take(f"search, {name}", found)


def read_table(timings: Timings, title: str, notes: list[str]) -> Table:
    """The rows as they are printed."""
    rows = []
    for row, times in timings.rows.items():
        p99, goal = quantile(times, 0.99), _GOALS.get(row)
        verdict = ""
        if goal is not None:
            verdict = f"p99 < {goal:g} ms: {'met' if p99 < goal else 'missed'}"
        rows.append(
            [row, f"{statistics.median(times):.3f}", f"{p99:.3f}", str(len(times)), verdict]
        )
    return Table(title, _HEADS, rows, notes)
