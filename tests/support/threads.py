"""Operations on threads for tests: made in a line each, and at random."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from hypothesis import strategies as st

from fairlead.conversations.base import Outcome, ThreadLog, ThreadStore
from fairlead.conversations.digests import digest_of
from fairlead.conversations.projection import fold
from fairlead.conversations.records import (
    Append,
    Create,
    Delete,
    Edit,
    ListQuery,
    LogPosition,
    Message,
    NewMessage,
    Operation,
    PageQuery,
    Record,
    Remove,
    Scope,
    SearchQuery,
    ThreadEvent,
    Turn,
    Update,
    Viewer,
    Written,
)
from fairlead.conversations.texts import message_text
from fairlead.conversations.turns import branch_page
from fairlead.core.ids import uuid7

START = 1_700_000_000_000
"""Milliseconds since 1970."""


def new_id() -> str:
    """A fresh UUIDv7 in its text form."""
    return str(uuid7())


def said(
    content: Any,
    role: str = "user",
    *,
    time: int = START,
    metadata: Mapping[str, Any] | None = None,
) -> NewMessage:
    """A message with any JSON value as its content."""
    return said_as(msgspec.json.encode(content), role, time=time, metadata=metadata)


def said_as(
    content: bytes,
    role: str = "user",
    *,
    time: int = START,
    metadata: Mapping[str, Any] | None = None,
) -> NewMessage:
    """A message with this very JSON text as its content."""
    about = dict(metadata or {})
    return NewMessage(
        id=new_id(),
        role=role,
        timestamp=time,
        content=content,
        metadata=about,
        digest=digest_of(role, content, about),
        text=message_text(content, about),
    )


def answered(text: str, model: str = "large") -> NewMessage:
    """An answer of a model."""
    return said(text, "assistant", metadata={"model": model})


class Desk:
    """Makes the operations of one viewer; each happens a second after the one before."""

    def __init__(self, tenant: str = "team", user: str | None = "ann") -> None:
        self.viewer = Viewer(tenant, user, "blue")
        self.time = START

    def _about(self, thread: str) -> dict[str, Any]:
        self.time += 1_000
        return {"id": new_id(), "thread": thread, "viewer": self.viewer, "time": self.time}

    def create(self, *contents: Any, title: str = "a title", thread: str = "") -> Create:
        messages = tuple(said(content) for content in contents)
        return Create(**self._about(thread or new_id()), title=title, messages=messages)

    def append(self, thread: str, *contents: Any) -> Append:
        return self.add(thread, *(said(content) for content in contents))

    def add(self, thread: str, *messages: NewMessage) -> Append:
        return Append(**{**self._about(thread), "id": messages[0].id}, messages=messages)

    def edit(self, thread: str, message: str, content: Any, version: int | None = None) -> Edit:
        changed = msgspec.structs.replace(said(content), id=message)
        return Edit(**self._about(thread), message=changed, expected_version=version)

    def remove(self, thread: str, message: str, version: int | None = None) -> Remove:
        return Remove(**self._about(thread), message=message, expected_version=version)

    def update(
        self,
        thread: str,
        title: str | None = None,
        shared: bool | None = None,
        version: int | None = None,
    ) -> Update:
        about = self._about(thread)
        return Update(**about, title=title, is_shared=shared, expected_version=version)

    def delete(self, thread: str, version: int | None = None) -> Delete:
        return Delete(**self._about(thread), expected_version=version)

    def record(self, turn: Turn, thread: str = "") -> Record:
        return Record(**self._about(thread or new_id()), turn=turn)


def turn(
    prompt: Iterable[NewMessage],
    *answer: NewMessage,
    system: Iterable[NewMessage] = (),
    session: str = "session",
) -> Turn:
    """A captured exchange."""
    return Turn(session, "blue", "captured", tuple(system), tuple(prompt), answer)


def again(message: NewMessage) -> NewMessage:
    """The same message as it is sent once more: only its id is another."""
    return msgspec.structs.replace(message, id=new_id())


# ---- stores


class Store(ThreadStore, ThreadLog, Protocol):
    """Both sides of one store."""


Opener = Callable[[], Awaitable[Store]]
DURABLE = ["sqlite", "postgres"]
"""Engines of which several stores can share a backend."""


async def wrote(store: ThreadStore, operation: Operation, *, retry: bool = False) -> Written:
    """What came of one operation; raises what refuses it."""
    (outcome,) = await store.apply([operation], retry=retry)
    return taken(outcome)


def taken(outcome: Outcome) -> Written:
    """What was written; raises what refuses it."""
    if isinstance(outcome, Written):
        return outcome
    raise outcome


def texts(messages: Sequence[Message]) -> list[Any]:
    """The contents as values."""
    return [msgspec.json.decode(message.content) for message in messages]


async def whole(
    store: ThreadStore, tenant: str, thread: str, *, branch: int | None = None, limit: int = 1_000
) -> list[Message]:
    """All messages, page by page from the first."""
    found: list[Message] = []
    after = 0
    while page := await store.messages(
        tenant, thread, PageQuery(limit=limit, after=after, branch=branch)
    ):
        found += page
        after = page[-1].sequence
    return found


async def begun(store: Store, desk: Desk, *contents: Any, title: str = "a title") -> str:
    """A new thread with messages."""
    return (await wrote(store, desk.create(*(contents or ("one",)), title=title))).head.id


async def replayed(store: Store, tenant: str, thread: str) -> None:
    """What can be read is what the log amounts to."""
    events = await store.thread_events(tenant, thread)
    expected = fold(tenant, thread, events)
    assert await store.head(tenant, thread) == expected.head
    by_id = {event.id: event for event in events}
    assert await whole(store, tenant, thread) == [
        Message(
            id=row.id,
            sequence=row.sequence,
            role=row.role,
            timestamp=row.timestamp,
            content=msgspec.Raw(by_id[row.content_event].content or b"lost"),
            metadata=by_id[row.event].change.metadata,  # type: ignore[union-attr] # of a message
            branch=row.branch,
        )
        for row in expected.rows.values()
    ]
    places = [(row.sequence, row.branch) for row in expected.rows.values()]
    for row in expected.branches:
        query = PageQuery(limit=100_000, branch=row.branch)
        read = await whole(store, tenant, thread, branch=row.branch)
        assert [one.sequence for one in read] == branch_page(row.basis, places, query)


async def visible(store: Store, viewer: Viewer, scope: Scope = "team") -> set[str]:
    return {head.title for head in await store.listing(ListQuery(viewer, scope=scope))}


async def found_titles(store: Store, viewer: Viewer, text: str) -> set[str]:
    return {hit.head.title for hit in await store.search(SearchQuery(viewer, text))}


async def log_of(store: Store, tenant: str, limit: int = 3) -> list[ThreadEvent]:
    found: list[ThreadEvent] = []
    after = None
    while page := await store.events(after, limit, tenant):
        assert len(page) <= limit
        found += page
        last = page[-1]
        after = LogPosition(last.tenant, last.thread, last.origin, last.sequence)
    return found


def bare(events: Any) -> list[ThreadEvent]:
    """Without what depends on how a store has encoded them."""
    return [msgspec.structs.replace(event, size=0) for event in events]


async def busy(store: Store, ann: Desk) -> list[str]:
    thread = await begun(store, ann, "one", "two", title="busy")
    first = (await whole(store, ann.viewer.tenant, thread))[0]
    await wrote(store, ann.edit(thread, first.id, "uno"))
    await wrote(store, ann.update(thread, shared=True))
    prompt = [said("hello " * 60), answered("hi")]
    await wrote(store, ann.record(turn(prompt[:1], answered("hi"))))
    captured = await wrote(store, ann.record(turn(prompt[:1], answered("other"))))
    gone = await begun(store, ann, "gone")
    await wrote(store, ann.delete(gone))
    return [thread, captured.head.id, gone]


# ---- at random

WORDS = ("auth", "OAuth", "café", "continue", "проверка", "ok", "", "x" * 300, "日本語", "a\0b")
contents = st.one_of(
    st.sampled_from(WORDS),
    st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": st.sampled_from(WORDS)})),
)
"""Contents of messages that come up again and again."""

steps = st.lists(
    st.tuples(
        st.sampled_from(["append", "edit", "remove", "title", "share", "record", "delete"]),
        st.integers(0, 7),
        contents,
    ),
    max_size=25,
)
"""What happens to a thread: a kind, a number that picks what it happens to, and a content."""
