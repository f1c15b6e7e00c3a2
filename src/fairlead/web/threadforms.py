"""Threads and messages as `/api/threads` takes and gives them."""

# Without postponed annotations: FastAPI could not resolve those that name a local dependency.
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from fairlead.conversations.inputs import MAX_MESSAGES, MAX_ROLE, MessageInput
from fairlead.conversations.records import MAX_TITLE, Head, Hit, Match, Message
from fairlead.conversations.texts import MATCH_END, MATCH_START

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _as_text(value: object) -> object:
    # A number could be seconds or milliseconds.
    if value is not None and not isinstance(value, str):
        raise ValueError("a time as RFC 3339 writes it")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_as_text)]
Title = Annotated[str, Field(max_length=MAX_TITLE, description="A single line")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


# ---- what is taken


class GivenMessage(_Strict):
    """A message to add."""

    role: Annotated[str, Field(min_length=1, max_length=MAX_ROLE)]
    content: Any = Field(description="Any JSON value: a string, or an API's content blocks")
    timestamp: Moment | None = Field(None, description="RFC 3339; now where it is left out")
    metadata: dict[str, Any] = Field(default_factory=dict)

    def taken(self) -> MessageInput:
        """As the database takes it."""
        timestamp = None
        if self.timestamp is not None:
            timestamp = (self.timestamp - _EPOCH) // timedelta(milliseconds=1)
        return MessageInput(self.role, self.content, timestamp, self.metadata)


GivenMessages = Annotated[list[GivenMessage], Field(max_length=MAX_MESSAGES)]


class GivenThread(_Strict):
    """A thread to begin."""

    title: Title | None = None
    messages: GivenMessages = Field(default_factory=list)


class SeveralMessages(_Strict):
    """Messages to add, all of them or none."""

    messages: Annotated[list[GivenMessage], Field(min_length=1, max_length=MAX_MESSAGES)]


class GivenMetadata(_Strict):
    """What a thread's owner may set."""

    title: Title
    is_shared: bool | None = Field(None, description="null: as it is")


# ---- what is given


class ThreadReport(msgspec.Struct, kw_only=True):
    """A thread without its messages; times in UTC (RFC 3339)."""

    id: str
    title: str
    user_id: str
    team_id: str | None
    created: str
    last_activity: str
    is_shared: bool
    version: int
    message_count: int
    last_message: str


class MatchReport(msgspec.Struct):
    """Where a search has found something."""

    sequence: int | None
    """Of the message; null where the title matches."""
    snippet: str
    highlights: list[tuple[int, int]]
    """First character and the one behind the last, of each word found."""


class HitReport(ThreadReport, kw_only=True):
    """A thread that a search has found."""

    matches: list[MatchReport]


class MessageReport(msgspec.Struct):
    """A message."""

    id: str
    sequence: int
    role: str
    timestamp: str
    content: msgspec.Raw
    metadata: Mapping[str, Any]


class ThreadList(msgspec.Struct):
    """A page of threads; `next` is the cursor of the page behind."""

    threads: Sequence[ThreadReport]
    next: str | None


class SearchList(msgspec.Struct):
    """A page of what a search has found; `next` is the cursor of the page behind."""

    threads: Sequence[HitReport]
    next: str | None


class MessageList(msgspec.Struct):
    """A page of messages; `next` is its neighbour's `after`, `previous` its `before`."""

    messages: Sequence[MessageReport]
    next: int | None
    previous: int | None


class Placed(msgspec.Struct):
    """A message that was added."""

    id: str
    sequence: int


class Added(msgspec.Struct):
    """Messages that were added, after their commit, and the thread's version with them."""

    messages: Sequence[Placed]
    version: int


_, SCHEMAS = msgspec.json.schema_components(
    (ThreadReport, ThreadList, SearchList, MessageList, Added),
    ref_template="#/components/schemas/{name}",
)
"""The forms that are given, for the API's description."""


def thread_report(head: Head) -> ThreadReport:
    """A thread."""
    return ThreadReport(**_fields(head))


def hit_report(hit: Hit) -> HitReport:
    """A thread with what was found in it."""
    return HitReport(**_fields(hit.head), matches=[_match(match) for match in hit.matches])


def message_report(message: Message) -> MessageReport:
    """A message; its metadata tells the branch where that is not the main one."""
    metadata = message.metadata
    if message.branch:
        metadata = {**metadata, "branch": message.branch}
    return MessageReport(
        message.id,
        message.sequence,
        message.role,
        moment(message.timestamp),
        message.content,
        metadata,
    )


def moment(milliseconds: int) -> str:
    """A time as RFC 3339 writes it."""
    when = _EPOCH + timedelta(milliseconds=milliseconds)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(head: Head) -> dict[str, Any]:
    return {
        "id": head.id,
        "title": head.title,
        "user_id": head.user_id,
        "team_id": head.team_id,
        "created": moment(head.created),
        "last_activity": moment(head.last_activity),
        "is_shared": head.is_shared,
        "version": head.version,
        "message_count": head.message_count,
        "last_message": head.last_message,
    }


def _match(match: Match) -> MatchReport:
    text, highlights = "", []
    pieces = match.snippet.replace(MATCH_END, MATCH_START).split(MATCH_START)
    for number, piece in enumerate(pieces):
        # Every second piece lay between marks.
        if number % 2:
            highlights.append((len(text), len(text) + len(piece)))
        text += piece
    return MatchReport(match.sequence, text, highlights)
