"""What a batch of operations makes of threads that are held in memory (pure)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fairlead.conversations.codec import encode
from fairlead.conversations.operations import Known, decide, stamp
from fairlead.conversations.projection import Effect, Projection, PutMessage, advance, take
from fairlead.conversations.records import (
    Edit,
    Head,
    Operation,
    Record,
    Remove,
    ThreadEvent,
    Transcript,
    Written,
)
from fairlead.errors import RequestError

Key = tuple[str, str]
"""Tenant and thread, or tenant and session."""


class Thread(msgspec.Struct):
    """A thread's log and what can be read of it."""

    projection: Projection
    events: dict[tuple[str, int], ThreadEvent]
    """By origin and sequence."""

    @property
    def head(self) -> Head:
        """The thread as it is now."""
        return self.projection.head

    @property
    def is_reducible(self) -> bool:
        """It was deleted, and there is more of it than its tombstone."""
        return self.head.deleted and len(self.events) > 1

    def copy(self) -> Thread:
        """One that can be changed without changing this."""
        old = self.projection
        projection = Projection(
            msgspec.structs.replace(old.head),
            dict(old.rows),
            dict(old.texts),
            list(old.branches),
        )
        return Thread(projection, dict(self.events))

    def last(self, origin: str) -> int:
        """The latest sequence of an origin."""
        return max((number for name, number in self.events if name == origin), default=0)

    def transcript(self) -> Transcript:
        """Its messages by their digests."""
        rows = self.projection.rows.values()
        places = tuple((row.sequence, row.branch, row.digest, row.content_event) for row in rows)
        return Transcript(places, tuple(self.projection.branches))


class Batch:
    """Threads while operations go over them; the store's own stay as they are."""

    def __init__(
        self, origin: str, threads: Mapping[Key, Thread], sessions: Mapping[Key, str]
    ) -> None:
        self.changed: dict[Key, Thread] = {}
        self.events: list[ThreadEvent] = []
        self._origin = origin
        self._threads = threads
        self._sessions = sessions
        self._moved: dict[Key, str | None] = {}
        """Sessions that got a thread in this batch, or lost theirs."""

    def thread(self, key: Key) -> Thread:
        """The thread, to be changed; one without events where there is none."""
        if key not in self.changed:
            stored = self._threads.get(key)
            empty = Thread(Projection(Head(key[1], key[0]), {}, {}, []), {})
            self.changed[key] = empty if stored is None else stored.copy()
        return self.changed[key]

    def perform(self, operation: Operation) -> Written:
        """Do it; raises the `RequestError` that refuses it, with nothing changed."""
        thread = self.thread((operation.viewer.tenant, self._target(operation)))
        head = thread.head if thread.head.version else None
        session = None if head is None else head.session
        drafts = decide(operation, head, _known(operation, thread))
        events = stamp(drafts, operation, head, self._origin, thread.last(self._origin))
        added = []
        for draft, event in zip(drafts, events, strict=True):
            effect = self._take(thread, event, draft.text)
            if isinstance(effect, PutMessage):
                added.append((effect.row.id, effect.row.sequence))
        if thread.head.session != session:
            self._move(thread.head, session)
        return Written(msgspec.structs.replace(thread.head), tuple(added))

    def _target(self, operation: Operation) -> str:
        if not isinstance(operation, Record):
            return operation.thread
        session = operation.viewer.tenant, operation.turn.session
        found = self._moved.get(session, self._sessions.get(session))
        if found is None and self.thread((session[0], operation.thread)).head.version:
            message = f"thread {operation.thread!r} is not one of this session"
            raise RequestError(409, message, code="exists")
        return operation.thread if found is None else found

    def _take(self, thread: Thread, event: ThreadEvent, text: str) -> Effect | None:
        sized = msgspec.structs.replace(event, size=size_of(event))
        self.events.append(sized)
        thread.events[event.origin, event.sequence] = sized
        effect = advance(thread.head, sized, text)
        take(thread.projection, effect)
        return effect

    def _move(self, head: Head, before: str | None) -> None:
        if head.session is not None:
            self._moved[head.tenant, head.session] = head.id
        if before is not None:
            self._moved[head.tenant, before] = None


def _known(operation: Operation, thread: Thread) -> Known:
    match operation:
        case Edit():
            return Known(message=operation.message.id in thread.projection.rows)
        case Remove():
            return Known(message=operation.message in thread.projection.rows)
        case Record():
            return Known(transcript=thread.transcript())
    return Known()


def size_of(event: ThreadEvent) -> int:
    """Bytes that the event takes, encoded."""
    data, content = encode(event)
    return len(data) + len(content or b"")
