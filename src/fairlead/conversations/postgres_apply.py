"""A batch of operations in one transaction of PostgreSQL, in about four round trips."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fairlead.conversations.base import Outcome
from fairlead.conversations.batch import Batch, Ids, Key
from fairlead.conversations.postgres_pool import Connection, RaceError, statements
from fairlead.conversations.postgres_rows import (
    branch_of,
    head_of,
    is_id,
    message_row_of,
)
from fairlead.conversations.postgres_save import save
from fairlead.conversations.records import (
    Append,
    Create,
    Edit,
    Head,
    Operation,
    Record,
    Remove,
)

SQL = statements("apply")


async def apply(
    connection: Connection, operations: Sequence[Operation], origin: str, slot: int, *, retry: bool
) -> list[Outcome]:
    """Write `operations` within the transaction that `connection` is in (`ThreadStore.apply`).

    `slot` is which row of `tenant_usage` counts what is added.
    """
    batch = Batch(origin)
    await _lock(connection, batch, operations, retry=retry)
    if retry:
        await _look_for_repeated(connection, batch, operations)
    await _load(connection, batch, operations, origin)
    outcomes = batch.perform(operations)
    await save(connection, batch.changed(), slot)
    return outcomes


# ---- reading


async def _lock(
    connection: Connection, batch: Batch, operations: Sequence[Operation], *, retry: bool
) -> None:
    """Load the threads that `operations` are about, locked until the end of the transaction."""
    sessions = {
        (operation.viewer.tenant, operation.turn.session)
        for operation in operations
        if isinstance(operation, Record)
    }
    named = {(operation.viewer.tenant, operation.thread) for operation in operations}
    repeated = [operation.id for operation in operations] if retry else []
    batch.load(await lock_threads(connection, named, sessions, repeated))
    if not sessions:
        return
    cursor = await connection.execute(SQL["sessions"], [*_pairs(sessions)])
    for tenant, session, thread in await cursor.fetchall():
        if (tenant, thread) not in batch.threads:
            raise RaceError("a session has got its thread meanwhile")
        batch.sessions[tenant, session] = thread


async def lock_threads(
    connection: Connection,
    keys: Iterable[Key],
    sessions: Iterable[tuple[str, str]] = (),
    repeated: Sequence[str] = (),
) -> list[Head]:
    """Threads by their keys, by tenant and session, and by the id of an event."""
    tenants, threads = _pairs(key for key in keys if is_id(key[1]))
    session_tenants, session_names = _pairs(sessions)
    cursor = await connection.execute(
        SQL["lock"],
        {
            "tenants": tenants,
            "threads": threads,
            "session_tenants": session_tenants,
            "sessions": session_names,
            "repeated": list(repeated),
        },
    )
    return [head_of(row) for row in await cursor.fetchall()]


async def _look_for_repeated(
    connection: Connection, batch: Batch, operations: Sequence[Operation]
) -> None:
    """Find out which operations were applied before, and what they added."""
    # Looked up after the threads were locked: an attempt whose end nobody saw is over by now.
    added = {operation.id: _may_have_added(operation) for operation in operations}
    events = await connection.execute(SQL["repeated"], [list(added)])
    messages = [message for ids in added.values() for message in ids]
    rows = await connection.execute(SQL["sequences"], [messages])
    found = {identity: (tenant, thread) for identity, tenant, thread in await events.fetchall()}
    sequences = dict(await rows.fetchall())
    repeated: dict[str, tuple[Key, Ids]] = {}
    for operation in operations:
        key = found.get(operation.id)
        if key is not None and key[0] == operation.viewer.tenant:
            ids = [(one, sequences[one]) for one in added[operation.id] if one in sequences]
            repeated[operation.id] = key, tuple(sorted(ids, key=lambda pair: pair[1]))
    batch.repeated = repeated


def _may_have_added(operation: Operation) -> list[str]:
    match operation:
        case Create() | Append():
            return [message.id for message in operation.messages]
        case Record():
            turn = operation.turn
            messages = (*turn.system, *turn.prompt, *turn.answer)
            # The first one took the operation's id where the thread was there already.
            return [operation.id, *(message.id for message in messages)]
    return []


async def _load(
    connection: Connection, batch: Batch, operations: Sequence[Operation], origin: str
) -> None:
    """Read what the operations need to be decided."""
    whole = {batch.key(one) for one in operations if isinstance(one, Record)} & set(batch.threads)
    named = [identity for one in operations for identity in _names(one) if is_id(identity)]
    if not batch.threads:
        return
    counters = await connection.execute(SQL["counters"], [*_pairs(batch.threads), origin])
    by_id = await connection.execute(SQL["named_rows"], [named]) if named else None
    rows = await connection.execute(SQL["rows"], [*_pairs(whole)]) if whole else None
    branches = await connection.execute(SQL["branches"], [*_pairs(whole)]) if whole else None
    for tenant, thread, last in await counters.fetchall():
        batch.threads[tenant, thread].last = last
    for cursor in (rows, by_id):
        for tenant, thread, *row in await cursor.fetchall() if cursor else ():
            if (tenant, thread) in batch.threads:
                batch.threads[tenant, thread].hold(message_row_of(row))
    for tenant, thread, branch, basis in await branches.fetchall() if branches else ():
        batch.threads[tenant, thread].branches.append(branch_of(branch, basis))


def _names(operation: Operation) -> list[str]:
    match operation:
        case Edit():
            return [operation.message.id]
        case Remove():
            return [operation.message]
    return []


def _pairs(keys: Iterable[tuple[str, str]]) -> tuple[list[str], list[str]]:
    listed = list(keys)
    return [first for first, _ in listed], [second for _, second in listed]
