"""Whether what can be read of threads is what their log amounts to, and making it so."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from fairlead.conversations.base import ThreadLog, ThreadStore
from fairlead.conversations.lines import all_events
from fairlead.conversations.projection import Projection, fold
from fairlead.conversations.records import (
    Edited,
    Head,
    Message,
    MessageRow,
    PageQuery,
    Said,
    ThreadEvent,
)
from fairlead.conversations.turns import branch_page

MAX_DIFFERENCES = 1_000
"""As many are told; a store that has more of them is to be rebuilt anyway."""

_PAGE = 500
_ATTEMPTS = 10

Progress = Callable[[int], object]
"""Is told how many threads are done."""


class AuditedStore(ThreadStore, ThreadLog, Protocol):
    """A store with its log."""


class CheckedStore(AuditedStore, Protocol):
    """One whose engine can be checked, too."""

    async def check(self) -> Sequence[str]:
        """As `Archive.check`."""
        ...


class Difference(msgspec.Struct, frozen=True):
    """Where a store and its log do not agree, or what its engine has found."""

    what: str
    tenant: str = ""
    thread: str = ""
    """Both empty where it is not about one thread."""


async def threads_of(store: ThreadLog, tenant: str | None = None) -> AsyncIterator[tuple[str, str]]:
    """Tenant and id of each thread that has events; `tenant` None: of all tenants."""
    last = None
    async for page in all_events(store, tenant):
        for event in page:
            key = event.tenant, event.thread
            if key != last:
                last = key
                yield key


async def rebuild(
    store: ThreadLog, tenant: str | None = None, progress: Progress = lambda _: None
) -> int:
    """Make the projections of all threads anew from the log; how many threads there are."""
    done = 0
    async for key in threads_of(store, tenant):
        await store.project(*key)
        done += 1
        progress(done)
    return done


async def verify(
    store: CheckedStore, tenant: str | None = None, progress: Progress = lambda _: None
) -> list[Difference]:
    """Where what can be read is not what the log amounts to, and what the engine's check finds.

    A thread that is written to meanwhile is looked at again.
    """
    found = [Difference(what) for what in await store.check()]
    done = 0
    async for tenant_of, thread in threads_of(store, tenant):
        flaws = await _flaws(store, tenant_of, thread)
        found += [Difference(what, tenant_of, thread) for what in flaws]
        done += 1
        progress(done)
        if len(found) >= MAX_DIFFERENCES:
            break
    return found[:MAX_DIFFERENCES]


async def _flaws(store: AuditedStore, tenant: str, thread: str) -> list[str]:
    flaws: list[str] = []
    for _ in range(_ATTEMPTS):
        events = await store.thread_events(tenant, thread)
        projection = fold(tenant, thread, events)
        flaws = _gaps(events) + _of_head(await store.head(tenant, thread), projection.head)
        flaws += await _of_messages(store, projection, events)
        flaws += await _of_branches(store, projection)
        if not flaws or len(await store.thread_events(tenant, thread)) == len(events):
            break
    return flaws


def _gaps(events: Sequence[ThreadEvent]) -> list[str]:
    sequences: dict[str, list[int]] = {}
    for event in events:
        sequences.setdefault(event.origin, []).append(event.sequence)
    return [
        f"the log of origin {origin!r} has gaps: {len(found)} events up to {max(found)}"
        for origin, found in sequences.items()
        if max(found) != len(found)
    ]


def _of_head(stored: Head | None, expected: Head) -> list[str]:
    if stored is None:
        return ["it is in the log only"]
    return [
        f"{name} is {_short(getattr(stored, name))}, by the log {_short(getattr(expected, name))}"
        for name in Head.__struct_fields__
        if getattr(stored, name) != getattr(expected, name)
    ]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


async def _of_messages(
    store: AuditedStore, projection: Projection, events: Sequence[ThreadEvent]
) -> list[str]:
    by_id = {event.id: event for event in events}
    expected = {name: _expected(row, by_id) for name, row in projection.rows.items()}
    flaws = []
    async for message in _read(store, projection.head, None):
        wanted = expected.pop(message.id, None)
        if wanted is None:
            flaws.append(f"message {message.id} is not in the log")
        elif message != wanted:
            flaws.append(f"message {message.id} has another {_unlike(message, wanted)}")
    return flaws + [f"message {name} is in the log only" for name in expected]


def _expected(row: MessageRow, by_id: Mapping[str, ThreadEvent]) -> Message:
    told = by_id[row.event].change
    return Message(
        id=row.id,
        sequence=row.sequence,
        role=row.role,
        timestamp=row.timestamp,
        content=msgspec.Raw(by_id[row.content_event].content or b"null"),
        metadata=told.metadata if isinstance(told, Said | Edited) else {},
        branch=row.branch,
    )


def _unlike(message: Message, wanted: Message) -> str:
    names = Message.__struct_fields__
    return ", ".join(name for name in names if getattr(message, name) != getattr(wanted, name))


async def _of_branches(store: AuditedStore, projection: Projection) -> list[str]:
    places = [(row.sequence, row.branch) for row in projection.rows.values()]
    flaws = []
    for row in projection.branches:
        query = PageQuery(limit=len(places), branch=row.branch)
        found = [message.sequence async for message in _read(store, projection.head, row.branch)]
        if found != branch_page(row.basis, places, query):
            flaws.append(f"branch {row.branch} has other messages")
    return flaws


async def _read(store: AuditedStore, head: Head, branch: int | None) -> AsyncIterator[Message]:
    """All messages of a thread or a branch, by pages."""
    after = 0
    while page := await store.messages(
        head.tenant, head.id, PageQuery(limit=_PAGE, after=after, branch=branch)
    ):
        for message in page:
            yield message
        after = page[-1].sequence
