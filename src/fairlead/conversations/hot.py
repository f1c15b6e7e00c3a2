"""Hot threads: the latest messages of threads that were read lately, in memory, never stale.

What is kept is served only where the thread's head is still the one it was read under: each read
asks the store for the head, which is cheap. A head never comes back to an earlier version, so what
a write during a load has made inconsistent is never served again.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Protocol

import msgspec

from fairlead.conversations.options import DatabaseOptions, DatabaseStatistics
from fairlead.conversations.records import Head, Message, PageQuery
from fairlead.core.lru import SizedLRU
from fairlead.core.tasks import TaskOwner, attempt
from fairlead.errors import ClosedError

MAX_TAIL = 1_001
"""Messages of one thread that are kept: the longest page, and one that shows what is before it."""
_OVERHEAD = 512
"""Bytes that a message or a head takes besides its content."""


class ReadableStore(Protocol):
    """What is asked of a store here; as in `base.ThreadStore`."""

    async def head(self, tenant: str, thread: str) -> Head | None:
        """The thread, deleted or not."""
        ...

    async def messages(self, tenant: str, thread: str, query: PageQuery) -> Sequence[Message]:
        """A page of messages in ascending order."""
        ...


class Tail(msgspec.Struct, frozen=True):
    """A thread's head, and its latest messages without a gap, under that head or a later one."""

    head: Head
    messages: tuple[Message, ...] = ()
    is_whole: bool = False
    """There is nothing before them."""
    size: int = _OVERHEAD
    """Bytes that it occupies, roughly."""

    def page(self, query: PageQuery) -> tuple[Message, ...] | None:
        """The page and perhaps one message more in its direction; None where it is not all here.

        As the store answers it with a limit of one more.
        """
        if query.branch is not None or not (self.messages or self.is_whole):
            return None
        limit = query.limit + 1
        if query.after is not None:
            return self._after(query.after, limit)
        end = len(self.messages)
        if query.before is not None:
            end = bisect_left(self.messages, query.before, key=_sequence)
        if end < limit and not self.is_whole:
            return None
        return self.messages[max(0, end - limit) : end]

    def _after(self, sequence: int, limit: int) -> tuple[Message, ...] | None:
        if not self.is_whole and sequence < self.messages[0].sequence:
            return None
        start = bisect_right(self.messages, sequence, key=_sequence)
        return self.messages[start : start + limit]

    def joined(self, query: PageQuery, page: Sequence[Message]) -> Tail:
        """With a page of one more than the query's limit, where the two touch or overlap."""
        if query.branch is not None or query.after is not None:
            return self
        rest: tuple[Message, ...] = ()
        if query.before is not None:
            if not self.messages or query.before < self.messages[0].sequence:
                return self
            rest = self.messages[bisect_left(self.messages, query.before, key=_sequence) :]
        longer = len(self.messages) < len(page) + len(rest) <= MAX_TAIL
        is_whole = len(page) <= query.limit
        return self._with((*page, *rest), is_whole) if longer or is_whole else self

    def _with(self, messages: tuple[Message, ...], is_whole: bool) -> Tail:
        size = _OVERHEAD + sum(map(_size, messages))
        return Tail(self.head, messages, is_whole, size)


def _sequence(message: Message) -> int:
    return message.sequence


def _size(message: Message) -> int:
    metadata = len(msgspec.json.encode(message.metadata)) if message.metadata else 0
    return _OVERHEAD + len(message.content) + metadata


_Flight = asyncio.Task[tuple[Sequence[Message] | None, Exception | None]]


class HotThreads:
    """Tails of threads, bounded by bytes and by number; loads of one page share one read."""

    def __init__(self, store: ReadableStore, options: DatabaseOptions, tasks: TaskOwner) -> None:
        """`tasks` owns the reads, so that a caller who goes away takes nobody's answer along."""
        self._hits = self._misses = 0
        self._store = store
        self._tasks = tasks
        self._tails: SizedLRU[tuple[str, str], Tail] = SizedLRU(
            options.hot_threads, options.hot_bytes, lambda tail: tail.size
        )
        self._flights: dict[tuple[str, str, int, PageQuery], _Flight] = {}

    async def head(self, tenant: str, thread: str) -> Head | None:
        """The thread as it is now; None where there is none."""
        head = await self._store.head(tenant, thread)
        tail = self._tails.get((tenant, thread))
        if tail is not None and tail.head != head:
            self._tails.pop((tenant, thread))
        return head

    async def page(self, head: Head, query: PageQuery) -> Sequence[Message]:
        """The page of the thread, and one message more in its direction where there is one.

        `head` is the thread's, asked for just now: what is answered is at least as new.
        """
        tail = self._tails.get((head.tenant, head.id))
        if tail is not None and tail.head == head:
            page = tail.page(query)
            if page is not None:
                self._hits += 1
                return page
        self._misses += 1
        # With the version in its key nobody joins a read that began before their own write.
        key = head.tenant, head.id, head.version, query
        flight = self._flights.get(key)
        if flight is None:
            name = "threads: load"
            flight = self._flights[key] = self._tasks.spawn(attempt(self._load(head, query)), name)
            flight.add_done_callback(lambda _: self._flights.pop(key))
        return await _landed(flight)

    async def _load(self, head: Head, query: PageQuery) -> Sequence[Message]:
        more = msgspec.structs.replace(query, limit=query.limit + 1)
        page = await self._store.messages(head.tenant, head.id, more)
        self._keep(head, query, page)
        return page

    def _keep(self, head: Head, query: PageQuery, page: Sequence[Message]) -> None:
        key = head.tenant, head.id
        known = self._tails.get(key)
        if known is not None and known.head.version > head.version:
            return
        if known is None or known.head != head:
            # A copy: whoever gets a head may do with it what they like.
            known = Tail(msgspec.structs.replace(head))
        tail = known.joined(query, page)
        if tail.messages or tail.is_whole:
            self._tails.put(key, tail)

    def statistics(self) -> DatabaseStatistics:
        """What it holds, and how often that was of use."""
        return DatabaseStatistics(len(self._tails), self._tails.bytes, self._hits, self._misses)

    def clear(self) -> None:
        """Forget everything."""
        self._tails.clear()

    def __repr__(self) -> str:
        return f"<HotThreads {self._tails!r}, {self._hits} hits, {self._misses} misses>"


async def _landed(flight: _Flight) -> Sequence[Message]:
    try:
        page, error = await asyncio.shield(flight)
    except asyncio.CancelledError:
        if flight.cancelled():
            raise ClosedError("the conversations were closed") from None
        raise
    if error is not None:
        raise error
    return page or ()
