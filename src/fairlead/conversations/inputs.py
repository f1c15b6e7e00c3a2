"""What callers may write: messages, titles and ids, checked and made ready for the store (pure)."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fairlead.conversations.digests import digest_of
from fairlead.conversations.records import MAX_TITLE, Json, NewMessage
from fairlead.conversations.texts import message_text
from fairlead.core.ids import uuid7
from fairlead.errors import NotFoundError, RequestError

MAX_MESSAGES = 1_000
"""In one call."""
MAX_CONTENT = 16 * 1024 * 1024
"""Bytes of a message's content as JSON."""
MAX_METADATA = 64 * 1024
"""Bytes of its metadata as JSON."""
MAX_DEPTH = 64
"""Arrays and objects within each other."""
MAX_ROLE = 40
"""Characters."""
MAX_TIME = 1 << 47
"""Milliseconds: what a hybrid logical clock of 63 bits can hold."""

_FEW, _SHORT = 32, 65_536
"""Messages, and characters in all, that are prepared within a millisecond or so."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class MessageInput(msgspec.Struct, frozen=True):
    """A message to write."""

    role: str
    content: Any
    """A JSON value: a string, or an API's content blocks."""
    timestamp: int | None = None
    """Milliseconds since 1970; None: now."""
    metadata: Json = {}


def prepare(messages: Sequence[MessageInput], now: int) -> tuple[NewMessage, ...]:
    """The messages as the store takes them, with ids made at `now`.

    Raises `RequestError` (422) naming the field: `messages[2].content`.
    """
    if len(messages) > MAX_MESSAGES:
        raise _wrong("messages", f"at most {MAX_MESSAGES:,} messages in one call")
    return tuple(
        _prepared(message, f"messages[{index}].", now) for index, message in enumerate(messages)
    )


def replacement(message: str, role: str, content: Any, metadata: Json, now: int) -> NewMessage:
    """The message with this id as an edit makes it; raises `RequestError` (422)."""
    prepared = _prepared(MessageInput(role, content, now, metadata), "", now)
    return msgspec.structs.replace(prepared, id=message)


def checked_title(title: str) -> str:
    """`title`; raises `RequestError` (422) where it is too long or has control characters."""
    if len(title) > MAX_TITLE:
        raise _wrong("title", f"at most {MAX_TITLE} characters")
    if _CONTROL.search(title):
        raise _wrong("title", "a single line without control characters")
    return title


def checked_id(name: str, what: str = "thread") -> str:
    """The id in its canonical form; raises `NotFoundError` where it can be none of ours."""
    try:
        canonical = str(uuid.UUID(name))
    except ValueError as error:
        raise NotFoundError(what, name[:64]) from error
    # `UUID` also takes braces, `urn:uuid:` and digits without hyphens.
    if canonical != name.lower():
        raise NotFoundError(what, name[:64])
    return canonical


def checked_limit(limit: int) -> int:
    """`limit`; raises `RequestError` (422) outside of 1 to 1,000."""
    if not 1 <= limit <= MAX_MESSAGES:
        raise _wrong("limit", f"1 to {MAX_MESSAGES:,}")
    return limit


def is_small(messages: Sequence[MessageInput]) -> bool:
    """Whether they are prepared so quickly that an event loop may do it."""
    plain = [message.content for message in messages if isinstance(message.content, str)]
    return len(plain) == len(messages) <= _FEW and sum(map(len, plain)) <= _SHORT


def _prepared(message: MessageInput, field: str, now: int) -> NewMessage:
    timestamp = now if message.timestamp is None else message.timestamp
    if not 0 <= timestamp < MAX_TIME:
        raise _wrong(f"{field}timestamp", "milliseconds since 1970")
    role = message.role
    if not 1 <= len(role) <= MAX_ROLE or _CONTROL.search(role):
        raise _wrong(f"{field}role", f"1 to {MAX_ROLE} characters, none of them a control one")
    content = _encoded(message.content, f"{field}content", MAX_CONTENT)
    metadata = _metadata(message.metadata, f"{field}metadata")
    return NewMessage(
        id=str(uuid7(now)),
        role=role,
        timestamp=timestamp,
        content=content,
        metadata=metadata,
        digest=digest_of(role, content, metadata),
        text=message_text(content, metadata),
    )


def _metadata(metadata: Json, field: str) -> Json:
    if not isinstance(metadata, Mapping):
        raise _wrong(field, "an object")
    if not metadata:
        return {}
    # Decoded again: the caller may go on to change what it has given.
    copied: Json = json.loads(_encoded(dict(metadata), field, MAX_METADATA))
    return copied


def _encoded(value: Any, field: str, limit: int) -> bytes:
    if _is_deep(value, MAX_DEPTH):
        raise _wrong(field, f"at most {MAX_DEPTH} arrays and objects within each other")
    try:
        # The standard library's, because it refuses NaN and keeps integers of any size.
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        encoded = text.encode()
    except (TypeError, ValueError) as error:
        raise _wrong(field, "a JSON value: no NaN, no infinity, no half surrogate pairs") from error
    if len(encoded) > limit:
        raise _wrong(field, f"at most {limit:,} bytes of JSON", status=413)
    return encoded


def _is_deep(value: Any, levels: int) -> bool:
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return False
    return levels == 0 or any(_is_deep(inner, levels - 1) for inner in value)


def _wrong(field: str, allowed: str, status: int = 422) -> RequestError:
    return RequestError(status, f"{field} is not allowed: {allowed}", param=field, code="invalid")
