"""`ConversationDatabase`: threads and their messages, for those who may see them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from fairlead.conversations import inputs
from fairlead.conversations.base import ThreadStore
from fairlead.conversations.cursors import (
    list_cursor,
    list_position,
    search_cursor,
    search_offset,
)
from fairlead.conversations.hot import HotThreads
from fairlead.conversations.inputs import MessageInput
from fairlead.conversations.options import DatabaseOptions, DatabaseStatistics
from fairlead.conversations.records import (
    Append,
    Create,
    Delete,
    Edit,
    Head,
    Hit,
    Json,
    ListQuery,
    Message,
    NewMessage,
    Operation,
    Order,
    PageQuery,
    Remove,
    Scope,
    SearchQuery,
    Update,
    Viewer,
    Written,
)
from fairlead.conversations.texts import terms_of, title_of
from fairlead.conversations.writer import BatchedThreadWriter, WritableStore
from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.ids import uuid7
from fairlead.core.lifecycle import Resource
from fairlead.core.tasks import TaskOwner, log_failure
from fairlead.errors import NotFoundError, RequestError

MAX_SEARCH = 500
"""Characters of a search."""
_STEP = 200
"""Messages that are read at a time while one is looked for."""

DEFAULT_OPTIONS = DatabaseOptions()
_LATEST = PageQuery()


class ConversationStore(ThreadStore, WritableStore, Protocol):
    """A `ThreadStore` that keeps dead letters and knows whether it is open."""

    @property
    def is_open(self) -> bool:
        """Whether it has been opened and not closed."""
        ...


class MessagePage(msgspec.Struct, frozen=True):
    """A thread and some of its messages."""

    head: Head
    """The thread; the messages may be newer than it, never older."""
    messages: Sequence[Message]
    next: int | None
    """`after` of the page behind; None at the end."""
    previous: int | None
    """`before` of the page before; None at the beginning."""


class ThreadPage(msgspec.Struct, frozen=True):
    """Some threads of a listing."""

    threads: Sequence[Head]
    next: str | None
    """Cursor of the page behind; None at the end."""


class SearchPage(msgspec.Struct, frozen=True):
    """Some of what a search has found."""

    hits: Sequence[Hit]
    next: str | None
    """Cursor of the page behind; None at the end."""


class ConversationDatabase(Resource):
    """Threads of messages: written durably, listed, searched, shared, within what a viewer may see.

    >>> import asyncio
    >>> from fairlead import MemoryThreadStore, MessageInput, Viewer
    >>> async def main():
    ...     ann, bob = Viewer("acme", "ann"), Viewer("acme", "bob")
    ...     async with ConversationDatabase(MemoryThreadStore()) as database:
    ...         question = MessageInput("user", "How do I rotate the signing keys?")
    ...         thread = (await database.create(ann, messages=[question])).head.id
    ...         await database.append(ann, thread, [MessageInput("assistant", "Run keys rotate.")])
    ...         await database.share(ann, thread, True)
    ...         found = await database.search(bob, "signing keys")
    ...         page = await database.messages(bob, found.hits[0].head.id)
    ...         return page.head.title, [message.role for message in page.messages]
    >>> asyncio.run(main())
    ('How do I rotate the signing keys?', ['user', 'assistant'])

    A viewer sees their own threads and those that are shared in their tenant; any other raises
    `NotFoundError`, and changing one that is only shared `ForbiddenError`. With `expected_version`
    a change raises `ConflictError` where the thread has another version by now. Every write returns
    after its commit; what it may raise besides: `BatchedThreadWriter.write`. What is not allowed
    raises `RequestError` with the field at fault as `param`.

    A store that is not open yet is opened, and closed again; so is the writer that is made where
    none is given.
    """

    def __init__(
        self,
        store: ConversationStore,
        *,
        writer: BatchedThreadWriter | None = None,
        options: DatabaseOptions = DEFAULT_OPTIONS,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """A `writer` that is given is the caller's to open and close, and writes to this store."""
        self._store = store
        self._clock = clock
        self._owns_store = False
        self._given = writer
        self._writer = writer or BatchedThreadWriter(store, clock=clock)
        self._tasks = TaskOwner(log_failure)
        self._hot = HotThreads(store, options, self._tasks)

    @property
    def writer(self) -> BatchedThreadWriter:
        """What it writes with."""
        return self._writer

    def statistics(self) -> DatabaseStatistics:
        """What is in memory; the writer has its own."""
        return self._hot.statistics()

    # ---- reading

    async def read(self, viewer: Viewer, thread: str) -> Head:
        """The thread without its messages."""
        self.check_open()
        head = await self._hot.head(viewer.tenant, inputs.checked_id(thread))
        if head is None or not viewer.sees(head):
            raise NotFoundError("thread", thread)
        return head

    async def messages(
        self, viewer: Viewer, thread: str, query: PageQuery = _LATEST
    ) -> MessagePage:
        """A page of messages, the latest by default; `limit` is 1 to 1,000.

        The page opposite to the direction that was asked for may turn out to be empty, where what
        was there has been removed.
        """
        inputs.checked_limit(query.limit)
        if query.after is not None and query.before is not None:
            raise RequestError(422, "after and before exclude each other", param="before")
        head = await self.read(viewer, thread)
        return _message_page(head, query, await self._hot.page(head, query))

    async def list(
        self,
        viewer: Viewer,
        *,
        order: Order = "last_activity",
        scope: Scope = "team",
        limit: int = 50,
        cursor: str | None = None,
    ) -> ThreadPage:
        """A page of the threads that the viewer sees, newest first, or by title from A to Z.

        `cursor` is a page's `next`, for the same order and scope.
        """
        self.check_open()
        after = list_position(cursor, order, scope)
        query = ListQuery(viewer, order, scope, inputs.checked_limit(limit) + 1, after)
        found = await self._store.listing(query)
        more = list_cursor(found[limit - 1], order, scope) if len(found) > limit else None
        return ThreadPage(found[:limit], more)

    async def search(
        self, viewer: Viewer, text: str, *, limit: int = 20, cursor: str | None = None
    ) -> SearchPage:
        """A page of the threads that hold all words of `text`, the best first.

        `text` has 1 to 500 characters and at least one word; `cursor` is a page's `next`, for the
        same text.
        """
        self.check_open()
        if len(text) > MAX_SEARCH or not terms_of(text):
            message = f"a search has a word in it, and at most {MAX_SEARCH} characters"
            raise RequestError(422, message, param="q", code="invalid")
        offset = search_offset(cursor, text)
        query = SearchQuery(viewer, text, inputs.checked_limit(limit) + 1, offset)
        found = await self._store.search(query)
        more = search_cursor(text, offset + limit) if len(found) > limit else None
        return SearchPage(found[:limit], more)

    # ---- writing

    async def create(
        self,
        viewer: Viewer,
        *,
        title: str | None = None,
        messages: Sequence[MessageInput] = (),
    ) -> Written:
        """Begin a thread; without a title it gets that of the first thing that its user says."""
        now = self._now()
        prepared = await self._prepared(messages, now)
        if title is None:
            said = (message.text for message in prepared if message.role == "user")
            title = title_of(next(said, ""))
        return await self._write(
            Create(
                id=str(uuid7(now)),
                thread=str(uuid7(now)),
                viewer=viewer,
                time=now,
                title=inputs.checked_title(title),
                messages=prepared,
            )
        )

    async def append(
        self, viewer: Viewer, thread: str, messages: Sequence[MessageInput]
    ) -> Written:
        """Add messages (1 to 1,000) at the end of the thread."""
        thread, now = inputs.checked_id(thread), self._now()
        if not messages:
            raise RequestError(422, "there is no message to add", param="messages", code="invalid")
        prepared = await self._prepared(messages, now)
        return await self._write(
            Append(id=prepared[0].id, thread=thread, viewer=viewer, time=now, messages=prepared)
        )

    async def edit(
        self,
        viewer: Viewer,
        thread: str,
        message: str,
        content: Any,
        *,
        metadata: Json | None = None,
        expected_version: int | None = None,
    ) -> Written:
        """Give a message another content; without `metadata` it keeps what it has."""
        thread, message = inputs.checked_id(thread), inputs.checked_id(message, "message")
        now = self._now()
        old = await self._find(await self.read(viewer, thread), message)
        given = old.metadata if metadata is None else metadata
        edited = await asyncio.to_thread(inputs.replacement, message, old.role, content, given, now)
        return await self._write(
            Edit(
                id=str(uuid7(now)),
                thread=thread,
                viewer=viewer,
                time=now,
                message=edited,
                expected_version=expected_version,
            )
        )

    async def remove(
        self, viewer: Viewer, thread: str, message: str, *, expected_version: int | None = None
    ) -> Written:
        """Take a message out; its sequence is not used again."""
        now = self._now()
        return await self._write(
            Remove(
                id=str(uuid7(now)),
                thread=inputs.checked_id(thread),
                viewer=viewer,
                time=now,
                message=inputs.checked_id(message, "message"),
                expected_version=expected_version,
            )
        )

    async def update(
        self,
        viewer: Viewer,
        thread: str,
        *,
        title: str | None = None,
        is_shared: bool | None = None,
        expected_version: int | None = None,
    ) -> Written:
        """Set the title or whether the thread is shared; None leaves a field as it is."""
        now = self._now()
        return await self._write(
            Update(
                id=str(uuid7(now)),
                thread=inputs.checked_id(thread),
                viewer=viewer,
                time=now,
                title=None if title is None else inputs.checked_title(title),
                is_shared=is_shared,
                expected_version=expected_version,
            )
        )

    async def share(self, viewer: Viewer, thread: str, shared: bool) -> Written:
        """Let everyone of the tenant read the thread, or its owner alone."""
        return await self.update(viewer, thread, is_shared=shared)

    async def delete(
        self, viewer: Viewer, thread: str, *, expected_version: int | None = None
    ) -> None:
        """Delete the thread with everything that was said in it."""
        now = self._now()
        await self._write(
            Delete(
                id=str(uuid7(now)),
                thread=inputs.checked_id(thread),
                viewer=viewer,
                time=now,
                expected_version=expected_version,
            )
        )

    # ---- inside

    async def _open(self) -> None:
        self._owns_store = not self._store.is_open
        if self._owns_store:
            await self._store.open()
        await self._tasks.open()
        if self._given is None:
            await self._writer.open()

    async def _close(self) -> None:
        try:
            if self._given is None:
                await self._writer.close()
            await self._tasks.close()
        finally:
            self._hot.clear()
            if self._owns_store:
                await self._store.close()

    async def _write(self, operation: Operation) -> Written:
        self.check_open()
        return await self._writer.write(operation)

    async def _prepared(self, messages: Sequence[MessageInput], now: int) -> tuple[NewMessage, ...]:
        if inputs.is_small(messages):
            return inputs.prepare(messages, now)
        # Encoding megabytes would keep everybody else waiting.
        return await asyncio.to_thread(inputs.prepare, messages, now)

    async def _find(self, head: Head, message: str) -> Message:
        """The message with this id, looked for from the end."""
        query = PageQuery(limit=_STEP)
        while page := (await self._hot.page(head, query))[-_STEP:]:
            found = next((one for one in page if one.id == message), None)
            if found is not None:
                return found
            query = PageQuery(limit=_STEP, before=page[0].sequence)
        raise NotFoundError("message", message)

    def _now(self) -> int:
        return int(self._clock.time() * 1000)

    def __repr__(self) -> str:
        return f"<ConversationDatabase {self._writer!r}, {self._hot!r}>"


def _message_page(head: Head, query: PageQuery, found: Sequence[Message]) -> MessagePage:
    """The page of which `found` is one message more, where there is more in its direction."""
    forward = query.after is not None
    page = tuple(found[: query.limit] if forward else found[-query.limit :])
    if not page:
        return MessagePage(head, (), None, None)
    more = len(found) > query.limit
    first, last = page[0].sequence, page[-1].sequence
    later = more if forward else query.before is not None and last < head.last_sequence
    earlier = first > 1 if forward else more
    return MessagePage(head, page, last if later else None, first if earlier else None)
