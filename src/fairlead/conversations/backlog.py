"""What waits to be written, and in which order (pure): entries, bounds, generations.

The order is that of arrival and never changes, so operations on one thread stay in theirs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from enum import Enum, auto
from typing import Any

import msgspec

from fairlead.conversations.options import WriterOptions
from fairlead.conversations.records import (
    Append,
    Create,
    Edit,
    NewMessage,
    Operation,
    Record,
    Written,
)
from fairlead.core.waiting import Turn
from fairlead.errors import CapacityError

OVERHEAD = 512
"""Bytes that an operation, and each of its messages, takes besides its content."""


class Place(Enum):
    """Where an entry is."""

    NOWHERE = auto()
    """Not accepted yet, or done."""
    IN_LINE = auto()
    """It waits for room."""
    QUEUED = auto()
    RUNNING = auto()
    """In a transaction."""


class Entry:
    """An operation on its way, with whoever waits for it."""

    __slots__ = (
        *("operation", "size", "since", "urgent", "turn"),
        *("place", "generation", "failures", "was_tried", "is_unsure"),
    )

    def __init__(
        self, operation: Operation, now: float, *, urgent: bool, turn: Turn[Written] | None = None
    ) -> None:
        """`turn` is its waiter's, if it has one; `now` monotonic seconds."""
        self.operation = operation
        self.size = weight(operation)
        self.since = now
        self.urgent = urgent
        self.turn = turn
        self.place = Place.NOWHERE
        self.generation = 0
        self.failures = 0
        """How often it has failed alone."""
        self.was_tried = False
        self.is_unsure = False
        """An earlier try may have been committed."""

    @property
    def is_abandoned(self) -> bool:
        """Its waiter has been answered or has gone away."""
        return self.turn is not None and self.turn.future.done()


def weight(operation: Operation) -> int:
    """Bytes that an operation occupies while it waits, roughly."""
    return OVERHEAD + sum(
        OVERHEAD + len(message.content) + len(message.text) + _size(message.metadata)
        for message in _messages(operation)
    )


def _size(metadata: Mapping[str, Any]) -> int:
    # The arguments of tool calls are here, which may be whole files.
    return len(msgspec.json.encode(metadata)) if metadata else 0


def _messages(operation: Operation) -> Iterator[NewMessage]:
    match operation:
        case Create() | Append():
            yield from operation.messages
        case Edit():
            yield operation.message
        case Record():
            turn = operation.turn
            yield from turn.system
            yield from turn.prompt
            yield from turn.answer


class Generations:
    """What is pending, counted by generation: a flush ends one, and waits for its last."""

    def __init__(self) -> None:
        self._current = 0
        # Keys ascend: only the current generation ever gets a new one.
        self._pending: dict[int, int] = {}

    @property
    def oldest(self) -> int:
        """The oldest generation of which something is pending, or may yet come."""
        return next(iter(self._pending), self._current)

    def enter(self) -> int:
        """One more; its generation."""
        self._pending[self._current] = self._pending.get(self._current, 0) + 1
        return self._current

    def leave(self, generation: int) -> None:
        """One less."""
        self._pending[generation] -= 1
        if not self._pending[generation]:
            del self._pending[generation]

    def end(self) -> int:
        """Begin the next; what has come until now is done when `oldest` is above the result."""
        self._current += 1
        return self._current - 1


class Backlog:
    """Everything accepted and not yet written, and the line of those that wait for room.

    Nobody overtakes: while somebody stands in line, whoever comes joins it or is refused.
    """

    def __init__(self, options: WriterOptions) -> None:
        self.generations = Generations()
        self.count = 0
        """Operations accepted and not done."""
        self.bytes = 0
        self.urgent = 0
        """Of those in the queue."""
        self._options = options
        self._queue: OrderedDict[Entry, None] = OrderedDict()
        self._running: dict[Entry, None] = {}
        self._line: dict[Entry, None] = {}
        self._awaited: dict[Entry, None] = {}

    @property
    def queued(self) -> int:
        """Operations that wait for a transaction."""
        return len(self._queue)

    @property
    def in_line(self) -> int:
        """Callers that wait for room."""
        return len(self._line)

    @property
    def first(self) -> Entry | None:
        """The next of the queue."""
        return next(iter(self._queue), None)

    @property
    def oldest(self) -> Entry | None:
        """What was accepted first of all that is not done."""
        return next(iter(self._running), self.first)

    @property
    def is_empty(self) -> bool:
        """Nothing is accepted, and nobody waits to be."""
        return not self.count and not self._line

    @property
    def has_room(self) -> bool:
        """A small operation would be accepted."""
        return not self._line and self._fits(OVERHEAD)

    def enter(self, entry: Entry) -> bool:
        """Accept `entry`; False where there is no room for it now."""
        if self._line or not self._fits(entry.size):
            return False
        self._accept(entry)
        return True

    def join(self, entry: Entry) -> None:
        """Let `entry` wait in line for room; raises `CapacityError` where that is full as well."""
        if len(self._line) >= self._options.max_waiting:
            raise CapacityError(f"{len(self._line)} writers wait for room already")
        entry.place = Place.IN_LINE
        self._line[entry] = None
        self._note_awaited(entry)

    def admit(self, now: float) -> None:
        """Accept from the line, in its order, as far as there is room."""
        while (entry := next(iter(self._line), None)) and self._fits(entry.size):
            del self._line[entry]
            entry.since = now
            self._accept(entry)

    def take(self, limit: int) -> list[Entry]:
        """The next `limit` of the queue, for a transaction."""
        batch: list[Entry] = []
        while self._queue and len(batch) < limit:
            entry, _ = self._queue.popitem(last=False)
            entry.place = Place.RUNNING
            self.urgent -= entry.urgent
            self._running[entry] = None
            batch.append(entry)
        return batch

    def restore(self) -> None:
        """Put what was taken and is not finished back to the front, in its order."""
        for entry in reversed(self._running):
            entry.place = Place.QUEUED
            self.urgent += entry.urgent
            self._queue[entry] = None
            self._queue.move_to_end(entry, last=False)
        self._running.clear()

    def finish(self, entry: Entry) -> None:
        """`entry` is written, refused or withdrawn, wherever it is; once is enough."""
        match entry.place:
            case Place.NOWHERE:
                return
            case Place.IN_LINE:
                del self._line[entry]
            case Place.QUEUED:
                del self._queue[entry]
                self.urgent -= entry.urgent
            case Place.RUNNING:
                del self._running[entry]
        if entry.place is not Place.IN_LINE:
            self.count -= 1
            self.bytes -= entry.size
            self.generations.leave(entry.generation)
        self._awaited.pop(entry, None)
        entry.place = Place.NOWHERE

    def running(self) -> list[Entry]:
        """What is in the transaction."""
        return list(self._running)

    def awaited(self) -> list[Entry]:
        """Everything that somebody waits for."""
        return list(self._awaited)

    def everything(self) -> list[Entry]:
        """All there is, accepted or in line."""
        return [*self._running, *self._queue, *self._line]

    def _fits(self, size: int) -> bool:
        if not self.count:
            return True
        options = self._options
        return self.count < options.max_waiting and self.bytes + size <= options.max_bytes

    def _accept(self, entry: Entry) -> None:
        entry.place = Place.QUEUED
        entry.generation = self.generations.enter()
        self._queue[entry] = None
        self.count += 1
        self.bytes += entry.size
        self.urgent += entry.urgent
        self._note_awaited(entry)

    def _note_awaited(self, entry: Entry) -> None:
        if entry.turn is not None:
            self._awaited[entry] = None

    def __repr__(self) -> str:
        return (
            f"<Backlog {self.queued} queued, {len(self._running)} running, {self.in_line} in line, "
            f"{self.bytes}/{self._options.max_bytes} B>"
        )
