"""What a thread's events amount to (pure): step by step as they happen, or all at once.

Every store writes the effects of `advance` in the transaction of the event; `fold` does the same
with a whole log, so a projection can always be compared with, or made anew from, its events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from fairlead.conversations.records import (
    MAX_PARTICIPANTS,
    PREVIEW_LENGTH,
    Branched,
    BranchRow,
    Change,
    Created,
    Deleted,
    Edited,
    Head,
    MessageRow,
    Removed,
    Said,
    ThreadEvent,
    Updated,
)
from fairlead.conversations.texts import message_text


class PutMessage(msgspec.Struct, frozen=True):
    """Add a row."""

    row: MessageRow
    text: str


class ChangeMessage(msgspec.Struct, frozen=True):
    """Point a row to another event."""

    message: str
    event: str
    digest: str
    text: str


class DropMessage(msgspec.Struct, frozen=True):
    """Take a row out."""

    message: str


class AddBranch(msgspec.Struct, frozen=True):
    """Add a branch."""

    row: BranchRow


class DropAll(msgspec.Struct, frozen=True):
    """Take all rows and branches out: the thread was deleted."""


Effect = PutMessage | ChangeMessage | DropMessage | AddBranch | DropAll


def advance(head: Head, event: ThreadEvent, text: str = "") -> Effect | None:
    """Bring `head` (changed in place) to what it is after `event`; what else changes.

    `text` is what can be searched of the event's content. A message that an event names must be
    there still.
    """
    head.version += 1
    head.hlc = event.hlc
    head.bytes += event.size
    match event.change:
        case Created() as change:
            _begin(head, event, change)
            return None
        case Said() as change:
            return _say(head, event, change, text)
        case Edited() as change:
            if change.message == head.last_message_id:
                head.last_message = text[:PREVIEW_LENGTH]
            return ChangeMessage(change.message, event.id, change.digest, text)
        case Removed() as change:
            head.message_count -= 1
            if change.message == head.last_message_id:
                head.last_message = ""
            return DropMessage(change.message)
        case Updated() as change:
            head.title = head.title if change.title is None else change.title
            head.is_shared = head.is_shared if change.is_shared is None else change.is_shared
            return None
        case Branched() as change:
            head.branches = max(head.branches, change.branch)
            return AddBranch(BranchRow(change.branch, change.basis))
        case Deleted():
            _end(head)
            return DropAll()


def _begin(head: Head, event: ThreadEvent, change: Created) -> None:
    head.user_id = change.user
    head.team_id = change.team
    head.title = change.title
    head.session = change.session
    head.created = head.last_activity = event.time
    head.participants = (change.user,)


def _say(head: Head, event: ThreadEvent, change: Said, text: str) -> PutMessage:
    head.last_sequence += 1
    head.message_count += 1
    head.last_activity = max(head.last_activity, event.time)
    head.last_message_id = event.id
    head.last_message = text[:PREVIEW_LENGTH] if change.same_as is None else change.preview
    if change.branch >= 0:
        head.branch = change.branch
    model = change.metadata.get("model")
    if change.role == "assistant" and isinstance(model, str) and model not in head.participants:
        head.participants = (*head.participants, model)[:MAX_PARTICIPANTS]
    row = MessageRow(
        id=event.id,
        sequence=head.last_sequence,
        role=change.role,
        timestamp=change.timestamp,
        branch=change.branch,
        digest=change.digest,
        event=event.id,
        content_event=event.id if change.same_as is None else change.same_as,
    )
    return PutMessage(row, text)


def _end(head: Head) -> None:
    # Nothing that was said may be read from the tombstone.
    head.deleted = True
    head.title = head.last_message = head.last_message_id = ""
    head.message_count = 0
    head.session = None
    head.participants = ()


class Projection(msgspec.Struct):
    """Everything that can be read of a thread, but for the contents."""

    head: Head
    rows: dict[str, MessageRow]
    """By message id, in the order of sequences."""
    texts: dict[str, str]
    """What can be searched, by message id."""
    branches: list[BranchRow]


def fold(tenant: str, thread: str, events: Iterable[ThreadEvent]) -> Projection:
    """The projection of `events`, which come in `ThreadEvent.order`.

    An event about a message that another region has removed before changes nothing, nor does one
    that refers to what is not here yet.
    """
    projection = Projection(Head(thread, tenant), {}, {}, [])
    said: dict[str, str] = {}
    for event in events:
        change = event.change
        if _lacks(change, projection, said) or projection.head.deleted:
            _pass(projection.head, event)
            continue
        text = _text(event, said)
        said[event.id] = text
        take(projection, advance(projection.head, event, text))
    return projection


def _lacks(change: Change, projection: Projection, said: Mapping[str, str]) -> bool:
    """Whether what the change names is not there: removed, or not here yet."""
    match change:
        case Said(same_as=str(event)):
            return event not in said
        case Edited() | Removed():
            return change.message not in projection.rows
    return False


def _pass(head: Head, event: ThreadEvent) -> None:
    head.version += 1
    head.hlc = event.hlc
    head.bytes += event.size


def _text(event: ThreadEvent, said: dict[str, str]) -> str:
    change = event.change
    if event.content is not None:
        metadata = change.metadata if isinstance(change, Said | Edited) else {}
        return message_text(event.content, metadata)
    if isinstance(change, Said) and change.same_as is not None:
        return said.get(change.same_as, "")
    return ""


def take(projection: Projection, effect: Effect | None) -> None:
    """Bring rows, texts and branches (changed in place) to what they are after an effect."""
    match effect:
        case PutMessage():
            projection.rows[effect.row.id] = effect.row
            projection.texts[effect.row.id] = effect.text
        case ChangeMessage():
            row = projection.rows[effect.message]
            projection.rows[effect.message] = msgspec.structs.replace(
                row, event=effect.event, content_event=effect.event, digest=effect.digest
            )
            projection.texts[effect.message] = effect.text
        case DropMessage():
            del projection.rows[effect.message], projection.texts[effect.message]
        case AddBranch():
            # Two regions may have begun one of the same number.
            others = [row for row in projection.branches if row.branch != effect.row.branch]
            projection.branches = [*others, effect.row]
        case DropAll():
            projection.rows.clear()
            projection.texts.clear()
            projection.branches.clear()
        case None:
            return
