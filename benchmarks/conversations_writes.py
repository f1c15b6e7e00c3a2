"""Acknowledged writes: how many, how long each waits, and beside what bare tables take."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import msgspec

from benchmarks.conversations_data import START, BenchStore, Texts, viewer_of
from benchmarks.measure import quantile
from fairlead import BatchedThreadWriter
from fairlead.conversations.records import Append, Create, NewMessage
from fairlead.core.ids import uuid7

BARE_BATCH = 50
_TABLE = """CREATE TABLE messages (id BLOB PRIMARY KEY, conversation_id TEXT, sequence INTEGER,
    role TEXT, timestamp INTEGER, content BLOB, metadata TEXT)"""
_INSERT = "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?)"

Write = Callable[[int, Sequence[NewMessage]], Awaitable[object]]
"""Make messages durable, for the caller of this number."""


@dataclass(frozen=True)
class Appends:
    """What came of some callers that append one message after another."""

    rows: int
    seconds: float
    waits: Sequence[float]
    """Milliseconds from each call to its acknowledgment."""

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds

    def figures(self) -> Mapping[str, float]:
        """As they are reported."""
        return {
            "rows_per_second": self.rate,
            "p50_ms": statistics.median(self.waits),
            "p99_ms": quantile(self.waits, 0.99),
        }


async def append(
    write: Write, messages: Sequence[NewMessage], callers: int, each: int = 1
) -> Appends:
    """Write all messages, `each` in a call, from so many callers at once."""
    waits: list[float] = []
    calls = iter([messages[first : first + each] for first in range(0, len(messages), each)])

    async def one(number: int) -> None:
        for group in calls:
            asked = time.perf_counter()
            await write(number, group)
            waits.append((time.perf_counter() - asked) * 1e3)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in range(callers):
            tasks.create_task(one(number))
    return Appends(len(messages), time.perf_counter() - began, waits)


def fresh_messages(count: int, seed: int) -> list[NewMessage]:
    """Messages that no store has yet."""
    texts = Texts(seed)
    return [texts.message("assistant" if n % 2 else "user", START + n) for n in range(count)]


@asynccontextmanager
async def batched(store: BenchStore, callers: int) -> AsyncIterator[Write]:
    """The writer that the node has; each caller with a thread of its own, begun before."""
    async with BatchedThreadWriter(store) as writer:
        threads = await _begin(store, callers)

        async def write(number: int, messages: Sequence[NewMessage]) -> object:
            thread = threads[number]
            return await writer.write(_append(number, thread, messages))

        yield write


@asynccontextmanager
async def unbatched(store: BenchStore, callers: int) -> AsyncIterator[Write]:
    """The same store, with a transaction for each call."""
    threads = await _begin(store, callers)

    async def write(number: int, messages: Sequence[NewMessage]) -> object:
        return await store.apply([_append(number, threads[number], messages)])

    yield write


async def _begin(store: BenchStore, callers: int) -> list[str]:
    threads = [str(uuid7()) for _ in range(callers)]
    await store.apply(
        [
            Create(id=str(uuid7()), thread=thread, viewer=viewer_of(number), time=START)
            for number, thread in enumerate(threads)
        ]
    )
    return threads


def _append(number: int, thread: str, messages: Sequence[NewMessage]) -> Append:
    return Append(
        id=messages[0].id,
        thread=thread,
        viewer=viewer_of(number),
        time=messages[0].timestamp,
        messages=tuple(messages),
    )


# ---- one table without anything


def bare_connection(path: Path) -> apsw.Connection:
    """One table for messages, with the same settings as the node's own."""
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "FULL")
    connection.execute(_TABLE)
    return connection


def bare_row(number: int, message: NewMessage) -> tuple[Any, ...]:
    """A message as a row of that table."""
    metadata = msgspec.json.encode(message.metadata).decode()
    return (
        bytes.fromhex(message.id.replace("-", "")),
        f"thread-{number % 100}",
        number,
        message.role,
        message.timestamp,
        message.content,
        metadata,
    )


def bare_insert(path: Path, messages: Sequence[NewMessage]) -> Appends:
    """Insert them in commits of `BARE_BATCH` rows."""
    waits: list[float] = []
    connection = bare_connection(path)
    rows = [bare_row(number, message) for number, message in enumerate(messages)]
    began = time.perf_counter()
    for first in range(0, len(rows), BARE_BATCH):
        asked = time.perf_counter()
        with connection:
            connection.executemany(_INSERT, rows[first : first + BARE_BATCH])
        waits.append((time.perf_counter() - asked) * 1e3)
    seconds = time.perf_counter() - began
    connection.close()
    return Appends(len(rows), seconds, waits)


@asynccontextmanager
async def bare_commits(path: Path) -> AsyncIterator[Write]:
    """One table and a commit for each call, in a thread of its own, as one would do it at first."""
    connection = bare_connection(path)
    loop = asyncio.get_running_loop()

    def insert(rows: Sequence[tuple[Any, ...]]) -> None:
        with connection:
            connection.executemany(_INSERT, rows)

    with ThreadPoolExecutor(1) as thread:

        async def write(number: int, messages: Sequence[NewMessage]) -> object:
            rows = [bare_row(number, message) for message in messages]
            return await loop.run_in_executor(thread, insert, rows)

        yield write
    connection.close()
