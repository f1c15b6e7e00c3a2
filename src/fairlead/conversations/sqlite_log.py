"""SQLite's side of those who look after a store: its log, its projections, dead letters."""

from __future__ import annotations

from collections.abc import Sequence

import apsw
import msgspec

from fairlead.conversations.batch import Key, ThreadState
from fairlead.conversations.codec import encode
from fairlead.conversations.projection import fold
from fairlead.conversations.records import DeadLetter, Head, ThreadEvent
from fairlead.conversations.sqlite_read import thread_events
from fairlead.conversations.sqlite_rows import event_row, id_text, known_id
from fairlead.conversations.sqlite_save import Saving, Tenants
from fairlead.core.statements import load_statements

MAX_LETTERS = 10_000

SQL = load_statements("fairlead.conversations", "sql", "sqlite", "log.sql")


def add(given: Sequence[ThreadEvent], tenants: Tenants, connection: apsw.Connection) -> int:
    """`ThreadLog.add`, within the transaction that `connection` is in."""
    saving = Saving(connection, tenants)
    added = []
    for event in given:
        data, content = encode(event)
        sized = msgspec.structs.replace(event, size=len(data) + len(content or b""))
        values = event_row(None, sized, data, content)
        if connection.execute(SQL["add_event"], values).get is not None:
            added.append(sized)
    saving.count(added)
    saving.use(added)
    for key in sorted({(event.tenant, event.thread) for event in added}):
        _project(key, saving, connection)
    return len(added)


def project(key: Key, tenants: Tenants, connection: apsw.Connection) -> None:
    """`ThreadLog.project`, within the transaction that `connection` is in."""
    _project(key, Saving(connection, tenants), connection)


def _project(key: Key, saving: Saving, connection: apsw.Connection) -> None:
    tenant, thread = key
    place = tenant, known_id(thread)
    number = connection.execute(SQL["conversation"], place).get
    log = thread_events(tenant, thread, connection)
    if not log:
        if number is not None:
            forget(number, saving, connection)
        return
    if number is not None:
        saving.conversations[key] = number
    saving.events.update(
        (id_text(name), row) for name, row in connection.execute(SQL["rows"], place)
    )
    projection = fold(tenant, thread, log)
    state = ThreadState(Head(thread, tenant), is_new=number is None)
    state.head = projection.head
    state.rows, state.texts = projection.rows, projection.texts
    state.added = set(projection.rows)
    state.added_branches = projection.branches
    state.is_cleared = True
    saving.thread(state)
    saving.finish()
    # What the log has, the counters must have reached.
    saving.count(log)


def forget(number: int, saving: Saving, connection: apsw.Connection) -> None:
    """Remove a thread's projections."""
    saving.clear(number)
    connection.execute(SQL["forget_conversation"], (number,))
    connection.execute(SQL["forget_summary"], (number,))


def bury(letters: Sequence[DeadLetter], connection: apsw.Connection) -> None:
    """`ThreadLog.bury`, within the transaction that `connection` is in."""
    rows = [(one.id, one.tenant, one.time, one.error, one.payload) for one in letters]
    connection.executemany(SQL["bury"], rows)
    connection.execute(SQL["drop_letters"], (MAX_LETTERS,))
