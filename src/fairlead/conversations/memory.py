"""`ThreadStore` in memory, for tests and for nodes that keep nothing.

It holds the whole log until it is closed, without a bound but retention's, and looks at every
thread of a tenant for a listing or a search: right for thousands of threads, not for millions.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from fairlead.conversations.base import Outcome
from fairlead.conversations.memory_batch import Batch, Key, Thread, size_of
from fairlead.conversations.projection import fold
from fairlead.conversations.records import (
    Append,
    Create,
    DeadLetter,
    Deleted,
    Edited,
    Head,
    Hit,
    ListQuery,
    LogPosition,
    Match,
    Message,
    MessageRow,
    Operation,
    PageQuery,
    Pruned,
    Record,
    RetentionRules,
    Said,
    SearchQuery,
    StorageStatistics,
    ThreadEvent,
    Viewer,
    Written,
)
from fairlead.conversations.texts import folded, snippet, terms_of, title_key, words_of
from fairlead.conversations.turns import branch_page
from fairlead.core.lifecycle import Resource
from fairlead.errors import RequestError, StorageError

MAX_LETTERS = 10_000
"""Operations that could not be written, of which the latest are kept."""
MAX_MATCHES = 3
"""Matches that are shown of a thread: the best."""
STEP = 64
"""Threads that one step of retention removes at most."""


class MemoryThreadStore(Resource):
    """Implements `ThreadStore` and `ThreadLog`."""

    def __init__(self, origin: str = "local") -> None:
        self.letters: dict[str, DeadLetter] = {}
        """Operations that could not be written, by id."""
        self._origin = origin
        self._threads: dict[Key, Thread] = {}
        self._sessions: dict[Key, str] = {}
        """Thread of each tenant's session."""
        self._events: dict[str, ThreadEvent] = {}
        """By id."""
        self._operations = 0

    async def _close(self) -> None:
        for kept in (self.letters, self._threads, self._sessions, self._events):
            kept.clear()

    # ---- writing

    async def apply(
        self, operations: Sequence[Operation], *, retry: bool = False
    ) -> Sequence[Outcome]:
        """As `ThreadStore.apply`; an id that is used twice cannot be written."""
        self.check_open()
        batch = Batch(self._origin, self._threads, self._sessions)
        outcomes: list[Outcome] = []
        for operation in operations:
            event = self._events.get(operation.id) if retry else None
            if event is not None:
                outcomes.append(self._repeated(operation, (event.tenant, event.thread)))
                continue
            try:
                outcomes.append(batch.perform(operation))
            except RequestError as error:
                outcomes.append(error)
        self._commit(batch)
        return outcomes

    def _repeated(self, operation: Operation, key: Key) -> Written:
        projection = self._threads[key].projection
        named = [operation.id, *_messages_of(operation)]
        rows = [projection.rows[name] for name in dict.fromkeys(named) if name in projection.rows]
        head = msgspec.structs.replace(projection.head)
        return Written(head, tuple((row.id, row.sequence) for row in rows), repeated=True)

    def _commit(self, batch: Batch) -> None:
        ids = Counter(event.id for event in batch.events)
        twice = [name for name, times in ids.items() if times > 1 or name in self._events]
        if twice:
            raise StorageError(f"there is an event {twice[0]!r} already")
        self._events |= {event.id: event for event in batch.events}
        for key, thread in batch.changed.items():
            if thread.head.version:
                self._keep(key, thread)
        self._operations += 1

    def _keep(self, key: Key, thread: Thread | None) -> None:
        """Put a thread in the place of what it was; None: take it out."""
        old = self._threads.pop(key, None)
        if old is not None and old.head.session is not None:
            session = key[0], old.head.session
            if self._sessions.get(session) == key[1]:
                del self._sessions[session]
        if thread is None:
            return
        self._threads[key] = thread
        if thread.head.session is not None:
            # Of two threads of a session, which another region may have begun, the first goes on.
            self._sessions.setdefault((key[0], thread.head.session), key[1])

    # ---- reading

    async def head(self, tenant: str, thread: str) -> Head | None:
        """As `ThreadStore.head`."""
        self.check_open()
        found = self._threads.get((tenant, thread))
        return None if found is None else msgspec.structs.replace(found.head)

    async def messages(self, tenant: str, thread: str, query: PageQuery) -> Sequence[Message]:
        """As `ThreadStore.messages`."""
        self.check_open()
        found = self._threads.get((tenant, thread))
        if found is None:
            return []
        rows = {row.sequence: row for row in found.projection.rows.values()}
        if query.branch is not None:
            places = [(row.sequence, row.branch) for row in rows.values()]
            branches = {row.branch: row.basis for row in found.projection.branches}
            basis = branches.get(query.branch, ())
            page = branch_page(basis, places, query)
        elif query.after is not None:
            after = query.after
            page = [sequence for sequence in rows if sequence > after][: query.limit]
        else:
            before = query.before
            page = [sequence for sequence in rows if before is None or sequence < before]
            page = page[-query.limit :]
        return [self._message(rows[sequence]) for sequence in page]

    def _message(self, row: MessageRow) -> Message:
        change = self._events[row.event].change
        content = self._events[row.content_event].content
        return Message(
            id=row.id,
            sequence=row.sequence,
            role=row.role,
            timestamp=row.timestamp,
            content=msgspec.Raw(b"null" if content is None else content),
            metadata=change.metadata if isinstance(change, Said | Edited) else {},
            branch=row.branch,
        )

    async def listing(self, query: ListQuery) -> Sequence[Head]:
        """As `ThreadStore.listing`."""
        self.check_open()
        heads = [
            thread.head for thread in self._seen(query.viewer) if _in_scope(query, thread.head)
        ]
        if query.order == "title":
            if query.after is not None:
                heads = [head for head in heads if _place(query, head) > query.after]
            found = heapq.nsmallest(query.limit, heads, key=lambda head: _place(query, head))
        else:
            if query.after is not None:
                heads = [head for head in heads if _place(query, head) < query.after]
            found = heapq.nlargest(query.limit, heads, key=lambda head: _place(query, head))
        return [msgspec.structs.replace(head) for head in found]

    async def search(self, query: SearchQuery) -> Sequence[Hit]:
        """As `ThreadStore.search`; the score is how large a part of a text the words are."""
        self.check_open()
        terms = terms_of(query.text)
        if not terms:
            return []
        hits = [_hit(thread, terms) for thread in self._seen(query.viewer)]
        found = [hit for hit in hits if hit is not None]
        found.sort(key=lambda hit: (-hit.score, hit.head.id))
        return found[query.offset : query.offset + query.limit]

    def _seen(self, viewer: Viewer) -> Iterator[Thread]:
        return (thread for thread in self._threads.values() if viewer.sees(thread.head))

    # ---- the log

    async def events(
        self, after: LogPosition | None, limit: int, tenant: str | None = None
    ) -> Sequence[ThreadEvent]:
        """As `ThreadLog.events`."""
        self.check_open()
        keys = sorted(key for key in self._threads if tenant in {None, key[0]})
        if after is not None:
            keys = keys[max(0, bisect_right(keys, (after.tenant, after.thread)) - 1) :]
        found: list[ThreadEvent] = []
        for key in keys:
            events = self._threads[key].events
            found += [
                events[place]
                for place in sorted(events)
                if after is None or LogPosition(*key, *place) > after
            ]
            if len(found) >= limit:
                break
        return found[:limit]

    async def thread_events(self, tenant: str, thread: str) -> Sequence[ThreadEvent]:
        """As `ThreadLog.thread_events`."""
        self.check_open()
        found = self._threads.get((tenant, thread))
        return [] if found is None else _in_order(found.events.values())

    async def add(self, events: Sequence[ThreadEvent]) -> int:
        """As `ThreadLog.add`."""
        self.check_open()
        batch = Batch(self._origin, self._threads, self._sessions)
        for event in events:
            thread = batch.thread((event.tenant, event.thread))
            if (event.origin, event.sequence) not in thread.events:
                sized = msgspec.structs.replace(event, size=size_of(event))
                thread.events[event.origin, event.sequence] = sized
                batch.events.append(sized)
        for key, thread in batch.changed.items():
            thread.projection = fold(*key, _in_order(thread.events.values()))
        self._commit(batch)
        return len(batch.events)

    async def project(self, tenant: str, thread: str) -> None:
        """As `ThreadLog.project`."""
        self.check_open()
        key = tenant, thread
        found = self._threads.get(key)
        if found is None:
            return
        projection = fold(tenant, thread, _in_order(found.events.values()))
        self._keep(key, Thread(projection, found.events) if found.events else None)

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """As `ThreadLog.bury`."""
        self.check_open()
        self.letters |= {letter.id: letter for letter in letters}
        beyond = max(0, len(self.letters) - MAX_LETTERS)
        for letter in heapq.nsmallest(beyond, self.letters.values(), key=lambda one: one.time):
            del self.letters[letter.id]

    async def prune(self, rules: RetentionRules, now: int) -> Pruned:
        """As `ThreadLog.prune`."""
        self.check_open()
        keys = list(self._excess(rules, now))
        size = 0
        for key in keys[:STEP]:
            thread = self._threads[key]
            kept = _tombstone(key, thread)
            size += thread.head.bytes - (kept.head.bytes if kept else 0)
            for place, event in thread.events.items():
                if kept is None or place not in kept.events:
                    del self._events[event.id]
            self._keep(key, kept)
        return Pruned(len(keys[:STEP]), size, len(keys) > STEP)

    def _excess(self, rules: RetentionRules, now: int) -> Iterator[Key]:
        """Threads to be removed: the deleted, then those that were quiet the longest."""
        sizes: Counter[str] = Counter()
        for key, thread in self._threads.items():
            sizes[key[0]] += thread.head.bytes
        deleted = [item for item in self._threads.items() if item[1].is_reducible]
        for key, thread in sorted(deleted, key=lambda item: item[1].head.hlc):
            old = thread.head.hlc >> 16 < now - rules.deleted_age
            if old or (rules.max_bytes is not None and sizes[key[0]] > rules.max_bytes):
                sizes[key[0]] -= thread.head.bytes
                yield key
        quiet = [item for item in self._threads.items() if not item[1].head.deleted]
        for key, thread in sorted(quiet, key=lambda item: item[1].head.last_activity):
            head = thread.head
            old = rules.max_age is not None and head.last_activity < now - rules.max_age
            if old or (rules.max_bytes is not None and sizes[key[0]] > rules.max_bytes):
                sizes[key[0]] -= head.bytes
                yield key

    def statistics(self) -> StorageStatistics:
        """As `ThreadLog.statistics`; nothing is on disk."""
        return StorageStatistics("memory", self.is_open, "", 0, self._operations, 0)


def _messages_of(operation: Operation) -> list[str]:
    """Ids of the messages that an operation may have added."""
    match operation:
        case Create() | Append():
            return [message.id for message in operation.messages]
        case Record():
            turn = operation.turn
            return [message.id for message in (*turn.system, *turn.prompt, *turn.answer)]
    return []


def _in_order(events: Iterable[ThreadEvent]) -> list[ThreadEvent]:
    return sorted(events, key=lambda event: event.order)


def _tombstone(key: Key, thread: Thread) -> Thread | None:
    """What stays of a thread that is removed: the event that deleted it, or nothing."""
    events = _in_order(thread.events.values())
    last = next((one for one in reversed(events) if isinstance(one.change, Deleted)), None)
    if last is None:
        return None
    return Thread(fold(*key, [last]), {(last.origin, last.sequence): last})


def _in_scope(query: ListQuery, head: Head) -> bool:
    if query.scope == "user":
        return query.viewer.owns(head)
    return query.scope == "team" or head.is_shared


def _place(query: ListQuery, head: Head) -> tuple[int | str, str]:
    if query.order == "title":
        return title_key(head.title), head.id
    return (head.created if query.order == "created" else head.last_activity), head.id


def _hit(thread: Thread, terms: Sequence[str]) -> Hit | None:
    head, found = thread.head, []
    if score := _score(head.title, terms):
        found.append((score, Match(None, snippet(head.title, terms) or "")))
    for name, text in thread.projection.texts.items():
        if score := _score(text, terms):
            sequence = thread.projection.rows[name].sequence
            found.append((score, Match(sequence, snippet(text, terms) or "")))
    if not found:
        return None
    best = heapq.nlargest(MAX_MATCHES, found, key=lambda item: item[0])
    return Hit(msgspec.structs.replace(head), tuple(match for _, match in best), best[0][0])


def _score(text: str, terms: Sequence[str]) -> float:
    """The part of the words that were looked for; 0 where one is missing."""
    compared = folded(text)
    if not all(term in compared for term in terms):
        return 0.0
    words = Counter(words_of(text))
    if not all(words[term] for term in terms):
        return 0.0
    # A few words more keep a title from being the best whatever there is.
    return sum(words[term] for term in terms) / (words.total() + 10)
