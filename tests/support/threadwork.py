"""A mixed load on a few threads, and a second opinion on what a store makes of its log."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from fairlead.conversations.base import ThreadLog, ThreadStore
from fairlead.conversations.digests import digest_of
from fairlead.conversations.projection import Projection, fold
from fairlead.conversations.records import (
    Append,
    Create,
    Delete,
    Edit,
    LogPosition,
    Message,
    NewMessage,
    Operation,
    PageQuery,
    Record,
    Remove,
    ThreadEvent,
    Turn,
    Update,
    Viewer,
)
from fairlead.conversations.texts import text_of
from fairlead.core.ids import uuid7

VIEWER = Viewer("team", "ann")
START = 1_700_000_000_000
_PAGE = 1_000


class LoggedStore(ThreadStore, ThreadLog, Protocol):
    """A store with its log."""


def new_id() -> str:
    """A fresh UUIDv7 in its text form."""
    return str(uuid7())


def said(text: str, *, role: str = "user", time: int = START) -> NewMessage:
    """A message that says `text`."""
    content = msgspec.json.encode(text)
    return NewMessage(
        id=new_id(),
        role=role,
        timestamp=time,
        content=content,
        digest=digest_of(role, content, {}),
        text=text_of(content),
    )


class Workload:
    """Operations that are valid when they are applied one after another, of every kind."""

    def __init__(self, seed: int, *, largest: int = 600) -> None:
        """`largest` is the number of words in the longest message."""
        self._chance = random.Random(seed)  # noqa: S311 - made-up words guard nothing
        self._largest = largest
        self._time = START
        self._threads: dict[str, list[str]] = {}
        self._prompt: list[NewMessage] = []
        self._session_thread = new_id()

    def take(self, count: int) -> list[Operation]:
        """The next `count`."""
        return [self._next() for _ in range(count)]

    def _next(self) -> Operation:
        self._time += 1_000
        if len(self._threads) < 3:
            return self._create()
        kinds = [self._append] * 6 + [self._record] * 4
        kinds += [self._edit, self._remove, self._update, self._delete]
        return self._chance.choice(kinds)()

    def _said(self, role: str = "user") -> NewMessage:
        # Words that compress badly: the files grow, and checkpoints come in between.
        count = self._chance.randint(1, self._largest)
        text = " ".join(f"{self._chance.getrandbits(32):x}" for _ in range(count))
        return said(text, role=role, time=self._time)

    def _thread(self) -> str:
        return self._chance.choice(sorted(self._threads))

    def _create(self) -> Operation:
        message, thread = self._said(), new_id()
        self._threads[thread] = [message.id]
        return Create(
            id=new_id(), thread=thread, viewer=VIEWER, time=self._time, messages=(message,)
        )

    def _append(self) -> Operation:
        messages = tuple(self._said() for _ in range(self._chance.randint(1, 3)))
        thread = self._thread()
        self._threads[thread] += [message.id for message in messages]
        return Append(
            id=messages[0].id, thread=thread, viewer=VIEWER, time=self._time, messages=messages
        )

    def _record(self) -> Operation:
        self._prompt.append(self._said())
        answer = self._said("assistant")
        turn = Turn("session", None, "a session", (said("obey"),), tuple(self._prompt), (answer,))
        self._prompt.append(answer)
        return Record(
            id=new_id(), thread=self._session_thread, viewer=VIEWER, time=self._time, turn=turn
        )

    def _edit(self) -> Operation:
        thread = self._thread()
        if not self._threads[thread]:
            return self._append()
        message = self._said()
        message = msgspec.structs.replace(message, id=self._chance.choice(self._threads[thread]))
        return Edit(id=new_id(), thread=thread, viewer=VIEWER, time=self._time, message=message)

    def _remove(self) -> Operation:
        thread = self._thread()
        if not self._threads[thread]:
            return self._append()
        message = self._threads[thread].pop()
        return Remove(id=new_id(), thread=thread, viewer=VIEWER, time=self._time, message=message)

    def _update(self) -> Operation:
        return Update(
            id=new_id(),
            thread=self._thread(),
            viewer=VIEWER,
            time=self._time,
            title=self._said().text[:40] + str(self._time),
        )

    def _delete(self) -> Operation:
        thread = self._thread()
        del self._threads[thread]
        return Delete(id=new_id(), thread=thread, viewer=VIEWER, time=self._time)


async def logs(store: LoggedStore, tenant: str = VIEWER.tenant) -> dict[str, list[ThreadEvent]]:
    """Every thread's events, in their order."""
    found: dict[str, list[ThreadEvent]] = {}
    for thread in await _threads(store, tenant):
        found[thread] = list(await store.thread_events(tenant, thread))
    return found


async def _threads(store: LoggedStore, tenant: str) -> Iterable[str]:
    threads: dict[str, None] = {}
    position = None
    while events := await store.events(position, _PAGE, tenant):
        threads |= dict.fromkeys(event.thread for event in events)
        last = events[-1]
        position = _position(last)
    return threads


async def flaws(store: LoggedStore, tenant: str = VIEWER.tenant) -> list[str]:
    """Where what can be read differs from what the log amounts to."""
    found = []
    for thread, events in (await logs(store, tenant)).items():
        projection = fold(tenant, thread, events)
        head = await store.head(tenant, thread)
        if head != projection.head:
            found.append(f"{thread}: {head} instead of {projection.head}")
        read = await everything(store, thread, tenant)
        if read != _messages(projection, events):
            found.append(f"{thread}: other messages")
        by_origin: dict[str, list[int]] = {}
        for event in events:
            by_origin.setdefault(event.origin, []).append(event.sequence)
        for origin, sequences in by_origin.items():
            if sorted(sequences) != list(range(1, len(sequences) + 1)):
                found.append(f"{thread}: gaps in the log of {origin}: {sequences}")
    return found


async def everything(
    store: ThreadStore, thread: str, tenant: str = VIEWER.tenant
) -> Sequence[Message]:
    """All messages of a thread, by pages."""
    found: list[Message] = []
    last = 0
    while page := await store.messages(tenant, thread, PageQuery(limit=_PAGE, after=last)):
        found += page
        last = page[-1].sequence
    return found


def _messages(projection: Projection, events: Sequence[ThreadEvent]) -> list[Message]:
    by_id = {event.id: event for event in events}
    return [
        Message(
            id=row.id,
            sequence=row.sequence,
            role=row.role,
            timestamp=row.timestamp,
            content=msgspec.Raw(by_id[row.content_event].content or b""),
            metadata=by_id[row.event].change.metadata,  # type: ignore[union-attr] # it holds a message
            branch=row.branch,
        )
        for row in projection.rows.values()
    ]


def _position(event: ThreadEvent) -> LogPosition:
    return LogPosition(event.tenant, event.thread, event.origin, event.sequence)
