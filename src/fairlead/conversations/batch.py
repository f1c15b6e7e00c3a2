"""What a batch of operations amounts to for the rows of its threads (pure).

The threads are loaded and locked, the operations go over them one after another in memory, and what
is left to write is the sum of it all: however many operations there were, each kind of row is
written once.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from fairlead.conversations.base import Outcome
from fairlead.conversations.codec import encode
from fairlead.conversations.operations import Known, decide, stamp
from fairlead.conversations.projection import (
    AddBranch,
    ChangeMessage,
    DropAll,
    DropMessage,
    Effect,
    PutMessage,
    advance,
)
from fairlead.conversations.records import (
    BranchRow,
    Edit,
    Head,
    MessageRow,
    Operation,
    Record,
    Remove,
    ThreadEvent,
    Transcript,
    Written,
)
from fairlead.errors import RequestError

Key = tuple[str, str]
"""Tenant and thread."""
Ids = tuple[tuple[str, int], ...]
"""Ids and sequences of messages."""


class Stored(msgspec.Struct, frozen=True):
    """An event as the log holds it."""

    event: ThreadEvent
    data: bytes
    content: bytes | None


class ThreadState:
    """One thread while a batch goes over it: what it is now, and what has to be written for that.

    `rows` holds the messages that operations of the batch name; all of them where one is a
    `Record`.
    """

    def __init__(self, head: Head, *, is_new: bool = False) -> None:
        self.head = head
        self.is_new = is_new
        """It is not stored yet."""
        self.last = 0
        """The origin's latest sequence."""
        self.rows: dict[str, MessageRow] = {}
        self.branches: list[BranchRow] = []
        self.events: list[Stored] = []
        self.added: set[str] = set()
        self.changed: set[str] = set()
        self.dropped: list[int] = []
        """Sequences."""
        self.texts: dict[str, str] = {}
        """What is to be searched of messages added and changed, by id."""
        self.added_branches: list[BranchRow] = []
        self.is_cleared = False
        """Rows and branches that are stored go."""
        self._title = "" if is_new else head.title
        self._session = None if is_new else head.session

    def hold(self, row: MessageRow) -> None:
        """Take a message that is there."""
        self.rows[row.id] = row

    @property
    def is_retitled(self) -> bool:
        """The words that are stored of the title, if any, are not those of this one."""
        return self.is_cleared or self.head.title != self._title

    @property
    def ended_session(self) -> str | None:
        """The session that goes on in this thread no longer."""
        return self._session if self._session != self.head.session else None

    @property
    def begun_session(self) -> str | None:
        """The session that goes on in this thread from now on."""
        return self.head.session if self._session != self.head.session else None

    def perform(self, operation: Operation, origin: str) -> Written:
        """Do it; raises the `RequestError` that refuses it, with nothing changed."""
        head = self.head if self.head.version else None
        drafts = decide(operation, head, self._known(operation))
        events = stamp(drafts, operation, head, origin, self.last)
        added = []
        for draft, event in zip(drafts, events, strict=True):
            effect = self._take(event, draft.text)
            if isinstance(effect, PutMessage):
                added.append((effect.row.id, effect.row.sequence))
        return Written(copy.copy(self.head), tuple(added))

    def _known(self, operation: Operation) -> Known:
        match operation:
            case Edit():
                return Known(message=operation.message.id in self.rows)
            case Remove():
                return Known(message=operation.message in self.rows)
            case Record():
                rows = self.rows.values()
                places = tuple((r.sequence, r.branch, r.digest, r.content_event) for r in rows)
                return Known(transcript=Transcript(places, tuple(self.branches)))
        return Known()

    def _take(self, event: ThreadEvent, text: str) -> Effect | None:
        data, content = encode(event)
        event = msgspec.structs.replace(event, size=len(data) + len(content or b""))
        self.events.append(Stored(event, data, content))
        self.last = event.sequence
        effect = advance(self.head, event, text)
        self._apply(effect)
        return effect

    def _apply(self, effect: Effect | None) -> None:
        match effect:
            case PutMessage():
                self._put(effect)
            case ChangeMessage():
                row = msgspec.structs.replace(
                    self.rows[effect.message],
                    event=effect.event,
                    content_event=effect.event,
                    digest=effect.digest,
                )
                self.rows[row.id] = row
                self.texts[row.id] = effect.text
                if row.id not in self.added:
                    self.changed.add(row.id)
            case DropMessage():
                self._drop(self.rows.pop(effect.message))
            case AddBranch():
                self.branches.append(effect.row)
                self.added_branches.append(effect.row)
            case DropAll():
                self._clear()

    def _put(self, effect: PutMessage) -> None:
        row = effect.row
        self.hold(row)
        self.texts[row.id] = effect.text
        self.added.add(row.id)

    def _drop(self, row: MessageRow) -> None:
        if row.id not in self.added:
            self.dropped.append(row.sequence)
        self.added.discard(row.id)
        self.changed.discard(row.id)
        self.texts.pop(row.id, None)

    def _clear(self) -> None:
        self.is_cleared = True
        for kept in (self.rows, self.texts, self.added, self.changed):
            kept.clear()
        for rows in (self.branches, self.added_branches, self.dropped):
            rows.clear()


class Batch:
    """The threads that operations are about, and the operations' way over them."""

    def __init__(self, origin: str) -> None:
        self.threads: dict[Key, ThreadState] = {}
        self.sessions: dict[tuple[str, str], str] = {}
        """Thread of each tenant's session."""
        self.repeated: Mapping[str, tuple[Key, Ids]] = {}
        """Operations that were applied before: their thread and the messages they added."""
        self._origin = origin

    def load(self, heads: Iterable[Head]) -> None:
        """Take threads as they are stored."""
        for head in heads:
            self.threads[head.tenant, head.id] = ThreadState(head)

    def key(self, operation: Operation) -> Key:
        """Which thread an operation is about."""
        tenant = operation.viewer.tenant
        if isinstance(operation, Record):
            return tenant, self.sessions.get((tenant, operation.turn.session), operation.thread)
        return tenant, operation.thread

    def perform(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Do them in order."""
        return [self._perform(operation) for operation in operations]

    def _perform(self, operation: Operation) -> Outcome:
        if operation.id in self.repeated:
            return self._repeat(*self.repeated[operation.id])
        tenant, thread = self.key(operation)
        try:
            state = self._state(operation)
            written = state.perform(operation, self._origin)
        except RequestError as error:
            return error
        self.threads[tenant, thread] = state
        if isinstance(operation, Record):
            self.sessions[tenant, operation.turn.session] = thread
        elif written.head.deleted:
            self._end_session(tenant, thread)
        return written

    def _state(self, operation: Operation) -> ThreadState:
        tenant, thread = self.key(operation)
        state = self.threads.get((tenant, thread))
        if state is None:
            return ThreadState(Head(thread, tenant), is_new=True)
        if isinstance(operation, Record):
            session = operation.viewer.tenant, operation.turn.session
            if session not in self.sessions:
                message = f"thread {operation.thread!r} is not one of this session"
                raise RequestError(409, message, code="exists")
        return state

    def _end_session(self, tenant: str, thread: str) -> None:
        # A session goes on in a thread of its own where the first one was deleted.
        ended = [key for key, value in self.sessions.items() if (key[0], value) == (tenant, thread)]
        for key in ended:
            del self.sessions[key]

    def _repeat(self, key: Key, messages: Ids) -> Written:
        return Written(copy.copy(self.threads[key].head), messages, repeated=True)

    def changed(self) -> list[ThreadState]:
        """Threads with something to write, in the one order in which every node writes them."""
        states = [state for state in self.threads.values() if state.events]
        return sorted(states, key=_place)


def _place(state: ThreadState) -> tuple[str, str, str]:
    return state.head.tenant, state.head.session or "", state.head.id
