"""Operations that could not be written, as they are put aside (pure)."""

from __future__ import annotations

import json
import uuid

import msgspec

from fairlead.conversations.records import DeadLetter, Operation
from fairlead.core.ids import uuid7
from fairlead.errors import FairleadError

_MAX_ERROR = 500
"""Characters of the error that are kept."""


def dead_letter(operation: Operation, error: BaseException, now: int) -> DeadLetter:
    """The letter for `operation`, made so that every store can take it, whatever is wrong with it.

    Its payload is ASCII JSON: `kind` (the operation's name in lower case) and `operation`, contents
    in base64. It keeps the operation's id where that is a UUID.
    """
    kind = type(operation).__name__.lower()
    fields = msgspec.to_builtins(operation, enc_hook=repr)
    return DeadLetter(
        id=operation.id if _is_uuid(operation.id) else str(uuid7(now)),
        tenant=_plain(operation.viewer.tenant),
        time=now,
        error=_plain(f"{type(error).__name__}: {error}")[:_MAX_ERROR],
        # Escaped: a lone surrogate may be the very reason why it could not be written.
        payload=json.dumps({"kind": kind, "operation": fields}, ensure_ascii=True).encode(),
    )


def brief(error: BaseException) -> str:
    """What an error says, in a line for logs and statistics that shows no content."""
    # Only our own texts are known not to quote what was to be written.
    text = f"{type(error).__name__}: {error}" if isinstance(error, FairleadError) else ""
    return (text or type(error).__name__)[:200]


def _plain(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
