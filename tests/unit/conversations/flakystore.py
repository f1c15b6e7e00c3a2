"""A store that fails when told to, before or after its commit, and operations to write to it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec

from fairlead.conversations.base import Outcome
from fairlead.conversations.memory import MemoryThreadStore
from fairlead.conversations.options import WriterOptions
from fairlead.conversations.records import (
    Append,
    Create,
    DeadLetter,
    NewMessage,
    Operation,
    Record,
    Turn,
    Viewer,
)
from fairlead.conversations.writer import BatchedThreadWriter
from fairlead.core.ids import uuid7
from fairlead.errors import StorageError
from fairlead.testing import ManualClock

ANN = Viewer("acme", "ann")
START = 1_700_000_000_000


class Time(ManualClock):
    """A manual clock that waits until those who are about to look at it have done so."""

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass once everything has settled."""
        await settle()
        await super().advance(seconds)
        await settle()


class Fault:
    """What goes wrong in one transaction; with `committed` it is only the answer that is lost."""

    def __init__(self, error: Exception, *, committed: bool = False) -> None:
        self.error = error
        self.committed = committed


class FlakyStore:
    """A memory store behind faults, a gate and poison; it notes what it was given."""

    def __init__(self, inner: MemoryThreadStore) -> None:
        self.inner = inner
        self.faults: deque[Fault] = deque()
        """One for each of the next transactions."""
        self.always: Exception | None = None
        """What every transaction raises, committing nothing."""
        self.poison: set[str] = set()
        """Ids of operations that cannot be written."""
        self.burying: Exception | None = None
        self.gate = asyncio.Event()
        """Transactions begin when it is set."""
        self.gate.set()
        self.calls: list[tuple[list[str], bool]] = []
        """Ids and `retry` of every transaction that was begun."""
        self.acknowledged: list[str] = []
        """Ids of operations in the order of the transactions that said they are written."""

    @property
    def sizes(self) -> list[int]:
        """Operations of every transaction that was begun."""
        return [len(ids) for ids, _ in self.calls]

    async def apply(
        self, operations: Sequence[Operation], *, retry: bool = False
    ) -> Sequence[Outcome]:
        ids = [operation.id for operation in operations]
        self.calls.append((ids, retry))
        await self.gate.wait()
        fault = self.faults.popleft() if self.faults else None
        if self.always is not None:
            raise self.always
        if fault is not None and not fault.committed:
            raise fault.error
        if self.poison.intersection(ids):
            raise StorageError("a value that cannot be written")
        outcomes = await self.inner.apply(operations, retry=retry)
        if fault is not None:
            raise fault.error
        self.acknowledged += ids
        return outcomes

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        if self.burying is not None:
            raise self.burying
        await self.inner.bury(letters)

    async def said(self, thread: str) -> list[str]:
        """Ids of the messages of a thread's log, in its order."""
        events = await self.inner.thread_events(ANN.tenant, thread)
        return [event.id for event in events if event.content is not None]


class Scene:
    """A writer on a flaky store, with time that goes when told to."""

    def __init__(self, store: FlakyStore, writer: BatchedThreadWriter, clock: ManualClock) -> None:
        self.pauses: list[float] = []
        """The longest that each pause might have been; it was that long."""
        self.store = store
        self.writer = writer
        self.clock = clock

    async def thread(self) -> str:
        """Begin a thread, past the writer."""
        operation = create()
        await self.store.inner.apply([operation])
        return operation.thread

    def start(self, operation: Operation) -> asyncio.Task[object]:
        """Write it in a task."""
        return asyncio.create_task(self.writer.write(operation))


@asynccontextmanager
async def scene(**options: float) -> AsyncIterator[Scene]:
    """A writer that pauses as long as it may after a failure."""
    clock = Time()
    pauses: list[float] = []

    def longest(low: float, high: float) -> float:
        assert low == 0
        pauses.append(high)
        return high

    async with MemoryThreadStore() as inner:
        store = FlakyStore(inner)
        settings = msgspec.convert(options, WriterOptions)
        writer = BatchedThreadWriter(store, options=settings, clock=clock, uniform=longest)
        made = Scene(store, writer, clock)
        made.pauses = pauses
        await writer.open()
        try:
            yield made
        finally:
            # Time goes on, so that a test which has failed does not wait for ever.
            closing = asyncio.create_task(writer.close())
            await clock.advance(writer.options.close_timeout + 1)
            await closing


async def settle() -> None:
    """Let the loop run until nothing moves any more."""
    for _ in range(40):
        await asyncio.sleep(0)


def new_id() -> str:
    return str(uuid7())


def create(viewer: Viewer = ANN) -> Create:
    return Create(id=new_id(), thread=new_id(), viewer=viewer, time=START)


def message(text: str = "hello") -> NewMessage:
    return NewMessage(new_id(), "user", START, msgspec.json.encode(text), text=text, digest=text)


def append(thread: str, text: str = "hello", *, count: int = 1, time: int = START) -> Append:
    messages = tuple(message(text) for _ in range(count))
    return Append(id=messages[0].id, thread=thread, viewer=ANN, time=time, messages=messages)


def record(session: str, *texts: str) -> Record:
    turn = Turn(session, None, "", (), tuple(message(text) for text in texts), ())
    return Record(id=new_id(), thread=new_id(), viewer=ANN, time=START, turn=turn)
