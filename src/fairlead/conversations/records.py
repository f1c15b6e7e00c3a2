"""What is said, kept and asked of conversations: events, threads, messages, operations.

Ids are UUIDs in their canonical text form (36 characters), made as UUIDv7. Times are milliseconds
since 1970 (UTC). A message's content is any JSON value (a string, or an API's content blocks), held
as its UTF-8 encoded JSON text. The file is longer than most so that all records are in one place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

Json = Mapping[str, Any]
Role = str
"""`system`, `developer`, `user`, `assistant`, `tool`, or whatever an API calls it."""

MAIN_BRANCH = 0
SYSTEM_BRANCH = -1
"""Where instructions are: kept once each, outside of every branch's order."""
PREVIEW_LENGTH = 200
"""Characters of `last_message`."""
MAX_TITLE = 200
"""Characters of a title."""
MAX_PARTICIPANTS = 32
"""Distinct names in a summary: the thread's user, then models that answered."""

Range = tuple[int, int]
"""First and last sequence of a run of messages, both included."""


# ---- the log


class Created(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="created"):
    """A thread begins; its first event."""

    user: str
    title: str = ""
    team: str | None = None
    session: str | None = None
    """Which captured session it belongs to: a digest over tenant, user and session id."""


class Said(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="message"):
    """A message was added; the event's id is the message's, its content is the event's."""

    role: Role
    timestamp: int
    metadata: Json = {}
    branch: int = MAIN_BRANCH
    digest: str = ""
    """32 hexadecimal digits by which a repeated message is recognised (`digests.digest_of`)."""
    same_as: str | None = None
    """Id of an earlier event of the thread whose content it has, so that it is not kept twice."""
    preview: str = ""
    """How its own text begins, where it is `same_as` another one's: they may differ in spaces and
    in thoughts."""


class Edited(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="edited"):
    """A message got another content (the event's) and metadata."""

    message: str
    metadata: Json = {}
    digest: str = ""


class Removed(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="removed"):
    """A message was removed; its sequence is not used again."""

    message: str


class Updated(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="updated"):
    """Fields of the thread were set; None leaves a field as it was."""

    title: str | None = None
    is_shared: bool | None = None


class Branched(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="branched"):
    """The conversation went another way: a branch begins with runs of the thread's messages."""

    branch: int
    """From 1; each is one more than the last."""
    basis: tuple[Range, ...] = ()
    """Messages in their order, after which those of its own come that are not named here.

    It may name messages that came with the branch, and so have later sequences than this event.
    """


class Deleted(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="deleted"):
    """The thread was deleted; nothing but its tombstone can be read any more."""


Change = Created | Said | Edited | Removed | Updated | Branched | Deleted


class ThreadEvent(msgspec.Struct, frozen=True):
    """One entry of a thread's log. Never changed; keyed (tenant, thread, origin, sequence)."""

    tenant: str
    thread: str
    origin: str
    """The region in which it happened."""
    sequence: int
    """From 1, without gaps for one tenant, thread and origin."""
    id: str
    """Unique over everything; a message's own id where it adds one."""
    hlc: int
    """Hybrid logical clock: milliseconds × 65,536 + a counter; grows within a thread."""
    change: Change
    content: bytes | None = None
    """JSON of a message's content; None where the change has none, or is `same_as` another."""
    size: int = 0
    """Bytes that it takes in the store, encoded; known once it has been encoded."""

    @property
    def time(self) -> int:
        """When it happened."""
        return self.hlc >> 16

    @property
    def order(self) -> tuple[int, str, int]:
        """Where it stands in its thread, the same in every region."""
        return self.hlc, self.origin, self.sequence


# ---- the projections


class Head(msgspec.Struct):
    """A thread without its messages: its rows in `conversations` and `conversation_summaries`."""

    id: str
    tenant: str
    user_id: str = ""
    team_id: str | None = None
    title: str = ""
    created: int = 0
    last_activity: int = 0
    is_shared: bool = False
    version: int = 0
    """How many events it is made of."""
    deleted: bool = False
    session: str | None = None
    hlc: int = 0
    """Of the latest event."""
    last_sequence: int = 0
    """Of the latest message, removed ones counted."""
    branches: int = 0
    """How many there are besides the main one."""
    branch: int = MAIN_BRANCH
    """Which one was added to last."""
    bytes: int = 0
    """Sum of its events' sizes."""
    last_message_id: str = ""
    last_message: str = ""
    """First `PREVIEW_LENGTH` characters of the last message's text."""
    message_count: int = 0
    participants: tuple[str, ...] = ()


class MessageRow(msgspec.Struct, frozen=True):
    """A message without its content: where it stands, and which event holds what it says."""

    id: str
    sequence: int
    role: Role
    timestamp: int
    branch: int
    digest: str
    event: str
    """Id of the event that holds its metadata: its own or an edit's."""
    content_event: str
    """Id of the event whose content it shows: its own, an edit's, or that of `same_as`."""


class Message(msgspec.Struct, frozen=True):
    """A message as it is read."""

    id: str
    sequence: int
    role: Role
    timestamp: int
    content: msgspec.Raw
    """Any JSON value."""
    metadata: Json
    branch: int = MAIN_BRANCH


class BranchRow(msgspec.Struct, frozen=True):
    """Where a branch comes from."""

    branch: int
    basis: tuple[Range, ...]


class Transcript(msgspec.Struct, frozen=True):
    """What is needed of a thread to see which messages of a prompt are new."""

    rows: tuple[tuple[int, int, str, str], ...]
    """Sequence, branch, digest and content event of every message, in the order of sequences."""
    branches: tuple[BranchRow, ...]


# ---- what is asked


class Viewer(msgspec.Struct, frozen=True):
    """Who looks or writes: sees their own threads and those shared in their tenant.

    `user` None is the operator of the node, who sees every thread of the tenant.
    """

    tenant: str
    user: str | None = None
    team: str | None = None

    def sees(self, head: Head) -> bool:
        """Whether the thread exists for this viewer."""
        if head.tenant != self.tenant or head.deleted:
            return False
        return self.owns(head) or head.is_shared

    def owns(self, head: Head) -> bool:
        """Whether this viewer may change the thread."""
        return head.tenant == self.tenant and self.user in {None, head.user_id}


Order = Literal["last_activity", "created", "title"]
Scope = Literal["user", "team", "shared"]
"""`user`: one's own; `shared`: those shared in the tenant; `team`: both."""


class ListQuery(msgspec.Struct, frozen=True):
    """A page of a listing: newest first, or titles from A to Z."""

    viewer: Viewer
    order: Order = "last_activity"
    scope: Scope = "team"
    limit: int = 50
    after: tuple[int | str, str] | None = None
    """Order value (times, or `title_key` of the title) and id of the last thread before."""


class PageQuery(msgspec.Struct, frozen=True):
    """A page of messages in ascending sequence (or a branch's order): the latest, or beside one."""

    limit: int = 100
    after: int | None = None
    """The first `limit` with a greater sequence; of a branch, those that follow this one in it."""
    before: int | None = None
    """The last `limit` with a smaller sequence; of a branch, those that lead to this one in it."""
    branch: int | None = None
    """Only what this branch consists of, in its own order; None: everything by sequence."""


class SearchQuery(msgspec.Struct, frozen=True):
    """A page of search results, the best first."""

    viewer: Viewer
    text: str
    limit: int = 20
    offset: int = 0


class Match(msgspec.Struct, frozen=True):
    """Where in a thread a search has found something."""

    sequence: int | None
    """Of the message; None where the title matches."""
    snippet: str
    """Text around the words that were found, each between U+0002 and U+0003."""


class Hit(msgspec.Struct, frozen=True):
    """A thread that a search has found."""

    head: Head
    matches: tuple[Match, ...]
    score: float
    """The higher the better; comparable within one answer only."""


# ---- what is to be written


class NewMessage(msgspec.Struct, frozen=True):
    """A message on its way into the store."""

    id: str
    role: Role
    timestamp: int
    content: bytes
    """JSON."""
    metadata: Json = {}
    digest: str = ""
    text: str = ""
    """What of it can be searched and previewed (`texts.text_of`)."""


class Turn(msgspec.Struct, frozen=True):
    """A model exchange as it was captured: the whole prompt, and what was answered."""

    session: str
    team: str | None
    title: str
    """For the thread, should it be new."""
    system: tuple[NewMessage, ...]
    """Leading instructions, for `SYSTEM_BRANCH`."""
    prompt: tuple[NewMessage, ...]
    answer: tuple[NewMessage, ...]


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """Something to write. Applied twice under the same `id` it counts once.

    `id` becomes that of the first event it leads to; made by the caller (UUIDv7).
    """

    id: str
    thread: str
    viewer: Viewer
    time: int


class Create(Operation, frozen=True, kw_only=True):
    """Begin the thread."""

    title: str = ""
    messages: tuple[NewMessage, ...] = ()


class Append(Operation, frozen=True, kw_only=True):
    """Add messages to the main branch (`id` is the first message's)."""

    messages: tuple[NewMessage, ...]


class Edit(Operation, frozen=True, kw_only=True):
    """Give a message another content and metadata (`message.id` names it)."""

    message: NewMessage
    expected_version: int | None = None


class Remove(Operation, frozen=True, kw_only=True):
    """Take one message out."""

    message: str
    expected_version: int | None = None


class Update(Operation, frozen=True, kw_only=True):
    """Set title or sharing."""

    title: str | None = None
    is_shared: bool | None = None
    expected_version: int | None = None


class Delete(Operation, frozen=True, kw_only=True):
    """Delete the thread."""

    expected_version: int | None = None


class Record(Operation, frozen=True, kw_only=True):
    """Add what is new in a captured turn to its session's thread.

    `thread` is the id of the thread to begin where the session has none yet.
    """

    turn: Turn


class Written(msgspec.Struct, frozen=True):
    """What became of an operation: the thread after it, and the messages it added."""

    head: Head
    messages: tuple[tuple[str, int], ...] = ()
    """Id and sequence of each."""
    repeated: bool = False
    """It had been applied before."""


class DeadLetter(msgspec.Struct, frozen=True):
    """An operation that could not be written, kept with its error for whoever mends it."""

    id: str
    tenant: str
    time: int
    error: str
    payload: bytes
    """The operation as JSON."""


class RetentionRules(msgspec.Struct, frozen=True):
    """What may be kept; None: without bound."""

    max_age: int | None = None
    """Milliseconds since a thread's last activity."""
    max_bytes: int | None = None
    """Of each tenant's events; the threads that were quiet longest go first."""
    deleted_age: int = 24 * 3600 * 1000
    """Milliseconds that the events of a deleted thread are kept: its tombstone stays."""


class Pruned(msgspec.Struct, frozen=True):
    """What one step of retention has removed."""

    threads: int = 0
    bytes: int = 0
    more: bool = False
    """There is more to remove: ask again."""


class StorageStatistics(msgspec.Struct, frozen=True):
    """A snapshot of a store; -1 where it cannot be known cheaply."""

    backend: str
    available: bool
    detail: str
    """In a few words what is wrong, if anything; free of secrets."""
    bytes: int
    """On disk."""
    operations: int
    """Transactions committed since it was opened."""
    failures: int


class LogPosition(msgspec.Struct, frozen=True, order=True):
    """Where a reader of the whole log has come to."""

    tenant: str
    thread: str
    origin: str = ""
    sequence: int = 0
