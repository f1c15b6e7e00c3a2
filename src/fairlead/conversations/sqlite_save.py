"""What has become of threads, written into the SQLite file's tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter

import apsw

from fairlead.conversations.batch import Key, Stored, ThreadState
from fairlead.conversations.records import (
    Branched,
    Edited,
    MessageRow,
    Removed,
    Said,
    ThreadEvent,
)
from fairlead.conversations.sqlite_rows import (
    HEAD,
    Row,
    basis_text,
    conversation_row,
    conversation_touch,
    event_row,
    id_bytes,
    indexed,
    summary_row,
    summary_touch,
)
from fairlead.core.lru import Memo
from fairlead.core.statements import load_statements

SQL = {
    name: sql.replace("{head}", HEAD)
    for name, sql in load_statements("fairlead.conversations", "sql", "sqlite", "apply.sql").items()
}

MAX_TENANTS = 10_000
"""Numbers of tenants that are remembered."""

_LIGHT = (Said, Edited, Removed, Branched)
"""Changes that touch no more of a thread's rows than a message does."""

_SORTED = frozenset({"add_words", "add_title"})
_GATHERED = (
    *("add_row", "add_branch", "touch_conversation", "touch_summary"),
    *("put_conversation", "put_summary", "add_words", "add_title"),
)


class Tenants:
    """The numbers of tenants, which stand before their words in the search index."""

    def __init__(self) -> None:
        self._known: Memo[str, int] = Memo(MAX_TENANTS)

    def number(self, connection: apsw.Connection, tenant: str) -> int:
        """The tenant's number, given now where there is none."""
        number = self._known.get(tenant)
        if number is None:
            number = connection.execute(SQL["tenant"], (tenant,)).get
            if number is None:
                number = connection.execute(SQL["add_tenant"], (tenant,)).get
            self._known.put(tenant, number)
        return number

    def forget(self) -> None:
        """Some may have been given in a transaction that came to nothing."""
        self._known = Memo(MAX_TENANTS)


class Saving:
    """Writes threads within one transaction, and knows which rows they have there.

    What is removed is removed at once; what is added is gathered, and written by `finish`.
    """

    def __init__(self, connection: apsw.Connection, tenants: Tenants) -> None:
        self.conversations: dict[Key, int] = {}
        """Row of each thread that is stored."""
        self.events: dict[str, int] = {}
        """Rows of events, as far as they are known."""
        self._connection = connection
        self._execute = connection.execute
        self._tenants = tenants
        self._last_event, self._last_conversation = self._execute(SQL["last_rows"]).get
        self._gathered: dict[str, list[Row]] = {name: [] for name in _GATHERED}

    def finish(self) -> None:
        """Write what was gathered."""
        for name, rows in self._gathered.items():
            # In the order of rows, or FTS5 writes out what it has gathered so far each time.
            if name in _SORTED:
                rows.sort(key=itemgetter(0))
            self._connection.executemany(SQL[name], rows)
            rows.clear()

    # ---- the log

    def log(self, stored: Sequence[Stored]) -> None:
        """Add events, counters and what their tenants use."""
        rows = []
        for one in stored:
            self._last_event += 1
            self.events[one.event.id] = self._last_event
            rows.append(event_row(self._last_event, one.event, one.data, one.content))
        self._connection.executemany(SQL["add_event"], rows)
        events = [one.event for one in stored]
        self.count(events)
        self.use(events)

    def count(self, events: Iterable[ThreadEvent]) -> None:
        """Move the counters of the events' origins to the latest of them."""
        last: dict[tuple[str, str, str], int] = {}
        for event in events:
            key = event.tenant, event.thread, event.origin
            last[key] = max(event.sequence, last.get(key, 0))
        rows = [
            (tenant, id_bytes(thread), origin, sequence)
            for (tenant, thread, origin), sequence in last.items()
        ]
        self._connection.executemany(SQL["count"], rows)

    def use(self, events: Iterable[ThreadEvent]) -> None:
        """Count the events' bytes for their tenants."""
        used: dict[str, int] = {}
        for event in events:
            used[event.tenant] = used.get(event.tenant, 0) + event.size
        for tenant, size in used.items():
            self._tenants.number(self._connection, tenant)
            self._execute(SQL["use"], (size, tenant))

    # ---- threads

    def thread(self, state: ThreadState) -> None:
        """Write a thread, whose events are in the log."""
        number = self._number(state)
        if state.is_cleared:
            self.clear(number)
        for sequence in state.dropped:
            row = self._execute(SQL["drop_row"], (number, sequence)).get
            self._execute(SQL["drop_words"], (row,))
        tenant = self._tenants.number(self._connection, state.head.tenant)
        for name in state.added:
            row = self._event(name)
            self._gathered["add_row"].append(self._message(row, number, state.rows[name]))
            self._words("add_words", row, tenant, state.texts[name])
        for name in state.changed:
            row = self._change(number, state.rows[name])
            self._execute(SQL["drop_words"], (row,))
            self._words("add_words", row, tenant, state.texts[name])
        for branch in state.added_branches:
            self._gathered["add_branch"].append((number, branch.branch, basis_text(branch)))
        self._head(number, tenant, state)

    def clear(self, number: int) -> None:
        """Remove everything that belongs to a thread but its own rows."""
        rows = self._execute(SQL["rows"], (number,)).fetchall()
        self._connection.executemany(SQL["drop_words"], rows)
        self._execute(SQL["drop_title"], (number,))
        self._execute(SQL["drop_rows"], (number,))
        self._execute(SQL["drop_branches"], (number,))

    def _number(self, state: ThreadState) -> int:
        key = state.head.tenant, state.head.id
        if key not in self.conversations:
            self._last_conversation += 1
            self.conversations[key] = self._last_conversation
        return self.conversations[key]

    def _message(self, place: int, number: int, row: MessageRow) -> Row:
        return (
            place,
            number,
            row.sequence,
            id_bytes(row.id),
            row.role,
            row.timestamp,
            row.branch,
            row.digest,
            None if row.event == row.id else self._event(row.event),
            None if row.content_event == row.id else self._event(row.content_event),
        )

    def _change(self, number: int, row: MessageRow) -> int:
        """Point the row of a message to other events; which row it is."""
        event, content = self._event(row.event), self._event(row.content_event)
        values = row.digest, event, content, number, row.sequence
        return int(self._execute(SQL["change_row"], values).get)

    def _event(self, name: str) -> int:
        """The row of an event in the log."""
        number = self.events.get(name)
        if number is None:
            number = self._execute(SQL["event"], (id_bytes(name),)).get[0]
            self.events[name] = number
        return number

    def _words(self, statement: str, row: int, tenant: int, text: str) -> None:
        if words := indexed(tenant, text):
            self._gathered[statement].append((row, words))

    def _head(self, number: int, tenant: int, state: ThreadState) -> None:
        head, gathered = state.head, self._gathered
        light = all(isinstance(one.event.change, _LIGHT) for one in state.events)
        if light and not state.is_new and not state.is_cleared:
            gathered["touch_conversation"].append(conversation_touch(number, head))
            gathered["touch_summary"].append(summary_touch(number, head))
            return
        gathered["put_conversation"].append(conversation_row(number, head))
        gathered["put_summary"].append(summary_row(number, head))
        if state.is_retitled:
            self._execute(SQL["drop_title"], (number,))
            self._words("add_title", number, tenant, head.title)
