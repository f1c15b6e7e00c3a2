"""A batch of operations in one transaction of the SQLite file.

What a thread is now is remembered from batch to batch, as long as no other connection commits:
so a thread that grows is not read again with each of its messages.
"""

from __future__ import annotations

from collections.abc import Sequence

import apsw
import msgspec

from fairlead.conversations.base import Outcome
from fairlead.conversations.batch import Batch, Ids, Key, ThreadState
from fairlead.conversations.records import (
    Append,
    BranchRow,
    Create,
    Edit,
    Head,
    MessageRow,
    Operation,
    Record,
    Remove,
)
from fairlead.conversations.sqlite_rows import (
    branch_of,
    head_of,
    id_bytes,
    id_text,
    known_id,
    message_row_of,
)
from fairlead.conversations.sqlite_save import SQL, Saving, Tenants
from fairlead.conversations.sqlite_schema import check_version, version
from fairlead.core.lru import SizedLRU

MAX_KEPT = 2_000
MAX_KEPT_BYTES = 32 * 1024 * 1024
"""Threads that are remembered, and their size in memory, about."""

_HEAD_BYTES, _ROW_BYTES = 2_000, 700


class Kept(msgspec.Struct, frozen=True):
    """A thread as the last batch has left it."""

    head: Head
    number: int
    """Its row in `conversations`."""
    last: int
    """The origin's latest sequence."""
    rows: dict[str, MessageRow] | None
    """All its messages, in the order of sequences; None: not known."""
    branches: list[BranchRow]

    @property
    def size(self) -> int:
        """Bytes in memory, about."""
        return _HEAD_BYTES + _ROW_BYTES * len(self.rows or ())


class Applier:
    """Applies operations in the writing thread."""

    def __init__(self, origin: str) -> None:
        self.tenants = Tenants()
        self._origin = origin
        self._kept: SizedLRU[Key, Kept] = SizedLRU(MAX_KEPT, MAX_KEPT_BYTES, lambda kept: kept.size)
        self._connection: apsw.Connection | None = None
        self._seen = -1

    def forget(self) -> None:
        """Remember nothing: what was remembered may not be so, or not any more."""
        self._kept.clear()
        self.tenants.forget()

    def apply(
        self, connection: apsw.Connection, operations: Sequence[Operation], *, retry: bool
    ) -> list[Outcome]:
        """Write `operations` within the transaction that `connection` is in (`ThreadStore.apply`).

        Where it raises, or the transaction does not commit, `forget` has to be called.
        """
        self._look(connection)
        loading = _Loading(connection, self._origin, self._kept)
        if retry:
            loading.look_for_repeated(operations)
        for operation in operations:
            loading.load(operation)
        batch = loading.batch
        outcomes = batch.perform(operations)
        self._save(connection, loading, batch.changed())
        return outcomes

    def _look(self, connection: apsw.Connection) -> None:
        """Whether another connection has committed since the last time (PRAGMA data_version)."""
        seen = connection.execute("PRAGMA data_version").get
        # Or the file is another one, whose number may be the same.
        if connection is not self._connection or seen != self._seen:
            self.forget()
            # It may have been a newer program, which has brought the schema forward.
            check_version(version(connection))
            self._connection, self._seen = connection, seen

    def _save(
        self, connection: apsw.Connection, loading: _Loading, states: Sequence[ThreadState]
    ) -> None:
        saving = Saving(connection, self.tenants)
        saving.conversations.update(loading.numbers)
        saving.log([one for state in states for one in state.events])
        for state in states:
            saving.thread(state)
        saving.finish()
        for key, state in loading.batch.threads.items():
            whole = state.is_new or key in loading.whole
            rows = state.rows if whole else None
            number = saving.conversations[key]
            self._kept.put(key, Kept(state.head, number, state.last, rows, state.branches))


class _Loading:
    """Reads what the operations of a batch need to be decided."""

    def __init__(self, connection: apsw.Connection, origin: str, kept: SizedLRU[Key, Kept]) -> None:
        self.batch = Batch(origin)
        self.numbers: dict[Key, int] = {}
        """Row of each thread that is there."""
        self.whole: set[Key] = set()
        """Threads all of whose messages are loaded."""
        self._missing: set[Key] = set()
        self._origin = origin
        self._kept = kept
        self._execute = connection.execute

    def load(self, operation: Operation) -> None:
        """Load the thread that `operation` is about, and what it names of it."""
        self._thread((operation.viewer.tenant, operation.thread))
        match operation:
            case Record():
                self._session(operation.viewer.tenant, operation.turn.session)
                self._all_messages(self.batch.key(operation))
            case Edit():
                self._message(self.batch.key(operation), operation.message.id)
            case Remove():
                self._message(self.batch.key(operation), operation.message)

    def look_for_repeated(self, operations: Sequence[Operation]) -> None:
        """Find out which operations were applied before, and what they added."""
        repeated: dict[str, tuple[Key, Ids]] = {}
        for operation in operations:
            found = self._execute(SQL["event"], (id_bytes(operation.id),)).get
            if found is not None and found[1] == operation.viewer.tenant:
                key = found[1], id_text(found[2])
                self._thread(key)
                if key in self.batch.threads:
                    repeated[operation.id] = key, self._added_by(operation)
        self.batch.repeated = repeated

    def _added_by(self, operation: Operation) -> Ids:
        rows = [
            (name, self._execute(SQL["sequence"], (known_id(name),)).get)
            for name in _may_have_added(operation)
        ]
        added = [(name, sequence) for name, sequence in rows if sequence is not None]
        return tuple(sorted(added, key=lambda pair: pair[1]))

    # ---- threads

    def _thread(self, key: Key) -> None:
        if key in self.batch.threads or key in self._missing:
            return
        kept = self._kept.get(key) or self._read(key)
        if kept is None:
            self._missing.add(key)
            return
        self.batch.load([kept.head])
        state = self.batch.threads[key]
        state.last = kept.last
        self.numbers[key] = kept.number
        if kept.rows is not None:
            state.rows, state.branches = kept.rows, kept.branches
            self.whole.add(key)

    def _read(self, key: Key) -> Kept | None:
        tenant, thread = key[0], known_id(key[1])
        row = self._execute(SQL["head"], (tenant, thread)).get
        if row is None:
            return None
        last = self._execute(SQL["counter"], (tenant, thread, self._origin)).get
        return Kept(head_of(row[:-1]), row[-1], last or 0, None, [])

    def _session(self, tenant: str, session: str) -> None:
        if (tenant, session) in self.batch.sessions:
            return
        found = self._execute(SQL["session"], (tenant, session)).get
        if found is not None:
            key = tenant, id_text(found)
            self._thread(key)
            self.batch.sessions[tenant, session] = key[1]

    # ---- messages

    def _all_messages(self, key: Key) -> None:
        state = self.batch.threads.get(key)
        if state is None:
            return
        rows = list(state.rows.values()) if key in self.whole else self._read_messages(key, state)
        for row in rows:
            state.hold(row)

    def _read_messages(self, key: Key, state: ThreadState) -> list[MessageRow]:
        number = (self.numbers[key],)
        self.whole.add(key)
        # Those that were loaded by their ids would stand before the others.
        state.rows.clear()
        state.branches.extend(map(branch_of, self._execute(SQL["branches"], number)))
        return list(map(message_row_of, self._execute(SQL["message_rows"], number)))

    def _message(self, key: Key, name: str) -> None:
        if key in self.batch.threads and key not in self.whole:
            values = known_id(name), self.numbers[key]
            for row in self._execute(SQL["message_row"], values):
                self.batch.threads[key].hold(message_row_of(row))


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
