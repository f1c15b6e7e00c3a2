"""What has become of threads, written with one statement for each kind of row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from fairlead.conversations.batch import Key, ThreadState
from fairlead.conversations.postgres_pool import Connection, statements
from fairlead.conversations.postgres_rows import (
    TITLE_SEQUENCE,
    Row,
    branch_row,
    changed_row,
    columns,
    event_row,
    message_row,
    summary_row,
    thread_row,
    vector,
)
from fairlead.conversations.records import ThreadEvent

_SQL = statements("apply")


async def save(connection: Connection, states: Sequence[ThreadState], slot: int) -> None:
    """Write `states` and their new events, in their order; nothing is waited for."""
    stored = [one for state in states for one in state.events]
    await put(connection, "add_events", [event_row(one) for one in stored])
    events = [one.event for one in stored]
    await count(connection, events)
    await use(connection, events, slot)
    await save_threads(connection, states)
    # After the threads: one that was deleted has given its session free.
    begun = [_session_row(state, state.begun_session) for state in states]
    await put(connection, "begin_sessions", [row for row in begun if row])


async def save_threads(connection: Connection, states: Sequence[ThreadState]) -> None:
    """Write the projections of `states`; nothing is waited for."""
    cleared = [(state.head.tenant, state.head.id) for state in states if state.is_cleared]
    await clear(connection, cleared)
    await _save_rows(connection, states)
    old = [thread_row(state.head) for state in states if not state.is_new]
    await put(connection, "change_threads", old)
    new = [thread_row(state.head) for state in states if state.is_new]
    await put(connection, "add_threads", new)
    ended = [_session_row(state, state.ended_session) for state in states]
    await put(connection, "end_sessions", [row for row in ended if row])
    await put(connection, "put_summaries", [summary_row(state.head) for state in states])


def _session_row(state: ThreadState, session: str | None) -> Row | None:
    return None if session is None else (state.head.tenant, session, state.head.id)


async def put(connection: Connection, statement: str, rows: Sequence[Row]) -> None:
    """Execute a statement over the columns of `rows`, if there are any."""
    if rows:
        await connection.execute(_SQL[statement], columns(rows))


async def count(connection: Connection, events: Iterable[ThreadEvent]) -> None:
    """Move the counters of the events' origins to the latest of them."""
    last: dict[tuple[str, str, str], int] = {}
    for event in events:
        key = event.tenant, event.thread, event.origin
        last[key] = max(event.sequence, last.get(key, 0))
    await put(connection, "count", [(*key, sequence) for key, sequence in sorted(last.items())])


async def use(connection: Connection, events: Iterable[ThreadEvent], slot: int) -> None:
    """Count the events' bytes for their tenants."""
    used: dict[str, int] = {}
    for event in events:
        used[event.tenant] = used.get(event.tenant, 0) + event.size
    await put(connection, "use", [(tenant, slot, size) for tenant, size in sorted(used.items())])


async def clear(connection: Connection, keys: Sequence[Key]) -> None:
    """Remove what is read of threads but their own rows."""
    for statement in ("clear_rows", "clear_branches", "clear_words"):
        await put(connection, statement, keys)


async def remove(connection: Connection, keys: Sequence[Key]) -> None:
    """Remove everything of threads but their events."""
    await clear(connection, keys)
    for table in ("sessions", "counters", "summaries", "threads"):
        await put(connection, f"clear_{table}", keys)


async def _save_rows(connection: Connection, states: Sequence[ThreadState]) -> None:
    dropped = [
        (state.head.tenant, state.head.id, sequence)
        for state in states
        for sequence in state.dropped
    ]
    await put(connection, "drop_rows", dropped)
    await put(connection, "drop_words", dropped)
    added = [message_row(state.head, state.rows[one]) for state in states for one in state.added]
    await put(connection, "add_rows", added)
    moved = [changed_row(state.head, state.rows[one]) for state in states for one in state.changed]
    await put(connection, "change_rows", moved)
    branches = [branch_row(state.head, one) for state in states for one in state.added_branches]
    await put(connection, "add_branches", branches)
    await put(connection, "put_words", [row for state in states for row in _words(state)])


def _words(state: ThreadState) -> Iterator[Row]:
    """Rows of `thread_words`; none where there was none and there is nothing to be found."""
    head = state.head
    if state.is_retitled:
        words = vector(head.tenant, head.title)
        if words or not (state.is_new or state.is_cleared):
            yield head.tenant, head.id, TITLE_SEQUENCE, head.created, words
    for identity, text in state.texts.items():
        row, words = state.rows[identity], vector(head.tenant, text)
        if words or identity in state.changed:
            yield head.tenant, head.id, row.sequence, row.timestamp, words
