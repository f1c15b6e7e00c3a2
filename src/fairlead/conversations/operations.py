"""What an operation means for a thread (pure): the events it leads to, or why it may not be."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fairlead.conversations.records import (
    MAX_TITLE,
    PREVIEW_LENGTH,
    Append,
    Branched,
    Change,
    Create,
    Created,
    Delete,
    Deleted,
    Edit,
    Edited,
    Head,
    Json,
    NewMessage,
    Operation,
    Record,
    Remove,
    Removed,
    Said,
    ThreadEvent,
    Transcript,
    Update,
    Updated,
)
from fairlead.conversations.turns import NO_TRANSCRIPT, plan
from fairlead.core.ids import uuid7
from fairlead.errors import ConflictError, ForbiddenError, NotFoundError, RequestError


class Known(msgspec.Struct, frozen=True):
    """What a store looks up before an operation is decided, where that needs it."""

    message: bool = False
    """For `Edit` and `Remove`: the message is there."""
    transcript: Transcript = NO_TRANSCRIPT
    """For `Record`."""


class Draft(msgspec.Struct, frozen=True):
    """An event before it has its place in the log, with the text of its content."""

    id: str
    change: Change
    content: bytes | None = None
    text: str = ""


def decide(operation: Operation, head: Head | None, known: Known) -> Sequence[Draft]:
    """The events that `operation` leads to; none where it changes nothing.

    `head` is its thread as it is now. Raises `NotFoundError`, `ForbiddenError`, `ConflictError`
    (another version than expected), `RequestError` (409) for a thread that is there already, and
    (400) for a title that is too long or no text.
    """
    if isinstance(operation, Create):
        return _create(operation, head)
    if isinstance(operation, Record):
        return _record(operation, head, known.transcript)
    head = _writable(operation, head)
    match operation:
        case Append():
            return [_said(message) for message in operation.messages]
        case Edit() | Remove() if not known.message:
            name = operation.message.id if isinstance(operation, Edit) else operation.message
            raise NotFoundError("message", name)
        case Edit():
            message = operation.message
            edited = Edited(message.id, message.metadata, message.digest)
            return [Draft(operation.id, edited, message.content, message.text)]
        case Remove():
            return [Draft(operation.id, Removed(operation.message))]
        case Update():
            return _update(operation, head)
        case Delete():
            return [Draft(operation.id, Deleted())]
    raise TypeError(f"{type(operation).__name__} is no operation on a thread")


def stamp(
    drafts: Sequence[Draft], operation: Operation, head: Head | None, origin: str, last: int
) -> list[ThreadEvent]:
    """The events of `drafts` with their places: after `last`, the origin's latest sequence."""
    tenant, hlc = operation.viewer.tenant, 0 if head is None else head.hlc
    thread = operation.thread if head is None else head.id
    events = []
    for sequence, draft in enumerate(drafts, last + 1):
        # The clock of the machine may be behind what the thread has seen already.
        hlc = max(operation.time << 16, hlc + 1)
        events.append(
            ThreadEvent(
                tenant=tenant,
                thread=thread,
                origin=origin,
                sequence=sequence,
                id=draft.id,
                hlc=hlc,
                change=draft.change,
                content=draft.content,
            )
        )
    return events


def _writable(operation: Operation, head: Head | None) -> Head:
    viewer = operation.viewer
    if head is None or not viewer.sees(head):
        raise NotFoundError("thread", operation.thread)
    if not viewer.owns(head):
        raise ForbiddenError("the thread is shared with you to read: only its owner may change it")
    expected = getattr(operation, "expected_version", None)
    if expected is not None and expected != head.version:
        raise ConflictError("the thread", expected, head.version)
    return head


def _create(operation: Create, head: Head | None) -> list[Draft]:
    if head is not None:
        raise RequestError(409, f"thread {operation.thread!r} exists", code="exists")
    viewer = operation.viewer
    created = Created(viewer.user or "", _title(operation.title), viewer.team)
    return [Draft(operation.id, created), *(_said(message) for message in operation.messages)]


def _update(operation: Update, head: Head) -> list[Draft]:
    title = None if operation.title == head.title else operation.title
    shared = None if operation.is_shared == head.is_shared else operation.is_shared
    if title is None and shared is None:
        return []
    return [Draft(operation.id, Updated(None if title is None else _title(title), shared))]


def _title(title: str) -> str:
    if len(title) > MAX_TITLE:
        raise RequestError(400, f"a title has at most {MAX_TITLE} characters", param="title")
    # No engine's text column takes half of a surrogate pair, and PostgreSQL's no NUL.
    if "\0" in title or any("\ud800" <= character <= "\udfff" for character in title):
        raise RequestError(400, "a title is text without NUL or surrogates", param="title")
    return title


def _record(operation: Record, head: Head | None, transcript: Transcript) -> list[Draft]:
    turn, viewer = operation.turn, operation.viewer
    drafts = []
    if head is None:
        created = Created(viewer.user or "", turn.title, turn.team, turn.session)
        drafts.append(Draft(operation.id, created))
    elif turn.title and not head.title:
        # The thread began with a probe of one token, or nothing to make a title of.
        drafts.append(Draft(_new_id(operation.time), Updated(title=turn.title)))
    planned = plan(turn, transcript, 0 if head is None else head.last_sequence)
    if planned.branch is not None:
        branched = Branched(planned.branch.branch, planned.branch.basis)
        drafts.append(Draft(_new_id(operation.time), branched))
    drafts += [_said(placed.message, placed.branch, placed.same_as) for placed in planned.messages]
    if drafts and head is not None:
        # The operation is recognised by its first event. A message keeps its own id in its row by
        # being that event, so whichever comes first takes the operation's.
        drafts[0] = msgspec.structs.replace(drafts[0], id=operation.id)
    return drafts


def _said(message: NewMessage, branch: int = 0, same_as: str | None = None) -> Draft:
    metadata: Json = message.metadata
    said = Said(
        message.role,
        message.timestamp,
        metadata,
        branch,
        message.digest,
        same_as,
        "" if same_as is None else message.text[:PREVIEW_LENGTH],
    )
    content = message.content if same_as is None else None
    return Draft(message.id, said, content, message.text)


def _new_id(now: int) -> str:
    return str(uuid7(now))
