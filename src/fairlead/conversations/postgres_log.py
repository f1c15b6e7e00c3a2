"""PostgreSQL for those who look after a store: log, projections, dead letters, integrity."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fairlead.conversations.batch import Key, Stored, ThreadState
from fairlead.conversations.codec import encode
from fairlead.conversations.postgres_apply import lock_threads
from fairlead.conversations.postgres_pool import Connection, Connections, statements
from fairlead.conversations.postgres_rows import columns, event_of, event_row, is_id, kept
from fairlead.conversations.postgres_save import count, put, remove, save_threads, use
from fairlead.conversations.projection import fold
from fairlead.conversations.records import DeadLetter, Head, LogPosition, ThreadEvent

MAX_LETTERS = 10_000
CHECK_DEADLINE = 600.0
"""Seconds for a check, which reads whole tables."""

_SQL = statements("log")
_CHECKS = statements("check")
_FINDINGS = {
    "lost_events": "messages without an event in the log",
    "lost_threads": "threads that have messages and are deleted or missing",
    "lost_summaries": "threads with only one of thread and summary",
    "miscounted": "threads with another number of messages than their summary says",
}
_FIRST = "00000000-0000-0000-0000-000000000000"


async def events(
    connections: Connections, after: LogPosition | None, limit: int, tenant: str | None
) -> list[ThreadEvent]:
    """`ThreadLog.events`."""
    position = after or LogPosition(tenant or "", "")
    values = {
        "only": tenant,
        "tenant": position.tenant,
        "thread": position.thread or _FIRST,
        "origin": position.origin,
        "sequence": position.sequence,
        "limit": limit,
    }
    statement = _SQL["events" if tenant is None else "tenant_events"]
    async with connections.connection() as connection:
        cursor = await connection.execute(statement, values)
        return [event_of(row) for row in await cursor.fetchall()]


async def thread_events(connection: Connection, key: Key) -> list[ThreadEvent]:
    """`ThreadLog.thread_events`."""
    if not is_id(key[1]):
        return []
    cursor = await connection.execute(_SQL["thread_events"], key)
    return [event_of(row) for row in await cursor.fetchall()]


async def add(connection: Connection, given: Sequence[ThreadEvent], slot: int) -> int:
    """`ThreadLog.add`, within the transaction that `connection` is in."""
    keys = sorted({(event.tenant, event.thread) for event in given})
    stored = {(head.tenant, head.id): head for head in await lock_threads(connection, keys)}
    rows = [_stored(event) for event in sorted(given, key=_key)]
    cursor = await connection.execute(_SQL["add_events"], columns(event_row(one) for one in rows))
    new = {identity for (identity,) in await cursor.fetchall()}
    added = [one.event for one in rows if one.event.id in new]
    await count(connection, added)
    await use(connection, added, slot)
    for key in keys:
        await _project(connection, key, stored.get(key))
    return len(added)


async def project(connection: Connection, key: Key) -> None:
    """`ThreadLog.project`, within the transaction that `connection` is in."""
    if not is_id(key[1]):
        return
    stored = await lock_threads(connection, [key])
    await _project(connection, key, stored[0] if stored else None)


async def _project(connection: Connection, key: Key, stored: Head | None) -> None:
    tenant, thread = key
    log = await thread_events(connection, key)
    if not log:
        await remove(connection, [key])
        return
    await count(connection, log)
    # Slow for a long thread, but on the event loop only for what is imported or repaired.
    projection = fold(tenant, thread, log)
    state = ThreadState(stored or Head(thread, tenant), is_new=stored is None)
    state.head = projection.head
    state.rows = projection.rows
    state.texts = projection.texts
    state.added = set(projection.rows)
    state.added_branches = projection.branches
    state.is_cleared = True
    await save_threads(connection, [state])
    if state.head.session is not None:
        # What came from another region does not take a session that has a thread here.
        await put(connection, "offer_sessions", [(tenant, state.head.session, thread)])


def _stored(event: ThreadEvent) -> Stored:
    data, content = encode(event)
    size = len(data) + len(content or b"")
    return Stored(msgspec.structs.replace(event, size=size), data, content)


def _key(event: ThreadEvent) -> tuple[str, str, str, int]:
    return event.tenant, event.thread, event.origin, event.sequence


async def bury(connection: Connection, letters: Sequence[DeadLetter]) -> None:
    """`ThreadLog.bury`, within the transaction that `connection` is in."""
    rows = [
        (kept(one.id), kept(one.tenant), one.time, kept(one.error), one.payload) for one in letters
    ]
    await connection.execute(_SQL["bury"], columns(rows))
    await connection.execute(_SQL["drop_letters"], [MAX_LETTERS])


async def check(connections: Connections) -> list[str]:
    """`Archive.check`: how many rows do not fit together; pages the server checks by itself."""
    found = []
    async with connections.transaction(deadline=CHECK_DEADLINE) as connection:
        await connection.execute(_CHECKS["patience"], [f"{int(CHECK_DEADLINE)}s"])
        for name, words in _FINDINGS.items():
            cursor = await connection.execute(_CHECKS[name])
            row = await cursor.fetchone()
            if row is not None and row[0]:
                found.append(f"{row[0]} {words}")
    return found
