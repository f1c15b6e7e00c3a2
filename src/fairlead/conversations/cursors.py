"""Where a listing or a search goes on: an opaque word that says what it belongs to (pure)."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TypeVar

import msgspec

from fairlead.conversations.records import Head, Order, Scope
from fairlead.conversations.texts import title_key
from fairlead.errors import RequestError

MAX_LENGTH = 4096
MAX_OFFSET = 10_000
"""Hits that a search can be followed to."""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Position = tuple[int | str, str]
"""Order value and id of a thread."""


class _ListCursor(msgspec.Struct, frozen=True, array_like=True, tag="list"):
    order: Order
    scope: Scope
    value: int | str
    thread: str


class _SearchCursor(msgspec.Struct, frozen=True, array_like=True, tag="search"):
    text: str
    """Digest of what is searched."""
    offset: int


_C = TypeVar("_C", _ListCursor, _SearchCursor)


def list_cursor(last: Head, order: Order, scope: Scope) -> str:
    """The cursor of the page behind `last`."""
    value: int | str = title_key(last.title)
    if order != "title":
        value = last.created if order == "created" else last.last_activity
    return _encode(_ListCursor(order, scope, value, last.id))


def list_position(cursor: str | None, order: Order, scope: Scope) -> Position | None:
    """Where the page begins; raises `RequestError` (400) for what is no cursor of this listing."""
    if cursor is None:
        return None
    found = _decode(cursor, _ListCursor)
    if (found.order, found.scope) != (order, scope):
        raise _wrong("it belongs to another order or scope")
    if isinstance(found.value, str) != (order == "title") or not _is_safe(found):
        raise _wrong()
    return found.value, found.thread


def search_cursor(text: str, offset: int) -> str | None:
    """The cursor of the page from `offset`; None where a search is not followed any further."""
    if offset > MAX_OFFSET:
        return None
    return _encode(_SearchCursor(_digest(text), offset))


def search_offset(cursor: str | None, text: str) -> int:
    """Where the page begins; raises `RequestError` (400) for what is no cursor of this search."""
    if cursor is None:
        return 0
    found = _decode(cursor, _SearchCursor)
    if found.text != _digest(text):
        raise _wrong("it belongs to another search")
    if not 0 <= found.offset <= MAX_OFFSET:
        raise _wrong()
    return found.offset


def _encode(cursor: _ListCursor | _SearchCursor) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).rstrip(b"=").decode()


def _decode(cursor: str, kind: type[_C]) -> _C:
    if len(cursor) > MAX_LENGTH:
        raise _wrong()
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return msgspec.json.decode(
            base64.b64decode(padded, altchars=b"-_", validate=True), type=kind
        )
    except (ValueError, RecursionError, msgspec.DecodeError) as error:
        raise _wrong() from error


def _is_safe(cursor: _ListCursor) -> bool:
    """Whether every store can compare with what a forged cursor holds."""
    if isinstance(cursor.value, str):
        fits = "\x00" not in cursor.value
    else:
        fits = 0 <= cursor.value < 1 << 63
    return fits and _UUID.fullmatch(cursor.thread) is not None


def _wrong(reason: str = "it is none of ours") -> RequestError:
    return RequestError(
        400, f"the cursor cannot be used: {reason}", param="cursor", code="invalid_cursor"
    )


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
