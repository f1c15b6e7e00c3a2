"""Records as rows of PostgreSQL's tables, and back (pure).

PostgreSQL's text holds no U+0000, which a message may hold; a noncharacter (U+FDD0, which no text
for interchange has: Unicode 23.7) stands for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from fairlead.conversations.batch import Stored
from fairlead.conversations.codec import decode_change, decode_content
from fairlead.conversations.records import (
    BranchRow,
    Edited,
    Head,
    Message,
    MessageRow,
    Said,
    ThreadEvent,
)
from fairlead.conversations.texts import title_key, words_of
from fairlead.errors import StorageError

Row = Sequence[Any]

TITLE_SEQUENCE = 0
"""Where the words of a thread's title are, among those of its messages."""
MAX_WORD = 120
"""Characters of a word that are searched."""
MAX_POSITION = 16_383
"""Positions of a word beyond are not told apart (PostgreSQL manual, 12.11 Limitations)."""

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NUL, _STAND_IN = "\x00", "\ufdd0"


def is_id(text: str) -> bool:
    """Whether `text` can be the id of something: PostgreSQL refuses anything else."""
    return _ID.fullmatch(text) is not None


def kept(text: str) -> str:
    """`text` as PostgreSQL can keep it."""
    return text.replace(_NUL, _STAND_IN)


def given(text: str) -> str:
    """What was `kept`."""
    return text.replace(_STAND_IN, _NUL)


def columns(rows: Iterable[Row]) -> list[list[Any]]:
    """The columns of rows, for statements that unnest them."""
    return [list(column) for column in zip(*rows, strict=True)]


# ---- threads


def head_of(row: Row) -> Head:
    """A thread from the columns of `apply.sql`'s `lock`."""
    head = Head(*row)
    head.participants = tuple(head.participants)
    return head


def thread_row(head: Head) -> Row:
    """Its row in `conversations`."""
    return (
        head.tenant,
        head.id,
        head.user_id,
        head.team_id,
        kept(head.title),
        kept(title_key(head.title)),
        head.created,
        head.last_activity,
        head.is_shared,
        head.version,
        head.deleted,
        head.session,
        head.hlc,
        head.last_sequence,
        head.branches,
        head.branch,
        head.bytes,
    )


def summary_row(head: Head) -> Row:
    """Its row in `conversation_summaries`."""
    return (
        head.tenant,
        head.id,
        kept(head.title),
        head.last_message_id,
        kept(head.last_message),
        head.message_count,
        msgspec.json.encode(head.participants).decode(),
    )


# ---- messages


def message_row_of(row: Row) -> MessageRow:
    """A message from the columns of `apply.sql`'s `rows`, after tenant and thread."""
    identity, sequence, role, *rest = row
    return MessageRow(identity, sequence, given(role), *rest[:3], *rest[3:])


def message_row(head: Head, row: MessageRow) -> Row:
    """A row of `message_rows`."""
    return (
        head.tenant,
        head.id,
        row.id,
        row.sequence,
        kept(row.role),
        row.timestamp,
        row.branch,
        row.digest,
        row.event,
        row.content_event,
    )


def changed_row(head: Head, row: MessageRow) -> Row:
    """What an edit changes of a row of `message_rows`."""
    return head.tenant, head.id, row.sequence, row.digest, row.event, row.content_event


def branch_row(head: Head, row: BranchRow) -> Row:
    """A row of `thread_branches`."""
    return head.tenant, head.id, row.branch, msgspec.json.encode(row.basis).decode()


def branch_of(branch: int, basis: list[list[int]]) -> BranchRow:
    """A row of `thread_branches`."""
    return BranchRow(branch, tuple((first, last) for first, last in basis))


def message_of(row: Row) -> Message:
    """A message with what its events hold."""
    identity, sequence, role, timestamp, branch, data, content = row
    change = decode_change(data)
    if not isinstance(change, Said | Edited):
        raise StorageError(f"message {identity} points to an event that holds no message")
    text = msgspec.Raw(b"null" if content is None else decode_content(content))
    return Message(identity, sequence, given(role), timestamp, text, change.metadata, branch)


def event_row(stored: Stored) -> Row:
    """A row of `thread_events`."""
    event = stored.event
    return (
        event.tenant,
        event.thread,
        event.origin,
        event.sequence,
        event.id,
        event.hlc,
        event.change.__struct_config__.tag,
        stored.data,
        stored.content,
    )


def event_of(row: Row) -> ThreadEvent:
    """An event of the log."""
    tenant, thread, origin, sequence, identity, hlc, data, content = row
    return ThreadEvent(
        tenant=tenant,
        thread=thread,
        origin=origin,
        sequence=sequence,
        id=identity,
        hlc=hlc,
        change=decode_change(data),
        content=None if content is None else decode_content(content),
        size=len(data) + len(content or b""),
    )


# ---- words


def vector(tenant: str, text: str) -> str:
    """The words of `text` as a `tsvector` is written: each with its tenant before it."""
    tag = _tag(tenant)
    places: dict[str, list[str]] = {}
    for position, word in enumerate(words_of(text), 1):
        places.setdefault(word[:MAX_WORD], []).append(str(min(position, MAX_POSITION)))
    return " ".join(f"{_quoted(tag + word)}:{','.join(at[:255])}" for word, at in places.items())


def conjunction(tenant: str, terms: Iterable[str]) -> str:
    """The `tsquery` for all of `terms`, in the words of `vector`."""
    tag = _tag(tenant)
    return " & ".join(_quoted(tag + term[:MAX_WORD]) for term in terms)


def _tag(tenant: str) -> str:
    # Only for speed: a search compares the tenant itself as well.
    return sha256(tenant.encode()).hexdigest()[:8]


def _quoted(lexeme: str) -> str:
    escaped = lexeme.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"
