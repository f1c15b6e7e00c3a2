"""Records as rows of SQLite's tables, and back (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from fairlead.conversations.codec import decode_change, decode_content
from fairlead.conversations.records import (
    BranchRow,
    Edited,
    Head,
    Message,
    MessageRow,
    Range,
    Said,
    ThreadEvent,
)
from fairlead.conversations.texts import title_key, words_of
from fairlead.errors import StorageError

Row = Sequence[Any]

HEAD = """
    c.id, c.tenant, c.user_id, c.team_id, c.title, c.created, c.last_activity, c.is_shared,
    c.version, c.deleted, c.session, c.hlc, c.last_sequence, c.branches, c.branch, c.bytes,
    s.last_message_id, s.last_message, s.message_count, s.participants"""
"""The columns of a thread, in the order of `Head`."""

NO_ID = b""

_WORDS = bytes(ord(chr(code).lower()) if chr(code).isalnum() else 32 for code in range(128)) * 2
"""What becomes of an ASCII character on its way into the index of words."""

_participants = msgspec.json.Decoder(tuple[str, ...]).decode
_basis = msgspec.json.Decoder(tuple[Range, ...]).decode
_json = msgspec.json.Encoder().encode


# ---- ids


def id_bytes(text: str) -> bytes:
    """The 16 bytes of an id; raises `ValueError` where `text` is no UUID."""
    digits = text.replace("-", "")
    if len(digits) != 32:
        raise ValueError(f"{text!r} is no UUID")
    return bytes.fromhex(digits)


def id_text(data: bytes) -> str:
    """An id from its bytes."""
    digits = data.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def known_id(text: str) -> bytes:
    """The bytes of an id that somebody asks for; what is no UUID becomes `NO_ID`, which is none."""
    try:
        found = id_bytes(text)
    except ValueError:
        return NO_ID
    # In no other way of writing it: what is asked for is a key of dictionaries as well.
    return found if id_text(found) == text else NO_ID


# ---- threads


def head_of(row: Row) -> Head:
    """A thread from the columns of `HEAD`."""
    identity, tenant, *fields, last_message_id, last_message, count, participants = row
    head = Head(id_text(identity), tenant, *fields)
    head.is_shared, head.deleted = bool(head.is_shared), bool(head.deleted)
    head.last_message_id = id_text(last_message_id) if last_message_id else ""
    head.last_message, head.message_count = last_message, count
    head.participants = _participants(participants)
    return head


def conversation_row(number: int, head: Head) -> Row:
    """Its row in `conversations`."""
    return (
        number,
        id_bytes(head.id),
        head.tenant,
        head.user_id,
        head.team_id,
        head.title,
        title_key(head.title),
        head.created,
        head.last_activity,
        int(head.is_shared),
        head.version,
        int(head.deleted),
        head.session,
        head.hlc,
        head.last_sequence,
        head.branches,
        head.branch,
        head.bytes,
    )


def conversation_touch(number: int, head: Head) -> Row:
    """What a message changes of its row in `conversations`."""
    return (
        head.last_activity,
        head.version,
        head.hlc,
        head.last_sequence,
        head.branches,
        head.branch,
        head.bytes,
        number,
    )


def summary_row(number: int, head: Head) -> Row:
    """Its row in `conversation_summaries`."""
    last = id_bytes(head.last_message_id) if head.last_message_id else NO_ID
    participants = _json(head.participants).decode()
    count, title = head.message_count, head.title
    return number, id_bytes(head.id), title, head.last_message, count, participants, last


def summary_touch(number: int, head: Head) -> Row:
    """What a message changes of its row in `conversation_summaries`."""
    _, _, _, *changed = summary_row(number, head)
    return *changed, number


# ---- messages


def message_row_of(row: Row) -> MessageRow:
    """A message from the columns of `apply.sql`'s `message_rows`."""
    sequence, identity, role, timestamp, branch, digest, event, content_event = row
    name = id_text(identity)
    return MessageRow(
        id=name,
        sequence=sequence,
        role=role,
        timestamp=timestamp,
        branch=branch,
        digest=digest,
        event=name if event is None else id_text(event),
        content_event=name if content_event is None else id_text(content_event),
    )


def branch_of(row: Row) -> BranchRow:
    """A row of `branches`."""
    return BranchRow(row[0], basis_of(row[1]))


def basis_of(text: str) -> tuple[Range, ...]:
    """What a branch begins with."""
    return _basis(text)


def basis_text(row: BranchRow) -> str:
    """The basis of a branch as it is stored."""
    return _json(row.basis).decode()


def message_of(row: Row) -> Message:
    """A message with what its events hold."""
    identity, sequence, role, timestamp, branch, data, content = row
    change = decode_change(data)
    if not isinstance(change, Said | Edited) or content is None:
        raise StorageError(f"message {id_text(identity)} points to an event that holds none")
    text = msgspec.Raw(decode_content(content))
    return Message(id_text(identity), sequence, role, timestamp, text, change.metadata, branch)


def event_of(row: Row) -> ThreadEvent:
    """An event of the log."""
    tenant, thread, origin, sequence, identity, hlc, data, content = row
    return ThreadEvent(
        tenant=tenant,
        thread=id_text(thread),
        origin=origin,
        sequence=sequence,
        id=id_text(identity),
        hlc=hlc,
        change=decode_change(data),
        content=None if content is None else decode_content(content),
        size=len(data) + len(content or b""),
    )


def event_row(number: int | None, event: ThreadEvent, data: bytes, content: bytes | None) -> Row:
    """A row of `thread_events`; without a number SQLite gives it the next."""
    kind = event.change.__struct_config__.tag
    thread, identity = id_bytes(event.thread), id_bytes(event.id)
    place = event.tenant, thread, event.origin, event.sequence
    return number, *place, identity, event.hlc, kind, data, content


# ---- words


def indexed(tenant: int, text: str) -> str:
    """The words of `text` as they are indexed: the tenant's number stands before each."""
    words, tag = _words_of(text), f"{tenant}x"
    return f"{tag}{f' {tag}'.join(words)}" if words else ""


def _words_of(text: str) -> list[str]:
    if not text.isascii():
        return words_of(text)
    # The same words, at a third of the time.
    return text.encode().translate(_WORDS).decode().split()


def conjunction(tenant: int, terms: Sequence[str]) -> str:
    """The FTS5 query for all of `terms` (SQLite manual, FTS5, section 3)."""
    return " AND ".join(f'"{tenant}x{term}"' for term in terms)
