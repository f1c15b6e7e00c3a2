"""What is read of threads in the SQLite file, each by an index; runs in a reader's thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import apsw

from fairlead.conversations.records import (
    Head,
    ListQuery,
    LogPosition,
    Message,
    PageQuery,
    ThreadEvent,
)
from fairlead.conversations.sqlite_open import SqliteFile, connect_reader, disconnect, translated
from fairlead.conversations.sqlite_rows import (
    HEAD,
    basis_of,
    event_of,
    head_of,
    known_id,
    message_of,
)
from fairlead.conversations.turns import branch_page
from fairlead.core.statements import load_statements

T = TypeVar("T")
Values = Mapping[str, Any]

SQL = {
    name: sql.replace("{head}", HEAD)
    for name, sql in load_statements("fairlead.conversations", "sql", "sqlite", "read.sql").items()
}

_BEYOND = 2**63 - 1
_STEPS = 10_000
"""Of SQLite's virtual machine between two looks at the clock: about a millisecond."""

# Column of each order, direction, and what comes behind: newest first, or from A to Z.
_ORDERS = {
    "last_activity": ("last_activity", "DESC", "<"),
    "created": ("created", "DESC", "<"),
    "title": ("title_key", "ASC", ">"),
}
_SCOPES = {"own": "c.user_id = :user", "shared": "c.is_shared = 1", "all": "1"}


class Reader:
    """A connection that only reads, and ends what takes too long."""

    def __init__(self, file: SqliteFile) -> None:
        self._path = file.path
        self._connection = connect_reader(file)
        self._connection.set_progress_handler(self._is_late, _STEPS)
        self._limit = 0.0

    def read(self, job: Callable[[apsw.Connection], T], seconds: float) -> T:
        """The result of `job(connection)`, which sees the file as it is at one moment."""
        self._limit = time.monotonic() + seconds
        with translated(self._path, self._connection):
            self._connection.execute("BEGIN")
            try:
                return job(self._connection)
            finally:
                # Reading has nothing to keep, and an error may have ended the transaction.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the connection."""
        disconnect(self._connection)

    def _is_late(self) -> bool:
        return time.monotonic() > self._limit


# ---- threads


def head(tenant: str, thread: str, connection: apsw.Connection) -> Head | None:
    """`ThreadStore.head`."""
    row = connection.execute(SQL["head"], _thread(tenant, thread)).get
    return None if row is None else head_of(row)


def listing(query: ListQuery, connection: apsw.Connection) -> list[Head]:
    """`ThreadStore.listing`: a part by each index it needs, of which the first ones are left."""
    values: dict[str, Any] = {
        "tenant": query.viewer.tenant,
        "user": query.viewer.user,
        "limit": query.limit,
    }
    if query.after is not None:
        values |= {"place": query.after[0], "last": known_id(query.after[1])}
    parts = [connection.execute(one, values).fetchall() for one in list_statements(query)]
    # A thread that is one's own and shared is in two parts.
    found = {row[0]: row for part in parts for row in part}
    newest_first = query.order != "title"
    rows = sorted(found.values(), key=lambda row: (row[-1], row[0]), reverse=newest_first)
    return [head_of(row[:-1]) for row in rows[: query.limit]]


def list_statements(query: ListQuery) -> list[str]:
    """The statements of a listing, one for each index that it reads."""
    column, way, beyond = _ORDERS[query.order]
    after = "" if query.after is None else _filled(SQL["after"], column=column, beyond=beyond)
    return [
        _filled(
            SQL["list"],
            index=f"conversations_{scope}_{query.order}",
            scope=_SCOPES[scope],
            column=column,
            way=way,
            after=after,
        )
        for scope in _scopes(query)
    ]


def _scopes(query: ListQuery) -> list[str]:
    if query.scope == "shared":
        return ["shared"]
    if query.viewer.user is None:
        return ["all"]
    return ["own"] if query.scope == "user" else ["own", "shared"]


def _filled(sql: str, **fields: str) -> str:
    for name, value in fields.items():
        sql = sql.replace(f"{{{name}}}", value)
    return sql


# ---- messages


def messages(
    tenant: str, thread: str, query: PageQuery, connection: apsw.Connection
) -> list[Message]:
    """`ThreadStore.messages`."""
    values = _thread(tenant, thread) | {"limit": query.limit}
    if query.branch is not None:
        return _branch_messages(query, values, connection)
    if query.after is not None:
        rows = connection.execute(SQL["forward"], values | {"after": _within(query.after)})
        return [message_of(row) for row in rows]
    before = _BEYOND if query.before is None else _within(query.before)
    rows = connection.execute(SQL["backward"], values | {"before": before})
    return [message_of(row) for row in rows][::-1]


def _within(place: int) -> int:
    """`place`, or the next to it that SQLite can compare with."""
    return max(-1, min(place, _BEYOND))


def _branch_messages(
    query: PageQuery, values: dict[str, Any], connection: apsw.Connection
) -> list[Message]:
    branch = _within(query.branch or 0)
    basis = connection.execute(SQL["basis"], values | {"branch": branch}).get
    places: Any = connection.execute(SQL["places"], values)
    page = branch_page(() if basis is None else basis_of(basis), places, query)
    rows = connection.executemany(SQL["at"], [values | {"sequence": one} for one in page])
    return [message_of(row) for row in rows]


# ---- the log


def events(
    after: LogPosition | None, limit: int, tenant: str | None, connection: apsw.Connection
) -> list[ThreadEvent]:
    """`ThreadLog.events`."""
    position = after or LogPosition(tenant or "", "")
    values = {
        "tenant": position.tenant,
        "thread": known_id(position.thread),
        "origin": position.origin,
        "sequence": position.sequence,
        "limit": limit,
    }
    if tenant is None:
        return [event_of(row) for row in connection.execute(SQL["events"], values)]
    if position.tenant != tenant:
        # Tenants come one after another: this one lies wholly behind the position, or before it.
        if position.tenant > tenant:
            return []
        values |= {"tenant": tenant, "thread": b"", "origin": "", "sequence": 0}
    return [event_of(row) for row in connection.execute(SQL["tenant_events"], values)]


def thread_events(tenant: str, thread: str, connection: apsw.Connection) -> list[ThreadEvent]:
    """`ThreadLog.thread_events`."""
    rows = connection.execute(SQL["thread_events"], _thread(tenant, thread))
    return sorted(map(event_of, rows), key=lambda event: event.order)


def _thread(tenant: str, thread: str) -> dict[str, Any]:
    return {"tenant": tenant, "thread": known_id(thread)}
