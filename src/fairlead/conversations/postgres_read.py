"""What is read of threads in PostgreSQL, each by an index."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from fairlead.conversations.batch import Key
from fairlead.conversations.postgres_pool import Connection, Connections, statements
from fairlead.conversations.postgres_rows import Row, columns, head_of, is_id, message_of
from fairlead.conversations.records import Head, ListQuery, Message, PageQuery
from fairlead.conversations.turns import branch_page

HEAD = b"""
    c.id::text, c.tenant, c.user_id, c.team_id, c.title, c.created, c.last_activity, c.is_shared,
    c.version, c.deleted, c.session, c.hlc, c.last_sequence, c.branches, c.branch, c.bytes,
    s.last_message_id, s.last_message, s.message_count, s.participants"""
"""The columns of a thread, in the order of `Head`."""

_SQL = {name: sql.replace(b"{head}", HEAD) for name, sql in statements("read").items()}
_BEYOND = 2**31 - 1
_SMALL = 256 * 1024

# Column, and direction: newest first, or from A to Z.
_ORDERS = {
    "last_activity": (b"last_activity", b"DESC", b"<"),
    "created": (b"created", b"DESC", b"<"),
    "title": (b"title_key", b"ASC", b">"),
}
_OWN = b"AND user_id = %(user)s"
_SHARED = b"AND is_shared"
_OTHERS = b"AND is_shared AND user_id <> %(user)s"


async def head(connections: Connections, tenant: str, thread: str) -> Head | None:
    """`ThreadStore.head`."""
    if not is_id(thread):
        return None
    async with connections.connection() as connection:
        cursor = await connection.execute(_SQL["head"], [tenant, thread])
        row = await cursor.fetchone()
    return None if row is None else head_of(row)


async def heads(connection: Connection, keys: Sequence[Key]) -> list[Head]:
    """Threads by their keys, in any order."""
    if not keys:
        return []
    cursor = await connection.execute(_SQL["heads"], columns(keys))
    return [head_of(row) for row in await cursor.fetchall()]


# ---- listings


async def listing(connections: Connections, query: ListQuery) -> list[Head]:
    """`ThreadStore.listing`."""
    values: dict[str, Any] = {
        "tenant": query.viewer.tenant,
        "user": query.viewer.user,
        "limit": query.limit,
        "place": query.after and query.after[0],
        "last": query.after and query.after[1],
    }
    async with connections.connection() as connection:
        cursor = await connection.execute(list_statement(query), values)
        return [head_of(row) for row in await cursor.fetchall()]


def list_statement(query: ListQuery) -> bytes:
    """The statement for a listing; it has one part for each index that it reads."""
    column, way, beyond = _ORDERS[query.order]
    after = b""
    if query.after is not None:
        after = b"AND (%s, id) %s (%%(place)s, %%(last)s::uuid)" % (column, beyond)
    parts = [
        _filled(_SQL["list_part"], column=column, way=way, scope=scope, after=after)
        for scope in _scopes(query)
    ]
    return _filled(_SQL["list"], parts=b" UNION ALL ".join(parts), way=way)


def _scopes(query: ListQuery) -> list[bytes]:
    if query.scope == "shared":
        return [_SHARED]
    if query.viewer.user is None:
        return [b""]
    return [_OWN] if query.scope == "user" else [_OWN, _OTHERS]


def _filled(sql: bytes, **fields: bytes) -> bytes:
    for name, value in fields.items():
        sql = sql.replace(b"{%s}" % name.encode(), value)
    return sql


# ---- messages


async def messages(
    connections: Connections, tenant: str, thread: str, query: PageQuery
) -> list[Message]:
    """`ThreadStore.messages`."""
    if not is_id(thread):
        return []
    values: dict[str, Any] = {
        "tenant": tenant,
        "thread": thread,
        "branch": query.branch,
        "after": 0 if query.after is None else query.after,
        "before": _BEYOND if query.before is None or query.after is not None else query.before,
        "limit": query.limit,
    }
    async with connections.connection() as connection:
        if query.branch is None:
            name = "backward" if query.after is None else "forward"
            rows = await _fetch(connection, name, values)
        else:
            values["sequences"] = await _branch_page(connection, query, values)
            rows = await _fetch(connection, "at", values)
    if sum(len(row[-1] or b"") for row in rows) < _SMALL:
        return [message_of(row) for row in rows]
    # What takes milliseconds does not hold up the event loop.
    return await asyncio.to_thread(lambda: [message_of(row) for row in rows])


async def _fetch(connection: Connection, name: str, values: dict[str, Any]) -> list[Row]:
    cursor = await connection.execute(_SQL[name], values)
    return await cursor.fetchall()


async def _branch_page(
    connection: Connection, query: PageQuery, values: dict[str, Any]
) -> list[int]:
    """Which messages of a branch are on the page: sequences in the branch's order."""
    basis = await _fetch(connection, "basis", values)
    places = await _fetch(connection, "places", values)
    ranges = [(first, last) for first, last in basis[0][0]] if basis else []
    return branch_page(ranges, [(sequence, branch) for sequence, branch in places], query)
